"""The client's end of a connection, on the event loop of all tests.

``websockets`` knows the protocol (its sans-I/O client), a TCP connection over loopback carries the
bytes. Not a ``socketpair``: that has no reset, no addresses, and does not tell how much of what was
written has been taken. Knows nothing of Django and of tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections import deque
from typing import TYPE_CHECKING, Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from websockets.typing import Subprotocol

# Of the system's, on both sides: so small that a view soon meets a client that does not read.
BUFFER_BYTES: Final = 64 * 1024


def connected_sockets() -> tuple[socket.socket, socket.socket]:
    """Give both ends of a TCP connection, the client's first."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        # An accepted socket takes its buffers over from the one that listens.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        client = socket.socket()
        try:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            client.connect(listener.getsockname())
            while True:
                server, address = listener.accept()
                if address == client.getsockname():
                    return client, server
                server.close()  # somebody else's
        except BaseException:
            client.close()
            raise


class Peer(asyncio.Protocol):
    """A WebSocket client on one connection. All of it on the event loop.

    Arguments:
        uri: where to connect, for the request line.
        headers: the handshake's besides those that RFC 6455 prescribes, which a name of these
            replaces, and None leaves out.
        subprotocols: what is offered, the preferred one first.
        changed: called when the attributes have changed.

    Attributes:
        response: the answer to the handshake, None before it is there.
        messages: what has come and nobody has taken.
        pongs: how many have come.
        lost: there is no connection any more.
    """

    def __init__(
        self,
        uri: str,
        headers: Sequence[tuple[str, str | None]],
        subprotocols: Sequence[str],
        changed: Callable[[], None],
    ) -> None:
        self.response: Response | None = None
        self.messages: deque[str | bytes] = deque()
        self.pongs = 0
        self.lost = False
        self._changed = changed
        self._headers = headers
        self._protocol = ClientProtocol(
            parse_uri(uri),
            subprotocols=cast("list[Subprotocol]", list(subprotocols)) or None,
            max_size=None,
        )
        self._fragments: list[bytes] = []
        self._is_text = False
        self._has_ended = False
        self._is_half_closed = False
        self._socket: socket.socket | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to end."""
        return self._transport is not None and not self.lost

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        is_able = not (self.lost or self._is_half_closed)
        return self._protocol.state is State.OPEN and is_able

    @property
    def is_over(self) -> bool:
        """Whether the closing handshake is done, or there is no connection any more."""
        return self.lost or self._protocol.state is State.CLOSED

    @property
    def close_code(self) -> int | None:
        """The code that the server closed with, 1006 without one, None while it is open."""
        if not self.is_over or (self.response is not None and self.response.status_code != 101):
            return None
        return self._protocol.close_code or 1006

    @property
    def close_reason(self) -> str:
        """The reason that came with the code."""
        return self._protocol.close_reason or ""

    @property
    def subprotocol(self) -> str | None:
        """What the handshake settled on."""
        return self._protocol.subprotocol

    @property
    def fault(self) -> Exception | None:
        """How the server broke the protocol, if it did."""
        fault = self._protocol.parser_exc or self._protocol.handshake_exc
        is_answer = self.response is not None and self.response.status_code != 101
        return None if is_answer or isinstance(fault, EOFError) else fault

    async def connect(self, end: socket.socket) -> None:
        """Send the handshake over a connection."""
        self._socket = end
        await asyncio.get_running_loop().create_connection(lambda: self, sock=end)
        request = self._protocol.connect()
        for name, value in self._headers:
            if name in request.headers:
                del request.headers[name]
            if value is not None:
                request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        self._take_events()

    def eof_received(self) -> None:
        self._receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._receive_eof()
        self.lost = True
        self._changed()

    def _receive_eof(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._protocol.receive_eof()
            self._take_events()

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self.response = event
            elif isinstance(event, Frame):
                self._take_frame(event)
        self._flush()
        self._changed()

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self.pongs += 1
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                payload = b"".join(self._fragments)
                self._fragments.clear()
                self.messages.append(payload.decode() if self._is_text else payload)

    def _flush(self) -> None:
        transport = self._transport
        for data in self._protocol.data_to_send():
            if transport is None or transport.is_closing():
                continue
            if not data:
                transport.close()
            elif not self._is_half_closed:
                transport.write(data)

    # What a client does

    def send(self, message: str | bytes) -> None:
        """Send a message, while the connection is open."""
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        self._flush()

    def ping(self) -> None:
        """Send a ping, while the connection is open."""
        self._protocol.send_ping(b"")
        self._flush()

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake, or after a refusal end the connection."""
        if self._protocol.state is State.CONNECTING:
            if self._transport is not None:
                self._transport.close()
            return
        with contextlib.suppress(InvalidState):  # it has begun
            self._protocol.send_close(code, reason)
        self._flush()

    def send_raw(self, data: bytes) -> None:
        """Send bytes that need not mean anything."""
        transport = self._transport
        if transport is not None and not transport.is_closing() and not self._is_half_closed:
            transport.write(data)

    def end_writing(self) -> None:
        """End the client's half of the byte stream."""
        transport = self._transport
        if transport is not None and not transport.is_closing() and not self._is_half_closed:
            self._is_half_closed = True
            transport.write_eof()

    def pause_reading(self) -> None:
        """Take nothing from the system any more."""
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on taking."""
        transport = self._transport
        if transport is not None and not transport.is_closing() and not transport.is_reading():
            transport.resume_reading()

    def drop(self) -> None:
        """End the connection without a close frame; the server sees the end of the stream."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Let the system tear the connection down: RST in place of FIN."""
        if self._transport is not None and self._socket is not None:
            with contextlib.suppress(OSError):  # it has gone
                linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
