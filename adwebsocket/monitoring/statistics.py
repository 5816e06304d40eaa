"""``adwebsocket.stats()``: what this process does and has done, as a plain dictionary.

Every number is read where it is kept anyway, so that asking costs something and being ready to
answer next to nothing. It is called from any thread; the event loop need not run.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from .. import live
from .._version import __version__
from ..async_websocket import AsyncWebSocket
from ..caller import place_in_project
from ..connection_state import open_connections
from ..database import ASYNC_POOL_NAME, async_pool_load
from ..groups import registry as groups
from ..runners.base import total_load
from ..transport.lag import loop_watches
from ..transport.tally import tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..request import WebSocketRequest

_STARTED_AT: Final = time.monotonic()
# Seconds for which an event loop is late before it counts as stuck.
_STUCK_SECONDS: Final = 1.0
# The keys that stats() has by itself, but for those that were added.
OWN_KEYS: Final = frozenset(
    {
        *("pid", "version", "uptime", "connections", "threads", "greenlets", "async_pool"),
        *("queues", "messages", "bytes", "handshakes", "closes", "loop", "database"),
    }
)
_sections: dict[str, Callable[[], Any]] = {"groups": groups.statistics}

# Whose threads hold database connections, by how their names begin.
_HOLDERS: Final = {
    "websocket-view-": "threads",
    "websocket-greenlets-": "greenlets",
    ASYNC_POOL_NAME: "async_pool",
}


def add_section(name: str, function: Callable[[], dict[str, Any]]) -> None:
    """Add a section to what ``stats()`` gives, or replace it.

    Arguments:
        name: its key.
        function: gives the section, with what JSON knows; called from any thread. In the metrics
            for Prometheus its numbers are ``adwebsocket_NAME_KEY``: counters where the key ends in
            ``_total``, else gauges. A dictionary of numbers is one metric with the label ``key``.

    Raises:
        ValueError: the name is that of a section of ours.
    """
    if name in OWN_KEYS:
        raise ValueError(f"the section {name!r} belongs to adwebsocket")
    _sections[name] = function


def stats() -> dict[str, Any]:
    """Tell what this process does and has done since its start. From any thread.

    Returns:
        A dictionary of its own, with what JSON knows; ``docs/monitoring.md`` describes each key.
        What it counts never goes back, and times are in seconds.
    """
    requests = live.live_requests()
    numbers: dict[str, Any] = {
        "pid": os.getpid(),
        "version": __version__,
        "uptime": time.monotonic() - _STARTED_AT,
        "connections": _count_connections(requests),
        **_count_seats(requests),
        "async_pool": async_pool_load(),
        "queues": _measure_queues(requests),
        "messages": {"in": int(tally.messages_in), "out": int(tally.messages_out)},
        "bytes": {"in": tally.bytes_in, "out": tally.bytes_out},
        "handshakes": {
            "accepted": tally.accepted,
            "refused": tally.refusals.read(),
            "refused_by": tally.reasons.read(),
        },
        "closes": {closer: table.read() for closer, table in tally.closes.items()},
        "loop": _measure_loops(),
        "database": _count_database_connections(),
    }
    for name, function in list(_sections.items()):
        try:
            numbers[name] = function()
        except Exception as error:
            # Of all times, when something is wrong the rest is wanted.
            numbers[name] = {"error": repr(error)}
    return numbers


def runner_of(request: WebSocketRequest) -> str:
    """Name what runs the view of a live WebSocket: ``thread``, ``greenlet`` or ``async``."""
    seat = request.seat
    if seat is not None:
        return seat.runner
    if isinstance(request.websocket, AsyncWebSocket):
        return "async"
    return "starting"


def view_of(request: WebSocketRequest) -> str:
    """Name the view of a live WebSocket as ``urls.py`` does, else by its function's path."""
    match = request.resolver_match or request.early_match
    return "" if match is None else match.view_name


def _count_connections(requests: list[WebSocketRequest]) -> dict[str, Any]:
    views = Counter((view_of(request), runner_of(request)) for request in requests)
    return {
        "open": len(requests),
        "views": [
            {"view": view, "runner": runner, "open": number}
            for (view, runner), number in sorted(views.items())
        ],
    }


def _count_seats(requests: list[WebSocketRequest]) -> dict[str, Any]:
    """Count what sync views do: wait for their WebSockets, or anything else."""
    states = {"thread": Counter(busy=0, parked=0), "greenlet": Counter(busy=0, parked=0)}
    for request in requests:
        seat = request.seat
        if seat is not None:
            states[seat.runner]["busy" if seat.parked_at is None else "parked"] += 1
    return {
        "threads": {**states["thread"], "queued": 0, **total_load("thread")},
        "greenlets": {**states["greenlet"], "queued": 0, "workers": 0, **total_load("greenlet")},
    }


def _measure_queues(requests: list[WebSocketRequest]) -> dict[str, Any]:
    inbox = Extremes()
    unsent = Extremes()
    for request in requests:
        inbox.add(request.channel.inbox.count())
        unsent.add(request.channel.count_unsent())
    return {"inbox_messages": inbox.read(), "unsent_bytes": unsent.read()}


class Extremes:
    """A sum and the largest part of it."""

    def __init__(self) -> None:
        self.sum = 0
        self.max = 0

    def add(self, number: int) -> None:
        """Add a number."""
        self.sum += number
        self.max = max(self.max, number)

    def read(self) -> dict[str, int]:
        """Give both."""
        return {"sum": self.sum, "max": self.max}


def _measure_loops() -> dict[str, Any]:
    watches = loop_watches()
    lag = max((watch.lag() for watch in watches), default=0.0)
    stands = None
    if lag > _STUCK_SECONDS:
        latest = max(watches, key=lambda watch: watch.lag())
        stands = place_in_project(sys._current_frames().get(latest.thread_id))
    return {
        "lag": lag,
        "lag_max": max((watch.longest_lag() for watch in watches), default=0.0),
        "stuck_at": stands,
    }


def _count_database_connections() -> dict[str, Any]:
    """Count open connections by whose threads they are of, and those in pools of Django's."""
    held = dict.fromkeys([*_HOLDERS.values(), "others"], 0)
    connections = open_connections()
    if connections:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for connection in connections:
            name = names.get(connection._thread_ident, "")  # type: ignore[attr-defined]
            held[_holder(name)] += 1
    return {"held": held, "pools": _count_pools()}


def _holder(thread_name: str) -> str:
    return next(
        (each for start, each in _HOLDERS.items() if thread_name.startswith(start)), "others"
    )


def _count_pools() -> dict[str, dict[str, int]]:
    if not settings.configured:
        return {}
    pools = {}
    for alias, database in settings.DATABASES.items():
        module = sys.modules.get(f"{database.get('ENGINE')}.base")
        made = getattr(getattr(module, "DatabaseWrapper", None), "_connection_pools", {})
        if alias in made and hasattr(made[alias], "get_stats"):
            figures = made[alias].get_stats()
            size, available = figures.get("pool_size", 0), figures.get("pool_available", 0)
            pools[alias] = {"open": size, "in_use": size - available}
    return pools
