"""How late event loops are, and a clock that costs an attribute to read.

The ASGI application has each loop watched on which it serves; ``adwebsocket.stats()`` asks. One
timer for each loop looks at the clock four times a second, whatever the number of connections.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from time import monotonic
from typing import Final
from weakref import WeakSet, ref

# Seconds between two looks: what holds up a loop for as long is always noticed.
INTERVAL: Final = 0.25
_LOOKS_IN_A_MINUTE: Final = round(60 / INTERVAL)


class Clock:
    """The time of the last look at any loop.

    Attributes:
        now: that of ``time.monotonic()``. One number for all who note it until the next look, so
            that noting it takes eight bytes and no call.
    """

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = monotonic()


clock: Final = Clock()


class LoopWatch:
    """The lag of one event loop.

    Attributes:
        thread_id: the thread that it runs in.
    """

    __slots__ = ("_due", "_lags", "_loop", "thread_id")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weak: a loop that nobody uses any more has no timers that matter.
        self._loop = ref(loop)
        self._lags: deque[float] = deque([0.0], maxlen=_LOOKS_IN_A_MINUTE)
        self._due = 0.0
        self.thread_id = threading.get_ident()
        self._wait(loop)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        clock.now = monotonic()
        self._due = clock.now + INTERVAL
        loop.call_later(INTERVAL, self._look)

    def _look(self) -> None:
        self._lags.append(max(monotonic() - self._due, 0.0))
        loop = self._loop()
        if loop is not None:
            self._wait(loop)

    def is_over(self) -> bool:
        """Tell whether the loop is closed."""
        loop = self._loop()
        return loop is None or loop.is_closed()

    def lag(self) -> float:
        """Give the seconds by which the loop is late, now or when that was last seen."""
        # A loop that is stuck at this moment has not come to look.
        return max(self._lags[-1], monotonic() - self._due)

    def longest_lag(self) -> float:
        """Give the longest lag of the last minute in seconds."""
        return max(*tuple(self._lags), self.lag())


_watched: Final[WeakSet[asyncio.AbstractEventLoop]] = WeakSet()
_watches: Final[list[LoopWatch]] = []
# A process may have several event loops.
_lock: Final = threading.Lock()


def watch_loop() -> None:
    """Have the running loop watched until it is closed; once is enough."""
    loop = asyncio.get_running_loop()
    if loop in _watched:
        return
    with _lock:
        _watched.add(loop)
        _watches[:] = [watch for watch in _watches if not watch.is_over()]
        _watches.append(LoopWatch(loop))


def loop_watches() -> list[LoopWatch]:
    """Give the watches of all loops that are not closed. From any thread."""
    return [watch for watch in list(_watches) if not watch.is_over()]
