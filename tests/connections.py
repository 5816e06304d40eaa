"""Both ends of a WebSocket without a network: a channel to look into, a server to drive by hand.

Tests of the facades use the first, tests of everything above them the second. Neither replaces a
part of adwebsocket: channels are made to be exchanged, and ASGI is spoken by anybody.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from adwebsocket.protocol.frames import encode_message
from adwebsocket.transport.channel import Channel
from adwebsocket.transport.limits import Limits
from adwebsocket.transport.waiting import Manners, behaving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
    from types import TracebackType
    from typing import ParamSpec, Self, TypeAlias

    from adwebsocket.protocol.frames import Message
    from adwebsocket.protocol.handshake import Headers
    from adwebsocket.transport.waiting import Waiter

    Parameters = ParamSpec("Parameters")
    Event: TypeAlias = dict[str, Any]
    Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

ResultT = TypeVar("ResultT")

DEADLINE = 10.0
"""Seconds after which anything that a test waits for counts as never going to happen."""


def on_event_loop(
    test: Callable[Parameters, Coroutine[Any, Any, None]],
) -> Callable[Parameters, None]:
    """Run an ``async def`` test on an event loop of its own, and not for ever."""

    @functools.wraps(test)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        async def within_deadline() -> None:
            async with asyncio.timeout(2 * DEADLINE):
                await test(*args, **kwargs)

        asyncio.run(within_deadline())

    return run


class RecordingChannel(Channel):
    """A connection that leads nowhere and remembers what it was told.

    Attributes:
        handshake: how it was answered, None before.
        written: the messages in the order in which they were written.
        closes: code and reason of each close that reached the channel while it was open.
        reading: whether the inbox has room.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits | None = None) -> None:
        super().__init__(loop, limits or Limits())
        self.handshake: tuple[Any, ...] | None = None
        self.written: list[str | bytes] = []
        self.closes: list[tuple[int, str]] = []
        self.reading = True

    def accept(self, subprotocol: str | None = None, headers: Headers = ()) -> None:
        assert self.handshake is None
        self.handshake = (101, subprotocol, list(headers))
        self.accepted = True
        self.subprotocol = subprotocol

    def refuse(self, status: int, headers: Headers, body: bytes) -> None:
        assert self.handshake is None
        self.handshake = (status, list(headers), body)
        self.refused = True
        self.end(1006, "")

    def prepare(self, message: Message) -> str | bytes:
        encode_message(message)
        return message if isinstance(message, str) else bytes(message)

    def write(self, prepared: str | bytes) -> None:
        if not self.ended:
            self.written.append(prepared)

    def close(self, code: int = 1000, reason: str = "") -> None:
        if not self.ended:
            self.closes.append((code, reason))
            self.end(code, reason)

    def measure_progress(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        if self.inbox.resume_if_low():
            self.reading = True


class Response:
    """The answer to an HTTP request, or to a handshake in place of the 101."""

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.headers = [(name.decode(), value.decode("latin-1")) for name, value in headers]
        self.text = body.decode()

    def header(self, name: str) -> str | None:
        """Return a header that came once, or None."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None


class Conversation:
    """The server's side of one call of an ASGI application, on the running event loop.

    Use it with ``async with``: it starts the application, and waits for its end.

    Arguments:
        application: what to call.
        scope: what to call it with.
    """

    farewell: Event

    def __init__(self, application: Application, scope: Mapping[str, Any]) -> None:
        self._application = application
        self._scope = scope
        self._to_application: asyncio.Queue[Event] = asyncio.Queue()
        self._from_application: asyncio.Queue[Event] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.put(self.farewell)
        await self.finished()
        if error is None:
            rest = [event["type"] for event in self.unread_events()]
            assert not rest, f"the application sent more: {rest}"

    async def _run(self) -> None:
        await self._application(self._scope, self._to_application.get, self._take)

    async def _take(self, event: Event) -> None:
        await self._from_application.put(event)
        if event["type"] == "websocket.close":
            # Every server tells the end of the closing handshake that way.
            self.put(self.farewell)

    def put(self, event: Event) -> None:
        """Let the application receive an event."""
        self._to_application.put_nowait(event)

    async def next_event(self) -> Event:
        """Wait for the next event that the application sends; fail if it ends without one."""
        assert self._task is not None
        event = asyncio.ensure_future(self._from_application.get())
        await asyncio.wait(
            {event, self._task}, timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED
        )
        if not event.done():
            event.cancel()
            if self._task.done():
                self._task.result()
                raise AssertionError("the application ended without another event")
            raise AssertionError(f"no event came within {DEADLINE:g} seconds")
        return event.result()

    def unread_events(self) -> list[Event]:
        """Return what the application has sent and nobody has read yet."""
        return [self._from_application.get_nowait() for _ in range(self._from_application.qsize())]

    async def finished(self) -> None:
        """Wait until the application has returned, and raise what it raised."""
        assert self._task is not None
        done, _ = await asyncio.wait({self._task}, timeout=DEADLINE)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=DEADLINE)
            raise AssertionError(f"the application did not end within {DEADLINE:g} seconds")
        self._task.result()

    async def cancel(self) -> None:
        """Cancel the application, as some servers do when they stop."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=DEADLINE)
        assert self._task.cancelled()

    async def read_response(self, kind: str) -> Response:
        """Read a response whose events are named ``kind`` with ``.start`` and ``.body``."""
        start = await self.next_event()
        assert start["type"] == f"{kind}.start", start
        body = b""
        more = True
        while more:
            event = await self.next_event()
            assert event["type"] == f"{kind}.body", event
            body += event.get("body", b"")
            more = event.get("more_body", False)
        return Response(start["status"], start["headers"], body)


class WebSocketConversation(Conversation):
    """A client and its server, in one, on a WebSocket that an ASGI application serves.

    Arguments:
        application: what to call.
        path, scope: what ``websocket_scope`` takes.
        is_there: False for a client that has gone before the application was called.
    """

    farewell: Event = {"type": "websocket.disconnect", "code": 1005, "reason": ""}  # noqa: RUF012

    def __init__(
        self, application: Application, path: str, *, is_there: bool = True, **scope: Any
    ) -> None:
        super().__init__(application, websocket_scope(path, **scope))
        if is_there:
            self.put({"type": "websocket.connect"})

    def send(self, message: str | bytes) -> None:
        """Send a message as the client."""
        kind = "text" if isinstance(message, str) else "bytes"
        self.put({"type": "websocket.receive", kind: message})

    def disconnect(self, code: int = 1005, reason: str = "") -> None:
        """Go away as the client."""
        self.put({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def accepted(self) -> Event:
        """Wait for the 101, and return the event."""
        event = await self.next_event()
        assert event["type"] == "websocket.accept", event
        return event

    async def message(self) -> str | bytes:
        """Wait for a message from the view."""
        event = await self.next_event()
        assert event["type"] == "websocket.send", event
        message: str | bytes = event["text"] if event.get("text") is not None else event["bytes"]
        return message

    async def closed(self) -> tuple[int, str]:
        """Wait until the application closes an accepted connection; return code and reason."""
        event = await self.next_event()
        assert event["type"] == "websocket.close", event
        return event["code"], event["reason"]

    async def refused(self) -> Response:
        """Wait for the response that refuses the handshake."""
        return await self.read_response("websocket.http.response")


class HttpConversation(Conversation):
    """A plain HTTP request without a body to an ASGI application.

    Arguments:
        application: what to call.
        path, scope: what ``http_scope`` takes.
    """

    farewell: Event = {"type": "http.disconnect"}  # noqa: RUF012

    def __init__(self, application: Application, path: str, **scope: Any) -> None:
        super().__init__(application, http_scope(path, **scope))
        self.put({"type": "http.request", "body": b"", "more_body": False})

    async def response(self) -> Response:
        """Wait for the response."""
        return await self.read_response("http.response")


def http_scope(path: str, *, headers: Mapping[str, str] | None = None, **scope: Any) -> Event:
    """Describe a GET request as an ASGI server does.

    Arguments:
        path: the path, not quoted.
        headers: what the client sends; ``Host: testserver`` comes by itself.
        scope: what is to be different; ``...`` leaves a key out.
    """
    described = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": b"",
        "root_path": "",
        "headers": encode_headers({"Host": "testserver", **(headers or {})}),
        "client": ("192.0.2.1", 50000),
        "server": ("192.0.2.2", 80),
        **scope,
    }
    return {key: value for key, value in described.items() if value is not ...}


def websocket_scope(path: str, **scope: Any) -> Event:
    """Describe a handshake as an ASGI server does that can refuse with any response.

    The arguments are those of ``http_scope``.
    """
    handshake = {
        "type": "websocket",
        "method": ...,
        "scheme": "ws",
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }
    return http_scope(path, **{**handshake, **scope})


def encode_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Encode headers as ASGI servers give them."""
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def wait_on(new_waiter: Callable[[], Waiter], function: Callable[[], ResultT]) -> ResultT:
    """Call a function that waits on other waiters than its thread would give it."""

    class Observed(Manners):
        def new_waiter(self) -> Waiter:
            return new_waiter()

    with behaving(Observed()):
        return function()
