"""What the operating system still holds of what was written to a socket.

A slow peer is told from one that is stuck by whether this shrinks. The event loop's own buffer does
not show it: the system's is many times as large, and asks for more only when a third of it is free.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

try:
    import fcntl
    import termios
except ImportError:  # Windows
    fcntl = termios = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import asyncio


def queued_bytes(transport: asyncio.Transport) -> int:
    """Count the bytes that the peer has not acknowledged, 0 where the system does not tell.

    That is SIOCOUTQ of Linux, see tcp(7) and unix(7).
    """
    if sys.platform != "linux":
        return 0
    plain_socket = transport.get_extra_info("socket")
    if plain_socket is None:
        return 0
    try:
        answer = fcntl.ioctl(plain_socket.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    count: int = struct.unpack("i", answer)[0]
    return count
