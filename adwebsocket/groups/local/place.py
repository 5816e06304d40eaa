"""Where the processes of ``local`` meet: sockets in the runtime directory, and who is there.

Whoever serves has a socket there, whoever publishes looks for them. Names of sockets are never used
again, so what refuses a connection is dead and may be removed.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import socket
import time
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakSet

from django.core.exceptions import ImproperlyConfigured

from ...neighbours import listen_at, remove_if_left_behind
from ...runtime_directory import runtime_directory
from ..messages import deployment_tag

if TYPE_CHECKING:
    from pathlib import Path

# The kernel's clock for directories ticks every hundredth of a second on some machines: two changes
# within a tick look like one.
_TICK: Final = 0.1
# Connections that may wait while an event loop is busy; the system allows fewer, if it does.
_BACKLOG: Final = 1024


class Place:
    """The directory where processes of one project find each other.

    Attributes:
        directory: its path.
        tag: what tells this project from others.

    Raises:
        ImproperlyConfigured: there are no unix sockets, or the directory cannot be used.
    """

    def __init__(self, secret: str) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise ImproperlyConfigured(
                'the back-end "local" of WEBSOCKET_GROUPS needs unix sockets, which this system '
                'does not have; use "redis", or "memory" with one process'
            )
        self.tag = deployment_tag(secret)
        # Projects that share a directory by mistake do not even meet.
        self.name = self.tag.hex()[:8]
        self._suffix = f".{self.name}.groups"
        try:
            self.directory: Path = runtime_directory()
            listener, path = self.listen()
            listener.close()
            path.unlink(missing_ok=True)
            self.sweep()
        except OSError as error:
            raise ImproperlyConfigured(
                'the back-end "local" of WEBSOCKET_GROUPS cannot listen at a unix socket in its '
                f"directory: {error}; set WEBSOCKET_RUNTIME_DIR to another one, with a short path"
            ) from error

    def listen(self) -> tuple[socket.socket, Path]:
        """Open a socket where publishers find it.

        Raises:
            OSError: it cannot be made.
        """
        self.directory = runtime_directory()
        path = self.directory / f"{os.getpid()}-{secrets.token_hex(4)}{self._suffix}"
        listener = listen_at(path, _BACKLOG)
        listener.setblocking(False)
        return listener, path

    def fingerprint(self) -> tuple[int, int, int] | None:
        """Give what changes with the sockets that are there; None where that cannot be told."""
        try:
            status = self.directory.stat()
        except FileNotFoundError:
            return None
        if time.time() - status.st_mtime <= _TICK:
            return None
        return status.st_dev, status.st_ino, status.st_mtime_ns

    def names(self) -> list[str]:
        """Name the sockets that are there."""
        try:
            entries = list(self.directory.iterdir())
        except FileNotFoundError:
            return []
        return [entry.name for entry in entries if entry.name.endswith(self._suffix)]

    def connect(self, name: str) -> socket.socket | None:
        """Connect to a process without waiting, None where it is gone.

        Raises:
            BlockingIOError: its queue of connections is full, so it must have been silent for long.
            OSError: this process has no file descriptor left, or the like.
        """
        path = self.directory / name
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.setblocking(False)
            connection.connect(str(path))
        except FileNotFoundError:
            connection.close()
            return None
        except ConnectionRefusedError:
            connection.close()
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        except BaseException:
            connection.close()
            raise
        return connection

    def sweep(self) -> None:
        """Remove the sockets of processes that were killed."""
        for name in self.names():
            remove_if_left_behind(self.directory / name)


class EveryMinute:
    """Tell whether something is due that is done once a minute at most."""

    def __init__(self) -> None:
        self._next = -math.inf

    def is_due(self) -> bool:
        """Tell it, and take it to be done now."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + 60
        return True


class Inherited(Protocol):
    """Whatever a child process must not use, if its parent had it when it forked."""

    def abandon(self) -> None:
        """Close the descriptors of this process, and touch nothing that the parent shares."""


_inheritance: WeakSet[Any] = WeakSet()


def abandon_in_children(owner: Inherited) -> None:
    """Let ``owner.abandon`` be called in processes that this one forks."""
    _inheritance.add(owner)


def _abandon() -> None:
    for owner in list(_inheritance):
        owner.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon)
