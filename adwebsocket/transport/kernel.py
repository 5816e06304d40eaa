"""What the operating system knows of a peer: how much it has taken of what was written.

This tells a slow peer from one that is stuck. The event loop's own buffer does not show it: the
system's is many times as large, and asks for more only when a third of it is free.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, Final

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = termios = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import asyncio

# struct tcp_info of linux/tcp.h: where tcpi_bytes_acked stands, 64 bits wide.
_BYTES_ACKED_AT: Final = 120


def count_unsent(transport: asyncio.Transport) -> int:
    """Count the bytes that the peer's system has not acknowledged, as far as ours tells."""
    unsent: int = transport.get_write_buffer_size()
    plain_socket = transport.get_extra_info("socket")
    if sys.platform == "linux" and plain_socket is not None:
        try:
            # SIOCOUTQ, see tcp(7) and unix(7)
            answer = fcntl.ioctl(plain_socket.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return unsent
        unsent += struct.unpack("i", answer)[0]
    return unsent


def measure_progress(transport: asyncio.Transport) -> int:
    """Give a number that is larger than before when the peer has taken something meanwhile.

    Where the system counts what a peer acknowledges, and that is TCP on Linux, it is larger then
    and only then; elsewhere what is sent meanwhile can hide it.
    """
    plain_socket = transport.get_extra_info("socket")
    if sys.platform == "linux" and plain_socket is not None:
        try:
            info = plain_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        except OSError:  # a unix socket
            info = b""
        if len(info) >= _BYTES_ACKED_AT + 8:
            acknowledged: int = struct.unpack_from("Q", info, _BYTES_ACKED_AT)[0]
            return acknowledged
    return -count_unsent(transport)
