"""Where a server listens: ports that workers share evenly, and UNIX domain sockets.

The runner's configuration binds them, in the process that starts the others. Nothing here knows
what is served.
"""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path
from typing import Any

STARTUP_FAILURE = 3  # uvicorn's exit code for a server that never came up
# macOS and the older BSDs know SO_REUSEPORT too, but give all connections to one of the sockets.
SPREADING_OPTION: int | None = getattr(
    socket, "SO_REUSEPORT" if sys.platform == "linux" else "SO_REUSEPORT_LB", None
)

logger = logging.getLogger("uvicorn.error")


class PortReservation(socket.socket):
    """A bound socket that never listens, and that reaches another process as a new one.

    The kernel spreads connections over the listening sockets of a port, so each worker needs its
    own. The parent's socket keeps the port, and gets no connection because it does not listen.
    """

    @classmethod
    def reserve(cls, host: str, port: int) -> PortReservation:
        """Bind the port for the workers, and fail like any server if another one listens there."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            # Without this, a second runner would quietly share the port of the first.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        return cls.bind_shared(family, (host, port))

    @classmethod
    def bind_shared(cls, family: int, address: tuple[Any, ...]) -> PortReservation:
        """Bind a socket which lets other sockets of this user listen on the same port."""
        assert SPREADING_OPTION is not None
        bound = cls(family)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, SPREADING_OPTION, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound

    def __reduce__(self) -> tuple[Any, ...]:
        return PortReservation.bind_shared, (self.family, self.getsockname())


def bind_unix_socket(path: Path, backlog: int) -> socket.socket:
    """Listen at a path, in place of what a server that was killed may have left there."""
    bound = socket.socket(socket.AF_UNIX)
    mode = 0o666
    try:
        if path.is_socket() and not is_listening(path):
            mode = path.stat().st_mode
            path.unlink()
        bound.bind(str(path))
        path.chmod(mode)
        bound.listen(backlog)
    except OSError as error:
        logger.error("Cannot listen on the unix socket %s: %s", path, error)
        sys.exit(STARTUP_FAILURE)
    logger.info("Uvicorn running on unix socket %s (Press CTRL+C to quit)", path)
    return bound


def is_listening(path: Path) -> bool:
    """Tell whether a server accepts connections at a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def remove_unix_socket(path: str | None) -> None:
    """Remove what ``bind_unix_socket`` has made, if anything."""
    if path is not None:
        Path(path).unlink(missing_ok=True)
