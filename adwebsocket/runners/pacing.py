"""Turns for woken threads, so that they do not all fight for the interpreter's lock at once.

A burst of messages may wake ten thousand parked threads; all awake together they handle a tenth of
what they do one after the other. The thread runner has one pacer for each event loop. It knows
threads, and nothing of what they do.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Final
from weakref import ref

if TYPE_CHECKING:
    import asyncio

    from ..transport.bridge import LoopBridge

# Seconds in which no turn begins before those who have one are taken to be blocked
# elsewhere: in the database, in a lock, asleep. A turn of an echo takes 20 us.
_PATIENCE: Final = 0.002
# Seconds between two looks at that, while somebody waits for a turn.
_TICK: Final = 0.005


class Turn:
    """What a thread parks on until it is its turn.

    Attributes:
        lock: held until then.
        round: the pacer's round in which the turn was given, None before.
        is_gone: nobody waits for it any more.
    """

    __slots__ = ("is_gone", "lock", "round")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.round: int | None = None
        self.is_gone = False


class Pacer:
    """Give woken threads their turns: the next one when the one before parks again.

    A thread that has a turn and blocks elsewhere is found out after ``_PATIENCE`` seconds. Then a
    new round begins, in which the turns of the last one count no more, and twice as many may have
    a turn at once, until nobody waits for one. So ten thousand views that all sleep are awake
    after fourteen ticks, and views that do not block still run one by one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, bridge: LoopBridge) -> None:
        self._loop = ref(loop)
        self._bridge = bridge
        self._lock = threading.Lock()
        self._queue: deque[Turn] = deque()
        self._round = 0
        self._round_seen = 0  # that of the last tick
        self._turns = 0
        self._width = 1
        self._moved_at = 0.0
        self._is_ticking = False
        self._tick_due = 0.0

    def count_waiting(self) -> int:
        """Count the threads that have been woken and wait for their turn. From any thread."""
        return len(self._queue)

    def wake(self, turn: Turn) -> None:
        """Let the thread that waits for ``turn`` go on, at once or when others have parked."""
        with self._lock:
            if turn.is_gone:
                return
            if self._turns < self._width:
                self._give(turn)
                return
            # Behind those who have waited: whoever is woken often would leave them nothing.
            self._queue.append(turn)
            if monotonic() - self._moved_at >= _PATIENCE:
                self._begin_round()
            elif not self._is_ticking:
                self._is_ticking = True
                self._round_seen = self._round
                self._bridge.call(self._start_ticking)

    def leave(self, round_: int) -> None:
        """End a turn that was given in ``round_``: its thread parks, or has come to its end."""
        with self._lock:
            if round_ == self._round:
                self._turns -= 1
                self._give_next()

    def give_up(self, turn: Turn) -> bool:
        """Stop waiting for a turn; tell whether it had not been given yet."""
        with self._lock:
            turn.is_gone = True
            return turn.round is None

    def _give(self, turn: Turn) -> None:
        self._turns += 1
        turn.round = self._round
        self._moved_at = monotonic()
        turn.lock.release()

    def _give_next(self) -> None:
        queue = self._queue
        while queue and self._turns < self._width:
            turn = queue.popleft()
            if not turn.is_gone:
                self._give(turn)

    def _begin_round(self) -> None:
        self._round += 1
        self._turns = 0
        self._give_next()

    # On the loop, which runs while all threads are blocked

    def _start_ticking(self) -> None:
        loop = self._loop()
        if loop is not None:
            self._tick_due = monotonic() + _TICK
            loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        with self._lock:
            if not self._queue:
                self._is_ticking = False
                self._width = 1
                return
            now = monotonic()
            is_stuck = now - self._moved_at >= _PATIENCE
            if is_stuck:
                self._begin_round()
            # Whoever is woken begins rounds too, and so often that a tick may never find one due.
            # A late tick proves nothing: the loop had the interpreter's lock, not they.
            if is_stuck or (self._round != self._round_seen and now - self._tick_due < _PATIENCE):
                self._width *= 2
                self._give_next()
            self._round_seen = self._round
        self._start_ticking()
