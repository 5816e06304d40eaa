"""The dwebsocket dialect: what views that were written for dwebsocket 0.5 rely on.

Legacy views take their decorators from here, and get a ``request.websocket`` that behaves as theirs
did where that differs from the native one. The handshake, the threads and the bytes on the wire are
those of every other view.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from . import middleware as native_middleware
from . import websocket as native
from .caller import place_of_caller
from .decorators import make_decorator
from .exceptions import ConnectionClosed
from .protocol.codes import CloseCode
from .request import is_websocket_request
from .selectable import SelectableInbox
from .transport.ended import EndedChannel
from .transport.inbox import END
from .transport.waiting import manners, pause

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal, TypeAlias

    from django.http import HttpRequest

    from .decorators import View
    from .protocol.frames import Message
    from .transport.inbox import Item

    RunnerName: TypeAlias = Literal["thread", "greenlet"] | None

__all__ = [
    "WebSocket",
    "WebSocketFactory",
    "WebSocketMiddleware",
    "accept_websocket",
    "require_websocket",
]

logger = logging.getLogger("adwebsocket")

_NOTHING: Final = object()

# Seconds that the second call after the end takes; each further one takes twice as long.
_FIRST_BRAKE: Final = 0.05
_LONGEST_BRAKE: Final = 1.0
_CALLS_TO_REPORT: Final = 5
_SENDS_TO_REPORT: Final = 1000


class _Pace:
    """How often something may be done for nothing: once in ``interval`` seconds, in bursts or not.

    Arguments:
        interval: seconds.
        burst: seconds by which a burst may run ahead.
    """

    __slots__ = ("_burst", "_interval", "_until")

    def __init__(self, interval: float, burst: float) -> None:
        self._interval = interval
        self._burst = burst
        self._until = 0.0

    def forgive(self) -> None:
        """Forget what was done so far."""
        self._until = 0.0

    def seconds_to_wait(self) -> float:
        """Take note that it is done once more; give the seconds to wait, 0 or less for none."""
        now = time.monotonic()
        self._until = max(self._until, now) + self._interval
        return self._until - now - self._burst


class WebSocket(native.WebSocket):
    """The blocking WebSocket as dwebsocket 0.5.12 had it.

    What differs from the native one: every message is ``bytes``; what is sent goes out as text;
    the end is one None, also in an iteration, and then ``EOFError``; ``send()`` after the end does
    nothing; after the own ``close()`` everything reads as None.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._calls_after_end = 0
        self._braked_at = 0.0
        self._sends_after_end = 0
        self._pace_of_lost_sends = _Pace(0.001, burst=1.0)
        self._pace_of_polls = _Pace(0.01, burst=0.1)
        self._protocol: Protocol | None = None

    def wait(self, timeout: float | None = None) -> bytes | None:
        """Wait for the next message.

        Returns:
            The message as ``bytes``; None once when the connection has ended, each time after the
            own ``close()``, and when ``timeout`` seconds went by.

        Raises:
            EOFError: the end has been reported by None before.
        """
        if self._closed:
            self._brake()
            return None
        try:
            item = self._next_item(timeout)
            if item is None and timeout == 0 and self._wait_if_busy():
                item = self._next_item(0)
            return _as_bytes(item)
        except ConnectionClosed:
            self._brake()
            if self._closed:  # closed by another thread while this one waited
                return None
            raise
        finally:
            self._refresh_selectable()

    def read(self, fallback: Any = None) -> Any:
        """Take a message without waiting.

        Returns:
            The message as ``bytes``, ``fallback`` while none is there, None once at the end, and
            None each time after the own ``close()``.

        Raises:
            EOFError: the end has been reported by None before.
        """
        if self._closed:
            self._brake()
            return None
        try:
            message = super().read(_NOTHING)
            if message is _NOTHING and self._wait_if_busy():
                message = super().read(_NOTHING)
        except ConnectionClosed:
            self._brake()
            if self._closed:  # by another thread, meanwhile
                return None
            raise
        finally:
            self._refresh_selectable()
        if message is _NOTHING:
            return fallback
        return message.encode() if isinstance(message, str) else message

    def count_messages(self) -> int:
        """Count what is queued; the end of the connection counts as one.

        Raises:
            EOFError: the end has been reported by None before.
        """
        if self._closed:
            self._brake()
            return 0
        inbox = self._inbox
        count = len(inbox.items)
        if count == 0 and self._wait_if_busy():
            count = len(inbox.items)
        if self._closed:  # by another thread, meanwhile
            return 0
        # In this order: the end is queued before ``ended`` is set, and a message may have come.
        if count == 0 and inbox.ended and not inbox.items:
            self._brake()
            raise self._connection_closed()
        return count

    def has_messages(self) -> bool:
        """Tell whether a message or the end of the connection is queued.

        Raises:
            EOFError: the end has been reported by None before.
        """
        return self.count_messages() > 0

    @property
    def closed(self) -> bool:
        """Whether this side has called ``close()``."""
        return self._closed

    @property
    def protocol(self) -> Protocol:
        """What little of the original's lower layer is of use to views."""
        with _protocol_lock:
            protocol = self._protocol
            if protocol is None:
                protocol = self._protocol = Protocol(self)
            return protocol

    def detach(self) -> None:
        super().detach()
        self._protocol = None

    def send(self, message: Message, binary: bool = False) -> None:
        """Send a message as text; bytes that are not UTF-8 go out as binary, since text cannot be.

        Does nothing once the connection is over. ``binary`` is accepted and means nothing, as in
        the original.

        Raises:
            TypeError: the message is neither ``str`` nor bytes-like.
        """
        self._pace_of_polls.forgive()
        if self._closed or self._inbox.ended:
            self._count_lost_send()
            return
        try:
            super().send(_as_text(message))
        except ConnectionClosed:
            return  # it ended between the check and the sending

    def close(self, code: int | None = None, reason: str | bytes | None = None) -> None:
        """Close the connection; may be called again, and from any thread."""
        text = reason.decode() if isinstance(reason, bytes) else reason or ""
        super().close(CloseCode.NORMAL_CLOSURE if code is None else code, text)

    def __iter__(self) -> Iterator[bytes | None]:  # type: ignore[override]
        """Iterate over the messages; the last item is None, on which views clean up."""
        while True:
            try:
                message = self.wait()
            except EOFError:
                return
            yield message
            if message is None:
                return

    def ends_quietly(self, error: BaseException) -> bool:
        """Let any exception be the normal way out of a view whose connection has ended."""
        return (self._closed or self._inbox.ended) and isinstance(error, Exception)

    def _refresh_selectable(self) -> None:
        """Bring the descriptor up to date for who has asked for its number once and kept it."""
        protocol = self._protocol
        if protocol is not None:
            protocol.sock.fileno()

    def _brake(self) -> None:
        """Make calls after the end cost time: loops that swallow the end would spin for ever."""
        self._calls_after_end += 1
        count = self._calls_after_end
        if count == _CALLS_TO_REPORT:
            logger.warning(
                "A view goes on reading from a WebSocket that has ended, at %s. "
                "It should stop at the None or at the EOFError behind it.",
                place_of_caller(),
            )
        if count > 1 and not self._is_on_loop():
            delay = min(_FIRST_BRAKE * 2 ** min(count - 2, 10), _LONGEST_BRAKE)
            # Who looks at a hundred dead sockets in turn does not spin on any of them.
            pause(max(0.0, self._braked_at + delay - time.monotonic()))
        self._braked_at = time.monotonic()

    def _count_lost_send(self) -> None:
        self._sends_after_end += 1
        seconds = self._pace_of_lost_sends.seconds_to_wait()
        if seconds > 0 and not self._is_on_loop():
            # No client slows such a loop down any more, and it would starve the event loop.
            pause(seconds)
        if self._sends_after_end == _SENDS_TO_REPORT:
            logger.warning(
                "A view has sent %d messages to a WebSocket that has ended, at %s. "
                "send() is silent then: is_closed() tells a loop when to stop.",
                _SENDS_TO_REPORT,
                place_of_caller(),
            )

    def _wait_if_busy(self) -> bool:
        """Slow down who polls in a loop without a pause; tell whether something came meanwhile.

        Hundreds of such threads would leave the event loop no time. A hundred polls a second are
        free, and so is polling between sends; beyond that each waits for its turn or a message.
        """
        seconds = self._pace_of_polls.seconds_to_wait()
        if seconds <= 0 or self._is_on_loop():
            return False
        inbox = self._inbox
        waiter = manners().new_waiter()
        inbox.waiters.append(waiter.wake)
        if not inbox.items and not inbox.ended:
            waiter.park(seconds)
        if not inbox.waiters.withdraw(waiter.wake):
            # Woken for an item that this call may not take: another waiter could.
            inbox.waiters.wake_one()
        return bool(inbox.items)


# Two threads that ask at once must get the same descriptor.
_protocol_lock: Final = threading.Lock()


@cache
def _ended_selectable() -> SelectableInbox:
    """Give the one descriptor of all sockets that have ended: it is always readable."""
    return SelectableInbox(EndedChannel.inbox)


class Protocol:
    """What legacy views reach for below a WebSocket, ``ws.protocol.sock.fileno()`` above all."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        inbox = websocket._inbox
        is_over = inbox is EndedChannel.inbox
        self.sock = _ended_selectable() if is_over else SelectableInbox(inbox)

    def close(self) -> None:
        """Close the WebSocket."""
        self._websocket.close()

    def is_closed(self) -> bool:
        """Tell whether the WebSocket is closed."""
        return self._websocket.is_closed()


class WebSocketMiddleware(native_middleware.WebSocketMiddleware):
    """The middleware, for projects whose views are marked by hand and rely on the dialect."""


class WebSocketFactory:
    """What ``WEBSOCKET_FACTORY_CLASS`` names: accepted, and of no consequence.

    Arguments:
        request: the request, which has its socket already.
    """

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    def is_websocket(self) -> bool:
        """Tell whether the request is a WebSocket."""
        return is_websocket_request(self.request)

    def create_websocket(self) -> Any:
        """Give the socket of the request, None on plain HTTP."""
        return getattr(self.request, "websocket", None)


def accept_websocket(view: View | None = None, /, *, runner: RunnerName = None) -> Any:
    """Let WebSockets reach a view, besides plain HTTP requests, in dwebsocket's dialect.

    Arguments:
        runner: what runs the view, in place of ``WEBSOCKET_SYNC_RUNNER``; the one thing that the
            original's decorators did not take.
    """
    return _decorator(view, require=False, runner=runner)


def require_websocket(view: View | None = None, /, *, runner: RunnerName = None) -> Any:
    """Let only WebSockets reach a view, in dwebsocket's dialect; plain HTTP gets 400.

    Arguments:
        runner: see ``accept_websocket``.
    """
    return _decorator(view, require=True, runner=runner)


def _decorator(view: View | None, *, require: bool, runner: RunnerName) -> Any:
    return make_decorator(
        view,
        require=require,
        runner=runner,
        socket_class=WebSocket,
        # Return, exception and close() all sent 1000 in the original.
        error_code=CloseCode.NORMAL_CLOSURE,
        may_hide=True,
    )


WebSocketMiddleware.decorate_marked_view = staticmethod(accept_websocket)


def _as_bytes(item: Item | None) -> bytes | None:
    if item is END or item is None:
        return None
    return item.encode() if isinstance(item, str) else item


def _as_text(message: Message) -> Message:
    if isinstance(message, (bytes, bytearray, memoryview)):
        try:
            return bytes(message).decode()
        except UnicodeDecodeError:
            return message
    return message
