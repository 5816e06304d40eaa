"""The exceptions a user of adwebsocket may meet.

Every layer may import this module, and it imports nothing but the standard library. Exceptions
carry their data as attributes and write their own sentence, so that callers never parse text.
"""

from __future__ import annotations


class ConnectionClosed(EOFError):
    """Tell that the WebSocket connection has ended.

    Raised by ``send()`` once the connection is over, and by ``wait()`` when the end has already
    been reported by one ``None``. It is the normal way out of a view: adwebsocket does not log it.

    Attributes:
        code: the close code (RFC 6455 section 7.4), 1005 where the peer gave none and 1006 where
            the connection was lost without a close frame.
        reason: the close reason, an empty string where there was none.
    """

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        reason = f", reason {self.reason!r}" if self.reason else ""
        return f"the WebSocket connection is closed (code {self.code}{reason})"


class HandshakeError(Exception):
    """Tell why an opening handshake cannot be accepted (RFC 6455 section 4.2.1).

    Attributes:
        message: one sentence for the person who wrote the client.
        status: the HTTP status code of the answer.
        headers: the headers which that answer needs besides the usual ones.
    """

    def __init__(
        self, message: str, status: int = 400, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.headers = headers


class ProtocolError(Exception):
    """Tell how the peer broke the protocol; the connection is failed with ``code``.

    Attributes:
        code: the close code that says which kind of fault it was (RFC 6455 section 7.4.1).
        reason: what was expected and what came, short enough for a close frame.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason} (close code {self.code})"


class IllegalTransition(RuntimeError):
    """Tell that the state table has no way from a state by an event: a fault of this library."""
