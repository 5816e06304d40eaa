"""The end of a process's file descriptors, seen coming.

Each connection takes one, and so do database connections, files and pipes. A server that accepts
until none is left fails at all of these at once; ours, which asks here, stops before.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

# What is kept free for everything that is no connection, at the least and as a part of the limit.
_LEAST_RESERVE: Final = 32
_RESERVE_SHARE: Final = 20


class DescriptorGauge:
    """Tell how near a process is to its limit of file descriptors (``ulimit -n``).

    Arguments:
        limit: descriptors that the process may have; by default, what the system says.

    Attributes:
        limit: the same, None where there is none.
        reserve: descriptors that connections leave to others.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit or _system_limit()
        most = self.limit or 0
        self.reserve = min(max(_LEAST_RESERVE, most // _RESERVE_SHARE), most // 4)

    def is_low(self) -> bool:
        """Tell whether connections have come to the reserve.

        The system gives out the lowest free number, so the next number is a lower bound of how many
        are in use: two calls, however many are.
        """
        if self.limit is None:
            return False
        try:
            descriptor = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            return True
        os.close(descriptor)
        return descriptor >= self.limit - self.reserve

    def batch(self, backlog: int) -> int:
        """Give how many connections may be accepted before ``is_low`` is asked again."""
        return backlog if self.limit is None else max(1, min(backlog, self.reserve // 2))

    def has_room(self) -> bool:
        """Tell whether twice the reserve is free, by counting."""
        if self.limit is None:
            return True
        try:
            used = _count_open()
        except OSError:
            return False
        return used <= self.limit - 2 * self.reserve


def _count_open() -> int:
    # Linux has told the number as a size since 6.2. Elsewhere they are counted one by one, which
    # takes a millisecond for each thousand.
    directory = Path("/dev/fd")
    return directory.stat().st_size or sum(1 for _ in directory.iterdir())


def _system_limit() -> int | None:
    if resource is None:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
