"""Where sync views stand: the line of the project's code, and how long they wait there already.

The status socket gives it on request. Views are looked at one by one while they go on, so each row
is true for a moment, and not all for the same one.
"""

from __future__ import annotations

import time
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, Final

from .. import live
from ..caller import place_in_project, places_of
from ..runners.base import look_at
from .statistics import view_of

if TYPE_CHECKING:
    from types import FrameType

# Seconds that a thread which views share has to say where they stand; longer, and it hangs.
_PATIENCE: Final = 0.5


def standing_views(most: int) -> dict[str, Any]:
    """Tell where sync views stand, those first that do not wait for their WebSocket.

    Arguments:
        most: how many to list; behind the busy ones come those that have waited longest.

    Returns:
        ``total``, the number of sync views, and ``views``, for each of the listed ones: ``path``,
        ``view``, ``runner``, ``line`` in the project's code, ``calls`` that led there, innermost
        first, and the seconds for which it is ``waiting`` (None if it is busy) and ``open``. The
        line is empty where a view has ended meanwhile.
    """
    seated = [(request.seat, request) for request in live.live_requests()]
    views = [(seat.parked_at or 0.0, seat, request) for seat, request in seated if seat is not None]
    listed = nsmallest(most, views, key=lambda view: view[0])
    places = look_at([seat for _, seat, _ in listed], _describe, _PATIENCE)
    now = time.monotonic()
    rows = [
        {
            "path": request.path,
            "view": view_of(request),
            "runner": seat.runner,
            "line": line,
            "calls": calls,
            "waiting": now - parked_at if parked_at else None,
            "open": now - request.entered_at,
        }
        for (parked_at, seat, request), (line, calls) in zip(listed, places, strict=True)
    ]
    return {"total": len(views), "views": rows}


def _describe(frame: FrameType | None) -> tuple[str, str]:
    return place_in_project(frame), places_of(frame)
