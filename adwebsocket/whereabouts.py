"""Which views still run, and the line on which each of them stands.

Whoever ends a server process asks before it does. Sync views have their seats, async ones the
tasks of the event loop; nothing is written down for either before somebody asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from .caller import frames_of, is_in_package, places_of, places_of_frames
from .live import live_requests
from .runners.base import look_at
from .transport.asgi_interface import AsgiInterface

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

logger = logging.getLogger("uvicorn.error")

# Seconds that a thread which views share has to say where they stand: little, at the end.
_PATIENCE: Final = 0.1
_MOST_LINES: Final = 20
_MOST_PATHS: Final = 3
# Here is what waits for views; the packages below it have what applications wait for.
_GLUE: Final = Path(__file__).parent


class View(NamedTuple):
    """A view that runs.

    Attributes:
        path: the path of its connection.
        places: file and line on which it stands, and of the calls that led there; "" for unknown.
    """

    path: str
    places: str


def running_views(loop: asyncio.AbstractEventLoop) -> list[View]:
    """Give the WebSocket views that run in this process. From any thread.

    An application that is not Django's is one view from its start to its end.

    Arguments:
        loop: the event loop that serves; it may stand still.
    """
    requests = live_requests()
    seated = [(request.path, seat) for request in requests if (seat := request.seat) is not None]
    places = look_at([seat for _, seat in seated], places_of, _PATIENCE)
    sync_views = [View(path, at) for (path, _), at in zip(seated, places, strict=True)]
    return sync_views + _async_views(loop)


def log_running_views(loop: asyncio.AbstractEventLoop) -> None:
    """Write a line to the log for each place at which views stand, if any view runs."""
    for line in describe(running_views(loop)):
        logger.warning("%s", line)


def describe(views: Iterable[View]) -> list[str]:
    """Put views into words: a line for each place, the most crowded first, with a few paths."""
    places: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for view in views:
        places[view.places][view.path] += 1
    crowds = sorted(places.items(), key=lambda entry: -entry[1].total())
    lines = [
        f"Still running: {_name_some(paths)} at {place or 'an unknown line'}"
        for place, paths in crowds[:_MOST_LINES]
    ]
    rest = crowds[_MOST_LINES:]
    if rest:
        views_there = sum(paths.total() for _, paths in rest)
        lines.append(f"Still running: {views_there} more views at {len(rest)} other places")
    return lines


def _name_some(paths: Counter[str]) -> str:
    named = paths.most_common(_MOST_PATHS)
    # Quoted: what a client asked for must not end the line and begin another.
    names = [quote(path) + (f" ({count} times)" if count > 1 else "") for path, count in named]
    others = paths.total() - sum(count for _, count in named)
    return ", ".join(names) + (f" and {others} more" if others else "")


def _async_views(loop: asyncio.AbstractEventLoop) -> list[View]:
    # Decorators give the task of each async view the name of its path.
    paths = {request.path for request in live_requests()}
    views = []
    for task in asyncio.all_tasks(loop):
        frames = frames_of(task.get_coro())
        if not frames:
            continue
        if task.get_name() in paths:
            views.append(View(task.get_name(), places_of_frames(frames)))
        elif frames[-1].f_code is AsgiInterface.run.__code__ and not _waits_for_view(frames[0]):
            # It has come to no view yet, or the application has none.
            scope = frames[-1].f_locals["scope"]
            views.append(View(scope["path"], places_of_frames(frames)))
    return views


def _waits_for_view(frame: FrameType) -> bool:
    return is_in_package(frame) and Path(frame.f_code.co_filename).parent == _GLUE
