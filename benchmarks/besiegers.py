"""The hostile peers of ``benchmarks/hostile.py``, in a process of their own.

``python -m benchmarks.besiegers`` besieges a port until its standard input ends. On standard output
it tells when the siege has begun and, at the end, in JSON, what it did. It knows WebSocket to the
byte, and must not know who listens.
"""

import argparse
import asyncio
import json
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

# With a mask of zeros a payload is masked as it stands.
NO_MASK = b"\0\0\0\0"
COLOURS = ("sync", "async")
STORMERS = 10


def frame(opcode: int, payload: bytes) -> bytes:
    """Encode a final frame of at most 125 bytes."""
    return bytes((0x80 | opcode, 0x80 | len(payload))) + NO_MASK + payload


PINGS = frame(0x9, b"are you there?") * 10_000
CLOSE = frame(0x8, b"\x03\xe8")


def handshake(path: str, port: int) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class Crowd:
    """So many peers of each kind, and a storm of those that come and go."""

    def __init__(self, port: int, size: int) -> None:
        self.counts: Counter[str] = Counter()
        self._port = port
        self._size = size
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def gather(self) -> None:
        """Let all take their places, and begin."""
        await self._invite("half-open", self._half_open, self._size)
        await self._invite("never reading", self._never_read, self._size)
        pinging = await self._invite("pinging", self._open_echo, max(self._size // 10, 1))
        loitering = await self._invite("slow handshakes", self._begin_handshake, self._size)
        self._start(self._drip(loitering))
        for peer in pinging:
            self._start(asyncio.get_running_loop().sock_sendall(peer, PINGS))
        for _ in range(STORMERS):
            self._start(self._storm())

    async def leave(self) -> None:
        """Stop, and drop every connection, half of them with a reset."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for number, peer in enumerate(self._sockets):
            if number % 2:
                reset_on_close(peer)
            peer.close()

    async def _invite(
        self, kind: str, begin: Callable[[socket.socket, str], Awaitable[None]], count: int
    ) -> list[socket.socket]:
        peers = [make_socket() for _ in range(count)]
        self._sockets += peers
        colours = [COLOURS[number % 2] for number in range(count)]
        await asyncio.gather(*map(begin, peers, colours))
        self.counts[kind] = count
        return peers

    def _start(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _open(self, peer: socket.socket, path: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(peer, ("127.0.0.1", self._port))
        await loop.sock_sendall(peer, handshake(path, self._port))
        answer = await loop.sock_recv(peer, 12)
        if answer != b"HTTP/1.1 101":
            raise ConnectionError(f"the server answered {answer!r}")

    async def _open_echo(self, peer: socket.socket, colour: str) -> None:
        await self._open(peer, f"/{colour}/echo")

    async def _half_open(self, peer: socket.socket, colour: str) -> None:
        await self._open(peer, f"/{colour}/echo")
        await asyncio.get_running_loop().sock_sendall(peer, frame(0x1, b"half a message")[:9])

    async def _never_read(self, peer: socket.socket, colour: str) -> None:
        await self._open(peer, f"/{colour}/flood")

    async def _begin_handshake(self, peer: socket.socket, colour: str) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(peer, ("127.0.0.1", self._port))
        await loop.sock_sendall(peer, handshake(f"/{colour}/echo", self._port)[:-2])

    async def _drip(self, peers: list[socket.socket]) -> None:
        loop = asyncio.get_running_loop()
        number = 0
        while peers:
            for peer in list(peers):
                try:
                    await loop.sock_sendall(peer, f"X-{number}: y\r\n".encode())
                except OSError:  # the server has lost its patience
                    self.counts["slow handshakes given up by the server"] += 1
                    peers.remove(peer)
                await asyncio.sleep(0.01)
            number += 1

    async def _storm(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            number = self.counts["storm"] = self.counts["storm"] + 1
            peer = make_socket()
            try:
                await self._open(peer, f"/{COLOURS[number // 3 % 2]}/echo")
                if number % 3 == 0:
                    reset_on_close(peer)
                elif number % 3 == 1:
                    await loop.sock_sendall(peer, CLOSE)
                    while await loop.sock_recv(peer, 4096):
                        pass
            finally:
                peer.close()

    def failures(self) -> list[str]:
        """Return what kept a peer from its work."""
        done = [task for task in self._tasks if task.done() and not task.cancelled()]
        return [str(task.exception()) for task in done if task.exception() is not None]


def make_socket() -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    # Before connecting, for the window that the kernel offers depends on it.
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return made


def reset_on_close(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def besiege(port: int, size: int) -> None:
    crowd = Crowd(port, size)
    await crowd.gather()
    print("begun", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    failures = crowd.failures()
    await crowd.leave()
    print(json.dumps({"counts": crowd.counts, "failures": failures}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    options = parser.parse_args()
    # The clients that are measured share a core with this one, and must not wait for it.
    os.nice(10)
    asyncio.run(besiege(options.port, options.size))
