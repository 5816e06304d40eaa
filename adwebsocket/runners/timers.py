"""The timeouts of views that share a thread: a heap that forgets waits which are over.

The worker of greenlets has one, and asks it what is due. It knows waiters, not what they wait for.
"""

from __future__ import annotations

import itertools
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

# Timers of waits that are over are cleared away when there are more than these, and most are such.
_MANY: Final = 256


class TimedWaiter(Protocol):
    """What a timer is for.

    Attributes:
        is_parked: the wait is not over.
    """

    is_parked: bool

    def go_on(self) -> None:
        """Let the view run: it has waited for long enough."""


class Timers:
    """What is due when. In the worker's thread only."""

    __slots__ = ("_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, TimedWaiter]] = []
        self._numbers = itertools.count()

    def add(self, at: float, waiter: TimedWaiter, *, waiting: int) -> None:
        """Let ``waiter`` go on at a time if nobody wakes it before.

        Arguments:
            at: the time, on the clock of whoever asks what is due.
            waiting: how many views may wait at once, each with one timer.
        """
        heap = self._heap
        if len(heap) > _MANY and len(heap) > 2 * waiting:
            heap[:] = [timer for timer in heap if timer[2].is_parked]
            heapify(heap)
        heappush(heap, (at, next(self._numbers), waiter))

    def next_at(self) -> float:
        """Give the time of the next, infinity where there is none."""
        return self._heap[0][0] if self._heap else inf

    def pop_due(self, now: float) -> Iterator[TimedWaiter]:
        """Give those whose time has come; more may be added meanwhile."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            yield heappop(heap)[2]
