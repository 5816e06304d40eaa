"""uvicorn's HTTP protocol, with bounds on how long and how large a request's head may be.

Our runner uses it in front of the WebSocket protocol class. It adds what uvicorn leaves open: a
client that sends its head byte by byte, or without end, would hold a connection for ever.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from httptools import HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .limits import Limits

if TYPE_CHECKING:
    import asyncio

    from uvicorn.config import Config

# Seconds in which a refused client's input is discarded.
LINGER = 1.0
_TOO_SLOW = (408, b"Request Timeout", b"The request line and the headers did not come in time.\n")
_TOO_LARGE = (431, b"Request Header Fields Too Large", b"The headers are too large.\n")


class HttpProtocol(HttpToolsProtocol):
    """Serve HTTP/1.1 on a connection, until it becomes a WebSocket.

    Arguments:
        config: uvicorn's configuration. Its attribute ``limits``, where it has one, gives
            ``max_header_size`` and ``handshake_timeout``.
        arguments: uvicorn's own.
    """

    def __init__(self, config: Config, **arguments: Any) -> None:
        super().__init__(config, **arguments)
        self._limits: Limits = getattr(config, "limits", None) or Limits()
        self._is_in_head = False
        self._is_refused = False
        # Bytes since the head began, or since its body last grew: of trailers, mostly.
        self._size = 0
        self._has_progressed = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._data = data
        self._has_progressed = False
        super().data_received(data)
        self._data = b""
        if self.parser is None or self.transport.is_closing():
            return
        if not self._is_in_head and self._is_idle():
            # A blank line before the next request; uvicorn has stopped its own timer for it.
            self._await_head()
        # A head that begins in this piece may stand behind a long body.
        if not self._has_progressed:
            self._size += len(data)
            if self._size > self._limits.max_header_size:
                self._refuse(*_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()
        self._has_progressed = True
        self._size = 1

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come by here too, and would join the headers of a request that is being served.
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stop_head_timer()
        self._is_in_head = False
        self._has_progressed = True
        self._size = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._has_progressed = True
        self._size = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._is_in_head and not self.transport.is_closing():
            self._await_head()

    def handle_websocket_upgrade(self) -> None:
        # uvicorn calls this while it handles the exception that says where the head has ended.
        if not self._is_idle():
            # The 101 would overtake the response that is due before it, and that would be read as
            # frames (RFC 9112 section 9.3.2). Behind this response the connection closes; a client
            # that gets no answer to its handshake may ask again.
            self._is_refused = True
            self.cycle.keep_alive = False
            return
        upgrade = sys.exc_info()[1]
        assert isinstance(upgrade, HttpParserUpgrade)
        early_frames = self._data[upgrade.args[0] :]
        super().handle_websocket_upgrade()
        # The parser refers to this object and this to the parser: together they would stay until
        # the garbage collector comes, 4 KB for each connection.
        self.parser = None  # type: ignore[assignment]
        if early_frames:
            protocol: Any = self.transport.get_protocol()
            protocol.data_received(early_frames)

    def _get_upgrade(self) -> bytes | None:
        """Give b"websocket" where the headers ask for it, in lists and several lines or not."""
        tokens: dict[bytes, set[bytes]] = {b"connection": set(), b"upgrade": set()}
        for name, value in self.headers:
            if name in tokens:
                tokens[name].update(token.strip() for token in value.lower().split(b","))
        if b"upgrade" in tokens[b"connection"] and b"websocket" in tokens[b"upgrade"]:
            return b"websocket"
        return None

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def await_head_until(self, deadline: float) -> None:
        """Take over the time limit of somebody who has waited before, on the loop's clock."""
        self._head_timer = self.loop.call_at(deadline, self._refuse, *_TOO_SLOW)

    def _await_head(self) -> None:
        """Give the client its time for a head; none while uvicorn does not read for a response."""
        self._is_in_head = True
        timeout = self._limits.handshake_timeout
        if self._head_timer is None and timeout is not None and self._is_idle():
            self._head_timer = self.loop.call_later(timeout, self._refuse, *_TOO_SLOW)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, phrase: bytes, text: bytes) -> None:
        """Answer a head that is not complete, and close.

        One that never began gets no answer, nor does one behind a request that is being served:
        the answer would be taken for that one's.
        """
        self._stop_head_timer()
        self._is_refused = True
        if not self._is_idle():
            self.transport.abort()
            return
        if self._size > 0:
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, phrase, len(text), text)
            )
        self._head_timer = self.loop.call_later(LINGER, self.transport.abort)
        if self.transport.can_write_eof():
            # Closed with input unread, the system would send a reset, which can destroy the answer
            # on its way to a client that is still writing.
            self.transport.write_eof()
        else:
            self.transport.close()
