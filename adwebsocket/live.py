"""The WebSockets that this process serves now, whichever application of it does.

The ASGI application enters each request before its view runs, and takes it out at the end. Limits,
statistics and whatever closes sockets from elsewhere look here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .request import WebSocketRequest

_live: set[WebSocketRequest] = set()


def enter(request: WebSocketRequest) -> None:
    """Count a WebSocket among the live ones. On its event loop."""
    _live.add(request)


def leave(request: WebSocketRequest) -> None:
    """Forget a WebSocket that is over. On its event loop."""
    _live.remove(request)
    # What ran the view knows it, and they would keep each other until the garbage collector comes.
    request.seat = None


def live_requests() -> list[WebSocketRequest]:
    """Give the requests of all live WebSockets. From any thread."""
    # A copy, in one step to other threads.
    return list(_live)


def count_live() -> int:
    """Count the live WebSockets. From any thread."""
    return len(_live)
