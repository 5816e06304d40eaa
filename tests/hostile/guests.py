"""Clients for a crowd: raw sockets by the hundred on the event loop of a test.

Tests with many clients at once use them, where ``wire.Peer`` would need a thread for each.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from tests.hostile.wire import TEXT, close_frame, frame, handshake


class Guest:
    """One client of a crowd: a raw socket on the event loop of the test."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.port = port
        self.socket = socket.socket()
        self.socket.setblocking(False)
        if receive_buffer is not None:
            # Before connecting, for the window that the kernel offers depends on it.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._loop = asyncio.get_running_loop()
        self._received = b""

    async def connect(self) -> None:
        await self._loop.sock_connect(self.socket, ("127.0.0.1", self.port))

    async def open(self, path: str) -> None:
        await self.connect()
        await self.send(request_for(path, self.port))
        head = await self.receive_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.socket, data)

    async def receive_until(self, ending: bytes) -> bytes:
        while ending not in self._received:
            data = await self._loop.sock_recv(self.socket, 65536)
            assert data, f"the server ended the byte stream behind {self._received!r}"
            self._received += data
        wanted, _, self._received = self._received.partition(ending)
        return wanted

    def leave_abruptly(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def request_for(path: str, port: int) -> bytes:
    return handshake(path, port, {"Cookie": "sessionid=session-of-user-0"})


async def leave_at_once(guest: Guest, path: str, number: int) -> None:
    """Open and leave, by one of four ways."""
    await guest.open(path)
    if number % 4 == 0:
        guest.leave_abruptly()
    elif number % 4 == 1:
        await guest.send(frame(TEXT, b"hello")[:5])
        guest.leave_abruptly()
    elif number % 4 == 2:
        await guest.send(close_frame(1001))
        await guest.receive_until(close_bytes(1001))


def close_bytes(code: int) -> bytes:
    return bytes((0x88, 2)) + code.to_bytes(2, "big")
