"""Opens WebSocket connections that echo one message each and then stay open and silent.

The memory benchmark and the crowd use it from processes of their own. It must not know which server
answers, nor what is measured while the connections stand.
"""

import base64
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks import BenchmarkError
from benchmarks.kernel_limits import SPARE_FILES

PATIENCE_SECONDS = 20.0

COMPRESSION = (
    "Sec-WebSocket-Extensions: permessage-deflate; "
    "server_no_context_takeover; client_no_context_takeover"
)
# What a browser adds: the same from thousands of clients, except for the cookies.
BROWSER = (
    "Origin: http://{host}:{port}",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en-US;q=0.9,en;q=0.8",
    "Cache-Control: no-cache",
    "Pragma: no-cache",
    "Cookie: csrftoken={secret}; theme=dark",
)
TEXT = b"hello"
# Masked with zeros, which leave it as it is (RFC 6455 section 5.3).
QUESTION = bytes([0x81, 0x80 | len(TEXT), 0, 0, 0, 0]) + TEXT
ANSWER = bytes([0x81, len(TEXT)]) + TEXT
COMPRESSED_TEXT = b"\xc1"


@dataclass(frozen=True, slots=True)
class Clients:
    """Where connections go, what their handshakes say, and whether an echo is to be had there."""

    host: str
    port: int
    path: str
    compression: bool
    browser: bool
    echo: bool = True

    @contextmanager
    def connected(self, count: int) -> Iterator[list[socket.socket]]:
        """Hold this many connections open; raise ``BenchmarkError`` where one was not or is lost.

        They are opened one after the other, so that the server never needs memory for a crowd of
        handshakes at once.
        """
        with ExitStack() as stack:
            try:
                sockets = [stack.enter_context(self._open()) for _ in range(count)]
            except OSError as error:
                raise BenchmarkError(f"a connection failed: {error}") from error
            yield sockets
            if lost := sum(map(_is_lost, sockets)):
                raise BenchmarkError(f"lost {lost} of {count} idle connections")

    def _open(self) -> socket.socket:
        one = socket.create_connection((self.host, self.port), timeout=PATIENCE_SECONDS)
        try:
            one.sendall(self._handshake())
            self._check_answer(_read_head(one))
            if self.echo:
                one.sendall(QUESTION)
                self._check_echo(one.recv(100))
        except BaseException:
            one.close()
            raise
        return one

    def _handshake(self) -> bytes:
        lines = [
            f"GET {self.path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        ]
        if self.compression:
            lines.append(COMPRESSION)
        if self.browser:
            names = {"host": self.host, "port": self.port, "secret": os.urandom(16).hex()}
            lines += [line.format_map(names) for line in BROWSER]
        return "\r\n".join([*lines, "", ""]).encode()

    def _check_answer(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 101 "):
            raise BenchmarkError(f"the handshake was answered with {head[:80]!r}")
        if (b"permessage-deflate" in head) is not self.compression:
            raise BenchmarkError("compression is not as it was asked for")

    def _check_echo(self, frame: bytes) -> None:
        # Who compresses so short a message is believed: that the echo is one, its first byte tells.
        if frame != ANSWER and not (self.compression and frame.startswith(COMPRESSED_TEXT)):
            raise BenchmarkError(f"the echo is wrong: {frame!r}")


def _read_head(one: socket.socket) -> bytes:
    head = b""
    # Frames of a view that speaks first may follow at once.
    while b"\r\n\r\n" not in head:
        data = one.recv(4096)
        if not data:
            break
        head += data
    return head


def _is_lost(one: socket.socket) -> bool:
    """Tell whether the server has closed it; a ping that nobody answered yet is no harm."""
    one.setblocking(False)
    try:
        return one.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def allow_files(count: int) -> None:
    """Let this process, and the servers that it starts, open a file for each connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + SPARE_FILES
    if soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchmarkError(
            f"{count} connections need {needed} open files, but the limit is {hard} (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
