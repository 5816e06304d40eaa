"""The dwebsocket dialect: what views that were written for dwebsocket 0.5 rely on.

Legacy views take their decorators from here, and get a ``request.websocket`` that behaves as theirs
did where that differs from the native one. The handshake, the threads and the bytes on the wire are
those of every other view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import websocket as native
from .decorators import Options, decorate
from .exceptions import ConnectionClosed
from .protocol.codes import CloseCode
from .transport.inbox import END

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .decorators import View
    from .protocol.frames import Message
    from .transport.inbox import Item

__all__ = ["WebSocket", "accept_websocket", "require_websocket"]


class WebSocket(native.WebSocket):
    """The blocking WebSocket as dwebsocket 0.5.12 had it.

    What differs from the native one: every message is ``bytes``; what is sent goes out as text;
    the end is one None, also in an iteration, and then ``EOFError``; ``send()`` after the end does
    nothing; after the own ``close()`` everything reads as None.
    """

    def wait(self, timeout: float | None = None) -> bytes | None:
        """Wait for the next message.

        Returns:
            The message as ``bytes``; None once when the connection has ended, each time after the
            own ``close()``, and when ``timeout`` seconds went by.

        Raises:
            EOFError: the end has been reported by None before.
        """
        if self._closed:
            return None
        try:
            return _as_bytes(self._next_item(timeout))
        except ConnectionClosed:
            if self._closed:  # closed by another thread while this one waited
                return None
            raise

    def read(self, fallback: Any = None) -> Any:
        """Take a message without waiting.

        Returns:
            The message as ``bytes``, ``fallback`` while none is there, None once at the end, and
            None each time after the own ``close()``.

        Raises:
            EOFError: the end has been reported by None before.
        """
        if self._closed:
            return None
        message = super().read(fallback)
        return message.encode() if type(message) is str and message is not fallback else message

    def count_messages(self) -> int:
        """Count what is queued; the end of the connection counts as one."""
        return 0 if self._closed else len(self._inbox.items)

    def has_messages(self) -> bool:
        """Tell whether a message or the end of the connection is queued."""
        return self.count_messages() > 0

    @property
    def closed(self) -> bool:
        """Whether this side has called ``close()``."""
        return self._closed

    def send(self, message: Message, binary: bool = False) -> None:
        """Send a message as text; bytes that are not UTF-8 go out as binary, since text cannot be.

        Does nothing once the connection is over. ``binary`` is accepted and means nothing, as in
        the original.

        Raises:
            TypeError: the message is neither ``str`` nor bytes-like.
        """
        if self._closed or self._inbox.ended:
            return
        try:
            super().send(_as_text(message))
        except ConnectionClosed:
            return  # it ended between the check and the sending

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close the connection; may be called again, and from any thread."""
        super().close(CloseCode.NORMAL_CLOSURE if code is None else code, reason or "")

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
        return self._inbox.ended and isinstance(error, Exception)


def accept_websocket(view: View) -> View:
    """Let WebSockets reach a view, besides plain HTTP requests, in dwebsocket's dialect."""
    return decorate(view, _options(require=False))


def require_websocket(view: View) -> View:
    """Let only WebSockets reach a view, in dwebsocket's dialect; plain HTTP gets 400."""
    return decorate(view, _options(require=True))


def _options(*, require: bool) -> Options:
    return Options(
        require=require,
        socket_class=WebSocket,
        # Return, exception and close() all sent 1000 in the original.
        error_code=CloseCode.NORMAL_CLOSURE,
    )


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
