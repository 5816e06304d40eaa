"""The project's other processes on this machine: who listens at which socket.

A process that has something to say listens at a socket of its kind in ``runtime_directory()``,
named after its number; whoever wants to talk to all of a kind finds them here. It knows nothing of
what they say.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from .runtime_directory import runtime_directory

if TYPE_CHECKING:
    from pathlib import Path


class Neighbour(NamedTuple):
    """A process that listens.

    Attributes:
        pid: its number.
        path: the path of its socket.
    """

    pid: int
    path: Path


def listen(kind: str) -> tuple[socket.socket, Path]:
    """Listen as this process at a socket of a kind; give the socket, and its path.

    What processes left behind that were killed is removed on the way. Who is done unlinks the path.

    Raises:
        ImproperlyConfigured: see ``runtime_directory``.
        OSError: the socket cannot be made, or somebody else has it.
    """
    find_neighbours(kind)
    path = runtime_directory() / f"{os.getpid()}.{kind}"
    if path.exists():
        raise OSError(errno.EADDRINUSE, f"somebody listens at {path} already")
    return listen_at(path), path


def listen_at(path: Path, backlog: int = 128) -> socket.socket:
    """Listen at a path, which is there as soon as it can be connected to.

    Arguments:
        path: where nobody listens.
        backlog: connections that may wait to be accepted.

    Raises:
        OSError: the socket cannot be made.
    """
    # Under another name until it listens: one that does not is taken for left behind.
    unfinished = path.with_suffix(f"{path.suffix}-")
    unfinished.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(unfinished))
        listening.listen(backlog)
        unfinished.rename(path)
    except BaseException:
        listening.close()
        unfinished.unlink(missing_ok=True)
        raise
    return listening


def find_neighbours(kind: str) -> list[Neighbour]:
    """Find the processes that listen at a socket of a kind, this one included, by number.

    Sockets of processes that are gone are removed.

    Raises:
        ImproperlyConfigured, OSError: see ``runtime_directory``.
    """
    return sorted(
        Neighbour(int(path.stem), path)
        for path in runtime_directory().glob(f"*.{kind}")
        if path.stem.isdecimal() and not remove_if_left_behind(path)
    )


def remove_if_left_behind(path: Path) -> bool:
    """Remove a socket at which nobody listens; tell whether it is gone."""
    with socket.socket(socket.AF_UNIX) as probe:
        # A process that hangs has a full queue, in which a caller would wait.
        probe.setblocking(False)
        result = probe.connect_ex(str(path))
    if result == errno.ECONNREFUSED:
        with contextlib.suppress(OSError):
            path.unlink()
    return result in (errno.ECONNREFUSED, errno.ENOENT)
