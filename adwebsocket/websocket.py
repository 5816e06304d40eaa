"""The blocking WebSocket on ``request.websocket``.

Sync views call it; the decorators make it. What waits is here, the rest is in its base.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from .exceptions import ConnectionClosed
from .protocol.codes import CloseCode
from .transport.inbox import END
from .transport.outbox import Outbox
from .transport.pings import Ping
from .transport.waiting import manners, wait_for
from .websocket_base import PING_TIMEOUT, WebSocketBase, positive_timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .groups.hub import Joined
    from .protocol.frames import Message
    from .transport.bridge import LoopBridge
    from .transport.channel import Channel
    from .transport.inbox import Item
    from .transport.waiting import Waiter
    from .websocket_base import HeaderItems


class WebSocket(WebSocketBase):
    """A WebSocket for synchronous code: what waits, blocks the calling thread.

    Every method may be called from any thread. Messages that one thread sends keep their order,
    and each goes out whole. Not for code that runs on the event loop: waiting there would stop
    every connection, so it raises ``RuntimeError`` instead.
    """

    def __init__(self, channel: Channel, bridge: LoopBridge) -> None:
        super().__init__(channel)
        self._bridge = bridge
        self._outbox = Outbox(channel, bridge)
        channel.inbox.bridge = bridge

    def accept(self, subprotocol: str | None = None, headers: HeaderItems = ()) -> None:
        """Accept the handshake, in a view that is decorated with ``accept="manual"``.

        Arguments:
            subprotocol: the subprotocol to settle on, one of those that the client offered.
            headers: additional headers of the response.

        Raises:
            RuntimeError: the handshake has been answered already.
        """
        self._bridge.call(self._begin_accept(subprotocol, headers))

    def refuse(self, status: int, headers: HeaderItems, body: bytes) -> None:
        """Answer the handshake with an HTTP response, as the application does for a view."""
        self._bridge.call(self._begin_refuse(status, headers, body))

    def detach(self) -> None:
        super().detach()
        self._outbox = Outbox(self._channel, self._bridge)

    def wait(self, timeout: float | None = None) -> str | bytes | None:
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
        item = self._next_item(timeout)
        if item is END or item is None:
            return None
        return item

    def send(self, message: Message) -> None:
        """Send a message, ``str`` as text and anything bytes-like as binary.

        It returns when the message is on its way, and waits first while the peer is too slow to
        take what was sent before.

        Raises:
            ConnectionClosed: the connection is over.
            TypeError: the message is of another type.
        """
        channel = self._channel
        prepared = channel.prepare(message)
        if self._closed or self._inbox.ended or not self._answered:
            raise self._cannot_send()
        outbox = self._outbox
        outbox.put(prepared, message.nbytes if isinstance(message, memoryview) else len(message))
        if not outbox.has_room():
            if self._is_on_loop():
                outbox.flush()
                if outbox.has_room():
                    return
            self._check_not_on_loop("send() to a slow peer")
            outbox.wait_for_room()
            if channel.ended:
                raise self._connection_closed()

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the connection behind what was sent; does nothing when it is closed.

        It does not wait for the peer; ``wait()`` in any thread wakes up. Before the handshake is
        accepted it refuses it with 403.

        Arguments:
            code: 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455 section 7.4).
            reason: a text of at most 123 bytes of UTF-8.

        Raises:
            TypeError, ValueError: the code or the reason must not be sent.
        """
        close = self._begin_close(code, reason)
        if close is not None:
            self._bridge.call(close)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the connection is over, messages read or not; tell whether it is."""
        deadline = _deadline(timeout)
        senders = self._channel.senders
        while not self._inbox.ended:
            self._check_not_on_loop("waiting")
            waiter = manners().new_waiter()
            senders.append(waiter.wake)
            if not self._inbox.ended and not self._park(waiter, deadline):
                senders.withdraw(waiter.wake)
                break
        return self._inbox.ended

    def ping(self, timeout: float | None = PING_TIMEOUT) -> float:
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
        self._check_not_on_loop("waiting")
        deadline = _deadline(timeout)
        waiter = manners().new_waiter()
        ping = Ping(waiter.wake)
        self._bridge.call(partial(self._channel.ping, ping))
        if not self._park(waiter, deadline):
            self._channel.withdraw_ping(ping)
            raise TimeoutError(f"no pong came within {timeout} seconds")
        return self._latency_of(ping)

    def join(
        self,
        group: str,
        *,
        presence: Any = None,
        since: str | int | None = None,
        slow: str | None = None,
        gap: Any = None,
        positions: bool = False,
    ) -> Joined:
        """Join a group: from now on what ``groups.send`` sends to it reaches this socket.

        A membership ends with the connection, or with ``leave``. To join once more changes the
        membership.

        Arguments:
            group: 1 to 150 letters (A to Z), digits and ``_ . : @ / + -``.
            presence: what ``groups.members`` tells of this member, something that JSON can hold.
            since: a position in the group's history, as the client knows it, or an offset: what
                was sent behind it is delivered first.
            slow: what happens when the peer does not keep up, in place of what the group says:
                ``"disconnect"``, ``"drop_oldest"``, ``"drop_newest"`` or ``"latest"``.
            gap: a message for this socket when others may have been lost on their way to this
                process; ``str``, ``bytes``, or something for JSON.
            positions: wrap every message in a JSON object with ``group``, ``position`` and
                ``message`` (``base64`` for a binary one), so that the client can give its position
                when it comes back.

        Returns:
            Where the group's history stands, and whether all behind ``since`` was still in it.

        Raises:
            ConnectionClosed: the connection is over.
            GroupsUnavailable: the back-end of groups cannot be reached.
            TypeError, ValueError: an argument is not what it should be.
        """
        channel = self._channel
        self._check_may_join()
        self._check_not_on_loop("join()")
        joining = self._join(group, gap, presence, since=since, slow=slow, positions=positions)
        return wait_for(joining, channel.loop)

    def leave(self, group: str) -> None:
        """Leave a group: nothing of it comes behind this call. Does nothing outside of it."""
        channel = self._channel
        if not self.closed:
            self._check_not_on_loop("leave()")
            wait_for(self._leave(group), channel.loop)

    def send_json(self, value: Any) -> None:
        """Send ``value`` as JSON text; see ``send`` for what it raises."""
        self.send(self._encode_json(value))

    def wait_json(self, timeout: float | None = None) -> Any:
        """Wait for a message and decode it as JSON.

        Raises:
            ConnectionClosed: the connection has ended (None could not say so: null is JSON).
            TimeoutError: ``timeout`` seconds went by.
            ValueError: the message is not JSON.
        """
        return self._decode_json(self._next_item(timeout), timeout)

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over the messages as they come, until the connection has ended."""
        while True:
            try:
                item = self._next_item(None)
            except ConnectionClosed:
                return
            if item is END or item is None:
                return
            yield item

    def _next_item(self, timeout: float | None) -> Item | None:
        """Take the next item, or give None when the time ran out."""
        inbox = self._inbox
        deadline = _deadline(timeout)
        while True:
            try:
                # Looking first is cheaper than the exception, and another thread may still win.
                if inbox.items:
                    if self._ends_streak():
                        manners().give_way()
                    return inbox.take()
            except IndexError:
                pass
            if inbox.ended and not inbox.items:
                raise self._connection_closed()
            self._check_not_on_loop("waiting")
            waiter = manners().new_waiter()
            inbox.waiters.append(waiter.wake)
            if (inbox.items or inbox.ended) and inbox.waiters.withdraw(waiter.wake):
                continue
            if not self._park(waiter, deadline) and inbox.waiters.withdraw(waiter.wake):
                return None

    def _park(self, waiter: Waiter, deadline: float | None) -> bool:
        if deadline is None:
            return waiter.park(None)
        remaining = deadline - time.monotonic()
        if remaining > 0:
            return waiter.park(remaining)
        # A loop that polls would let no other view of its thread run.
        manners().give_way()
        return False

    def _is_on_loop(self) -> bool:
        return threading.get_ident() == self._bridge.thread_id

    def _check_not_on_loop(self, what: str) -> None:
        if self._is_on_loop():
            raise RuntimeError(
                f"{what} on a blocking WebSocket would stop the event loop: "
                "make the view async def, or call it in a thread"
            )


def _deadline(timeout: float | None) -> float | None:
    timeout = positive_timeout(timeout)
    return None if timeout is None else time.monotonic() + timeout
