"""The project's ASGI application, as tests have it: it says what became of each view.

The clients put a ``ViewRecord`` into the scope of each connection that they open. What happens on
the way from handshake to end is our application's own affair; this only watches.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

from django.core.signals import got_request_exception

from ..asgi import ASGIApplication
from ..caller import frames_of, places_of, places_of_frames
from ..runners.base import look_at
from .sharing import close_own_connections

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import FrameType

    from ..asgi import Receive, Scope, Send
    from ..request import WebSocketRequest
    from ..transport.channel import Channel

# Where the record of a connection is, first in the lifespan state and then in the scope.
RECORD: Final = "adwebsocket.testing"
# Seconds that a thread which views share has to say where they stand.
_PATIENCE: Final = 0.1


class ViewRecord:
    """What became of one handshake on the server's side.

    Arguments:
        scope: what is to be different in the scope from what the connection says.
        changed: called on the event loop when the attributes have changed.

    Attributes:
        begun: the application has been called.
        ended: it has returned, and so has the view.
        request: what the view got, None before there was one.
        channel: the connection under it.
        error: what the view or its middleware raised, if nobody caught it.
    """

    def __init__(self, scope: Mapping[str, Any], changed: Callable[[], None]) -> None:
        self.scope = scope
        self.changed = changed
        self.begun = False
        self.ended = False
        self.request: WebSocketRequest | None = None
        self.channel: Channel | None = None
        self.error: BaseException | None = None
        self._task: asyncio.Task[Any] | None = None

    def begin(self, scope: Scope) -> None:
        """Take note that the application is called. In its task."""
        scope.update(self.scope)
        scope[RECORD] = self
        self.begun = True
        self._task = asyncio.current_task()

    def end(self) -> None:
        """Take note that it has returned."""
        self.ended = True
        self._task = None
        self.changed()

    def is_idle(self) -> bool:
        """Tell whether the view has taken all messages and waits for the next, or has ended."""
        if self.ended or self.channel is None:
            return self.ended
        inbox = self.channel.inbox
        return not inbox.items and bool(inbox.waiters)

    def cancel(self) -> None:
        """End the view, as far as that can be done to one: a thread goes on. On the loop."""
        if self._task is not None:
            self._task.cancel()

    def place(self) -> str:
        """Say where the view stands, in code outside this package; empty if nobody knows."""
        seat = None if self.request is None else self.request.seat
        if seat is not None:
            return look_at([seat], places_of, _PATIENCE)[0]
        frames: list[FrameType] = []
        task: Any = self._task
        while isinstance(task, asyncio.Task):
            frames = frames_of(task.get_coro()) + frames
            # The view is a task of its own. asyncio shows the chain from Python 3.14 on.
            task = getattr(task, "_fut_waiter", None)
        return places_of_frames(frames)


class ObservedApplication(ASGIApplication):
    """A Django project as one ASGI application whose views are looked after by a test."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, and write into its record what becomes of it."""
        record: ViewRecord = scope["state"].pop(RECORD)
        record.begin(scope)
        try:
            await super().__call__(scope, receive, send)
        except Exception as error:
            record.error = record.error or error
            raise
        finally:
            record.end()

    def serve_channel(self, scope: Scope, channel: Channel) -> Awaitable[None]:
        """Serve a WebSocket on its channel, of which the record takes note."""
        scope[RECORD].channel = channel
        return super().serve_channel(scope, channel)

    async def serve_with_runner(self, request: WebSocketRequest) -> None:
        """Let a runner serve a sync view, of whose request the record takes note."""
        request.scope[RECORD].request = request
        await super().serve_with_runner(request)

    def serve_sync_view(self, request: WebSocketRequest) -> None:
        """Run middleware and view, and leave no connection to the database open behind them."""
        try:
            super().serve_sync_view(request)
        finally:
            close_own_connections()

    async def serve_async_view(self, request: WebSocketRequest) -> None:
        """Run middleware and view on the event loop, of whose request the record takes note."""
        request.scope[RECORD].request = request
        await super().serve_async_view(request)


def _record_exception(*, request: Any = None, **_: Any) -> None:
    """Keep what Django has logged and answered with 500, for the test to raise."""
    record = (getattr(request, "scope", None) or {}).get(RECORD)
    if record is not None:
        record.error = sys.exc_info()[1]


got_request_exception.connect(_record_exception)
