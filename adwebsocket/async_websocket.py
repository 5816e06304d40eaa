"""The WebSocket of ``async def`` views: the blocking one's twin on the event loop.

Views call it; the ASGI application makes it. It has what waits, and inherits the rest.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .protocol.codes import CloseCode
from .transport.inbox import END
from .transport.pings import Ping
from .websocket_base import PING_TIMEOUT, WebSocketBase, positive_timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from typing import NoReturn, Self

    from .groups.hub import Joined
    from .protocol.frames import Message
    from .transport.channel import Channel
    from .transport.inbox import Item
    from .websocket_base import HeaderItems


class AsyncWebSocket(WebSocketBase):
    """A WebSocket for ``async def`` code: what waits is awaited, the rest are plain calls.

    For the event loop that serves the connection only. Cancelling a wait loses no message, and
    cancelling ``send()`` never sends half of one.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        channel.inbox.bridge = None

    def accept(self, subprotocol: str | None = None, headers: HeaderItems = ()) -> Awaitable[None]:
        """Accept the handshake, in a view that is decorated with ``accept="manual"``.

        It is done when the call returns; awaiting the result changes nothing.

        Arguments:
            subprotocol: the subprotocol to settle on, one of those that the client offered.
            headers: additional headers of the response.

        Raises:
            RuntimeError: the handshake has been answered already.
        """
        self._begin_accept(subprotocol, headers)()
        return _DONE

    def refuse(self, status: int, headers: HeaderItems, body: bytes) -> None:
        """Answer the handshake with an HTTP response, as the application does for a view."""
        self._begin_refuse(status, headers, body)()

    async def wait(self, timeout: float | None = None) -> str | bytes | None:
        """Wait for the next message.

        Arguments:
            timeout: seconds to wait at the most, None or a negative number for as long as it
                takes, 0 to poll.

        Returns:
            ``str`` for a text message, ``bytes`` for a binary one, None once when the connection
            has ended, and None when the time ran out (``is_closed()`` tells which).

        Raises:
            ConnectionClosed: the end has been reported by None before.
        """
        item = await self._next_item(timeout)
        if item is END or item is None:
            return None
        return item

    async def send(self, message: Message) -> None:
        """Send a message, ``str`` as text and anything bytes-like as binary.

        It returns when the message is on its way, and waits while the peer is too slow to take
        it. Calls from several tasks keep the order in which they were made.

        Raises:
            ConnectionClosed: the connection is over.
            TypeError: the message is of another type.
        """
        channel = self._channel
        prepared = channel.prepare(message)
        if self._closed or self._inbox.ended or not self._answered:
            raise self._cannot_send()
        channel.write(prepared)
        if not channel.writable:
            await channel.drain()
            if channel.ended:
                raise self._connection_closed()

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> Awaitable[None]:
        """Close the connection behind what was sent; does nothing when it is closed.

        It has begun when the call returns, and tasks in ``wait()`` wake up; there is nothing to
        await, though it may be. Before the handshake is accepted it refuses it with 403.

        Arguments:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455 section 7.4).
            reason: a text of at most 123 bytes of UTF-8.

        Raises:
            TypeError, ValueError: the code or the reason must not be sent.
        """
        close = self._begin_close(code, reason)
        if close is not None:
            close()
        return _DONE

    async def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the connection is over, messages read or not; tell whether it is."""
        try:
            async with asyncio.timeout(positive_timeout(timeout)):
                await self._channel.wait_ended()
        except TimeoutError:
            pass
        return self._inbox.ended

    async def join(
        self,
        group: str,
        *,
        presence: Any = None,
        since: str | int | None = None,
        slow: str | None = None,
        gap: Any = None,
        positions: bool = False,
    ) -> Joined:
        """Join a group, see ``WebSocket.join``."""
        self._check_may_join()
        return await self._join(group, gap, presence, since=since, slow=slow, positions=positions)

    async def leave(self, group: str) -> None:
        """Leave a group: nothing of it comes behind this call. Does nothing outside of it."""
        if not self.closed:
            await self._leave(group)

    async def send_json(self, value: Any) -> None:
        """Send ``value`` as JSON text; see ``send`` for what it raises."""
        await self.send(self._encode_json(value))

    async def wait_json(self, timeout: float | None = None) -> Any:
        """Wait for a message and decode it as JSON.

        Raises:
            ConnectionClosed: the connection has ended (None could not say so: null is JSON).
            TimeoutError: ``timeout`` seconds went by.
            ValueError: the message is not JSON.
        """
        return self._decode_json(await self._next_item(timeout), timeout)

    async def ping(self, timeout: float | None = PING_TIMEOUT) -> float:
        """Ping the peer and wait for its pong (RFC 6455 section 5.5.2).

        The pong stands behind the messages that the peer has sent before it, so it is not seen
        while so many of these wait for the view that reading is paused.

        Arguments:
            timeout: seconds to wait at the most, None or a negative number for as long as it
                takes.

        Returns:
            The latency, in seconds.

        Raises:
            ConnectionClosed: the connection is over, or ended meanwhile.
            RuntimeError: this ASGI server cannot send pings.
            TimeoutError: no pong came in time.
        """
        self._check_ping()
        answered = asyncio.Event()
        ping = Ping(lambda _: answered.set())
        self._channel.ping(ping)
        try:
            async with asyncio.timeout(positive_timeout(timeout)):
                await answered.wait()
        except TimeoutError:
            raise TimeoutError(f"no pong came within {timeout} seconds") from None
        finally:
            self._channel.withdraw_ping(ping)
        return self._latency_of(ping)

    def __iter__(self) -> NoReturn:
        """Say how it is done here: ``for`` would name nothing but the class."""
        raise TypeError("in an async view write: async for message in request.websocket")

    def __aiter__(self) -> Self:
        """Iterate over the messages as they come, until the connection has ended."""
        return self

    async def __anext__(self) -> str | bytes:
        inbox = self._inbox
        if inbox.items and self._ends_streak():
            await asyncio.sleep(0)
        # What Inbox.wait_for_item() does, without a coroutine in between: 6 % of an echo.
        while not inbox.items and not inbox.ended:
            future: asyncio.Future[None] = inbox.channel.loop.create_future()
            inbox.waiters.append(future.set_result)
            try:
                await future
            except asyncio.CancelledError:
                inbox.withdraw(future)
                raise
        item = inbox.take() if inbox.items else END
        if item is END:
            raise StopAsyncIteration
        return item

    async def _next_item(self, timeout: float | None) -> Item | None:
        """Take the next item, or give None when the time ran out."""
        inbox = self._inbox
        if inbox.items and self._ends_streak():
            await asyncio.sleep(0)
        if timeout is None:
            await inbox.wait_for_item()
        elif timeout != 0:
            try:
                async with asyncio.timeout(positive_timeout(timeout)):
                    await inbox.wait_for_item()
            except TimeoutError:
                pass
        if inbox.items:
            return inbox.take()
        if inbox.ended:
            raise self._connection_closed()
        return None


class _Done:
    """A result that may be awaited and need not be: unlike a coroutine it warns nobody."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE = _Done()
