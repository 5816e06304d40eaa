"""The blocking WebSocket on ``request.websocket``, and what it shares with its async twin.

Views call them; the decorators make them. They stand on the channel seam and know neither Django
nor which server carries the bytes. Everything that does not wait is written once, in the base.
"""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from .exceptions import ConnectionClosed
from .protocol.codes import CloseCode
from .protocol.frames import check_close
from .protocol.handshake import check_header
from .transport.inbox import END
from .transport.outbox import Outbox
from .transport.waiting import ThreadWaiter

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Iterable,
        Iterator,
        Mapping,
    )
    from typing import TypeAlias

    from .protocol.frames import Message
    from .transport.bridge import LoopBridge
    from .transport.channel import Channel
    from .transport.inbox import Item
    from .transport.limits import Limits
    from .transport.waiting import Waiter

    HeaderItems: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]]"


class WebSocketBase(ABC):
    """What the blocking and the async WebSocket share: all that does not wait.

    Attributes:
        json_encoder: the encoder class of ``send_json``; under Django, ``DjangoJSONEncoder``.
    """

    json_encoder: ClassVar[type[json.JSONEncoder]] = json.JSONEncoder

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._inbox = channel.inbox
        self._answered = False
        self._closed = False
        # What this side has said, before the loop has come to it.
        self._subprotocol: str | None = None
        self._own_close: tuple[int, str] | None = None

    def read(self, fallback: Any = None) -> Any:
        """Take a message without waiting.

        Arguments:
            fallback: what to return while no message is there.

        Returns:
            ``str`` for a text message, ``bytes`` for a binary one, ``fallback`` when nothing is
            queued, and None once when the connection has ended.

        Raises:
            ConnectionClosed: the end has been reported before.
        """
        try:
            item = self._inbox.take()
        except IndexError:
            # With the end still queued it came just now: the next call reports it.
            if self._inbox.ended and not self._inbox.items:
                raise self._connection_closed() from None
            return fallback
        return None if item is END else item

    def count_messages(self) -> int:
        """Count the messages that are queued."""
        return self._inbox.count()

    def has_messages(self) -> bool:
        """Tell whether a message is queued, so that ``wait()`` would return it at once."""
        return self._inbox.count() > 0

    def is_closed(self) -> bool:
        """Tell whether the connection is over and no message is left to read.

        True at once after the own ``close()``, and without any read or write once the peer has
        gone, but never before the last message that came has been taken.
        """
        return self._closed or (self._inbox.ended and self._inbox.count() == 0)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more, be it that messages are left to read."""
        return self._closed or self._inbox.ended

    @property
    def close_code(self) -> int | None:
        """How the connection ended (RFC 6455 section 7.1.5), None while it is open.

        The peer's code, 1005 where it gave none, 1006 where the connection was lost, or the code
        with which this side closed first.
        """
        code = self._channel.close_code
        return self._own_close[0] if code is None and self._own_close else code

    @property
    def close_reason(self) -> str:
        """The reason that came with ``close_code``, an empty string where there was none."""
        if self._channel.close_code is None and self._own_close:
            return self._own_close[1]
        return self._channel.close_reason

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the handshake settled on, or None."""
        return self._subprotocol

    @property
    def accepted(self) -> bool:
        """Whether the handshake has been accepted, by the decorator or by ``accept()``."""
        return self._answered

    @abstractmethod
    def accept(self, subprotocol: str | None = None, headers: HeaderItems = ()) -> Any:
        """Accept the handshake."""

    @abstractmethod
    def refuse(self, status: int, headers: HeaderItems, body: bytes) -> None:
        """Answer the handshake with an HTTP response instead."""

    @abstractmethod
    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> Any:
        """Close the connection behind what was sent."""

    def configure(self, limits: Limits) -> None:
        """Set the bounds of the connection; for decorators, before the handshake is accepted."""
        self._channel.configure(limits)

    def ends_quietly(self, error: BaseException) -> bool:
        """Tell whether an exception is the normal way out of a view, because the peer has gone.

        That is this socket's own ``ConnectionClosed`` only: one from another socket, in a view
        whose connection stands, is a fault of the view.
        """
        return isinstance(error, ConnectionClosed) and self.closed

    def _connection_closed(self) -> ConnectionClosed:
        code = self.close_code
        return ConnectionClosed(
            CloseCode.ABNORMAL_CLOSURE if code is None else code, self.close_reason
        )

    def _cannot_send(self) -> Exception:
        if not self._answered and not self._closed:
            return RuntimeError(
                "the handshake has not been accepted yet: call request.websocket.accept() first"
            )
        return self._connection_closed()

    def _begin_accept(self, subprotocol: str | None, headers: HeaderItems) -> Callable[[], None]:
        if self._answered or self._closed:
            raise RuntimeError("the handshake has been answered already")
        encoded = _encode_headers(headers)
        if subprotocol is not None:
            check_header(b"sec-websocket-protocol", subprotocol.encode("latin-1"))
        self._answered = True
        self._subprotocol = subprotocol
        return partial(self._channel.accept, subprotocol, encoded)

    def _begin_close(self, code: int, reason: str) -> Callable[[], None] | None:
        """Give what the loop has to do, or None where the connection is over already."""
        check_close(code, reason)
        if self.closed:
            return None
        self._closed = True
        if not self._answered:
            return partial(self._channel.refuse, 403, (), b"")
        self._own_close = (code, reason)
        return partial(self._channel.close, code, reason)

    def _begin_refuse(self, status: int, headers: HeaderItems, body: bytes) -> Callable[[], None]:
        encoded = _encode_headers(headers)
        self._closed = True
        return partial(self._channel.refuse, status, encoded, body)

    def _encode_json(self, value: Any) -> str:
        return json.dumps(value, cls=self.json_encoder, separators=(",", ":"))


class WebSocket(WebSocketBase):
    """A WebSocket for synchronous code: what waits, blocks the calling thread.

    Every method may be called from any thread. Messages that one thread sends keep their order,
    and each goes out whole. Not for code that runs on the event loop: waiting there would stop
    every connection, so it raises ``RuntimeError`` instead.
    """

    def __init__(
        self,
        channel: Channel,
        bridge: LoopBridge,
        new_waiter: Callable[[], Waiter] = ThreadWaiter,
    ) -> None:
        super().__init__(channel)
        self._bridge = bridge
        self._new_waiter = new_waiter
        self._outbox = Outbox(channel, bridge)
        channel.inbox.on_low = partial(bridge.call, channel.resume_reading)

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
            self._check_not_on_loop("send() to a slow peer")
            outbox.wait_for_room(self._new_waiter)
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
            waiter = self._new_waiter()
            senders.append(waiter.wake)
            if not self._inbox.ended and not self._park(waiter, deadline):
                senders.withdraw(waiter.wake)
                break
        return self._inbox.ended

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
        item = self._next_item(timeout)
        if item is END:
            raise self._connection_closed()
        if item is None:
            raise TimeoutError(f"no message came within {timeout} seconds")
        return json.loads(item)

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
                    return inbox.take()
            except IndexError:
                pass
            if inbox.ended and not inbox.items:
                raise self._connection_closed()
            self._check_not_on_loop("waiting")
            waiter = self._new_waiter()
            inbox.waiters.append(waiter.wake)
            if (inbox.items or inbox.ended) and inbox.waiters.withdraw(waiter.wake):
                continue
            if not self._park(waiter, deadline) and inbox.waiters.withdraw(waiter.wake):
                return None

    def _park(self, waiter: Waiter, deadline: float | None) -> bool:
        if deadline is None:
            return waiter.park(None)
        remaining = deadline - time.monotonic()
        return remaining > 0 and waiter.park(remaining)

    def _check_not_on_loop(self, what: str) -> None:
        if threading.get_ident() == self._bridge.thread_id:
            raise RuntimeError(
                f"{what} on a blocking WebSocket would stop the event loop: "
                "make the view async def, or call it in a thread"
            )


def positive_timeout(timeout: float | None) -> float | None:
    """Read a timeout as the documented API does: None and negative numbers wait for ever."""
    return None if timeout is None or timeout < 0 else timeout


def _deadline(timeout: float | None) -> float | None:
    timeout = positive_timeout(timeout)
    return None if timeout is None else time.monotonic() + timeout


def _encode_headers(headers: HeaderItems) -> list[tuple[bytes, bytes]]:
    items = headers.items() if hasattr(headers, "items") else headers
    encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in items]
    for name, value in encoded:
        check_header(name, value)
    return encoded
