"""A WebSocket client made by hand, which can do what a decent one refuses to do.

The tests of this folder build frames, right or wrong, with ``frame`` and speak through a ``Peer``.
It shares no code with the package under test, and every wait in it has a limit.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import select
import socket
import ssl
import struct
import sys
import termios
import time
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

from tests.processes import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.processes import ServerProcess

CONTINUATION = 0x0
TEXT = 0x1
BINARY = 0x2
CLOSE = 0x8
PING = 0x9
PONG = 0xA

MASK = b"\x37\xfa\x21\x3d"


class Frame(NamedTuple):
    """A frame as it came from the server."""

    opcode: int
    payload: bytes
    fin: bool = True


class Closing(NamedTuple):
    """What a close frame of the server said; 1005 where it had no code."""

    code: int
    reason: str


class ServerGone(AssertionError):
    """Tell that the byte stream of the server ended where more was expected."""


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    length_bytes: int | None = None,
    announced: int | None = None,
) -> bytes:
    """Encode a frame as a client sends it, faults included.

    Arguments:
        opcode: the lowest four bits of the first byte.
        payload: the bytes to send behind the header, unmasked here.
        fin: whether it is the last frame of its message.
        reserved: the three reserved bits, as a number from 0 to 7.
        mask: four bytes, or None to leave the frame unmasked.
        length_bytes: 0, 2 or 8 bytes of extended length; as short as possible by default.
        announced: the length to write in place of that of ``payload``.
    """
    length = len(payload) if announced is None else announced
    if length_bytes is None:
        length_bytes = 0 if length < 126 else 2 if length < 65536 else 8
    marker = {0: length, 2: 126, 8: 127}[length_bytes]
    head = bytes((fin << 7 | reserved << 4 | opcode, (mask is not None) << 7 | marker))
    head += length.to_bytes(length_bytes, "big") if length_bytes else b""
    return head + payload if mask is None else head + mask + masked(payload, mask)


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """Mask a payload, or unmask it: it is the same (RFC 6455 section 5.3)."""
    if len(payload) > 32:
        # As one number: a thousand times as fast, which the tests with megabytes need.
        pattern = (mask * (len(payload) // 4 + 1))[: len(payload)]
        number = int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")
        return number.to_bytes(len(payload), "big")
    return bytes(byte ^ key for byte, key in zip(payload, cycle(mask), strict=False))


def close_frame(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """Encode a close frame, with any code and any bytes as its reason."""
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


def handshake(path: str, port: int, headers: Mapping[str, str] | None = None) -> bytes:
    """Write the request that opens a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class Peer:
    """One connection to the server, with nothing but TLS between the test and the bytes."""

    def __init__(self, server: ServerProcess, *, receive_buffer: int | None = None) -> None:
        self.port = server.port
        self.socket = server.connect(receive_buffer=receive_buffer)
        self._received = bytearray()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send_while_taken(self, data: bytes) -> bool:
        """Send bytes, and tell whether the server took them all before it shut the door."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            return False
        return True

    def goes_on_sending(self, count: int) -> bool:
        """Send so many bytes, bit by bit, and tell whether the server took them to the last."""
        deadline = time.monotonic() + DEADLINE
        for _ in range(0, count, 16384):
            if not self.send_while_taken(b"x" * 16384):
                return False
            assert time.monotonic() < deadline, "the server takes whatever comes, for ever"
        return True

    def wait_until_readable(self) -> None:
        """Wait until something has come, and leave it where it is."""
        readable, _, _ = select.select([self.socket], [], [], DEADLINE)
        assert readable, "nothing came"

    def unsent(self) -> int:
        """Return how many bytes the kernel holds because the server does not take them."""
        answer = fcntl.ioctl(self.socket, termios.TIOCOUTQ, b"\0" * 4)
        return int.from_bytes(answer, sys.byteorder)

    def unread(self) -> int:
        """Return how many bytes have come that nobody has read."""
        answer = fcntl.ioctl(self.socket, termios.FIONREAD, b"\0" * 4)
        return int.from_bytes(answer, sys.byteorder)

    def open(self, path: str, headers: Mapping[str, str] | None = None) -> None:
        """Shake hands, and expect to be let in."""
        self.send(handshake(path, self.port, headers))
        head = self.read_head()
        assert head.startswith("HTTP/1.1 101 "), head

    def read_head(self) -> str:
        """Read the head of an HTTP response."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, rest = bytes(self._received).partition(b"\r\n\r\n")
        self._received[:] = rest
        return head.decode("latin-1")

    def read_frame(self) -> Frame:
        """Read one frame of the server, which must be unmasked."""
        first, second = self._take(2)
        assert not second & 0x80, "a server must not mask"
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(self._take(2), "big")
        elif length == 127:
            length = int.from_bytes(self._take(8), "big")
        return Frame(first & 0x0F, self._take(length), bool(first & 0x80))

    def read_messages(self) -> Iterator[bytes]:
        """Read data frames until the close frame, and give their payloads."""
        while (received := self.read_frame()).opcode != CLOSE:
            if received.opcode in (TEXT, BINARY):
                yield received.payload

    def read_close(self) -> Closing:
        """Read until the close frame, whatever comes before it."""
        while (received := self.read_frame()).opcode != CLOSE:
            pass
        return parse_close(received.payload)

    def read_end(self) -> bytes:
        """Read until the byte stream ends, and give what came."""
        with contextlib.suppress(ServerGone):
            while True:
                self._receive()
        return bytes(self._received)

    def end_tls(self) -> None:
        """Say over TLS that nothing more will come, and wait for the same from the server."""
        assert isinstance(self.socket, ssl.SSLSocket)
        with contextlib.suppress(ssl.SSLError, ConnectionResetError):
            self.socket.unwrap()

    def leave(self, *, abruptly: bool = False) -> None:
        """Close the socket: with FIN, or abruptly with RST."""
        if abruptly:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive()
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _receive(self) -> None:
        data = self.socket.recv(262144)
        if not data:
            raise ServerGone(f"the server ended the byte stream behind {bytes(self._received)!r}")
        self._received += data


def parse_close(payload: bytes) -> Closing:
    """Read the payload of a close frame."""
    if not payload:
        return Closing(1005, "")
    return Closing(int.from_bytes(payload[:2], "big"), payload[2:].decode())
