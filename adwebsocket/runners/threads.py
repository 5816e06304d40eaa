"""The default runner: one thread for each sync connection, for as long as it lasts.

Any blocking code is right in it: thread-locals, locks and database connections are the view's
own. A pool of fixed size would be wrong, since views last as long as their sockets.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from ..transport.bridge import get_bridge
from ..transport.lag import clock
from ..transport.waiting import Manners, behaving
from .base import (
    Look,
    NoParking,
    RunnerFull,
    bring,
    give_back,
    let_wakers_go_on,
    outcome_of,
    register,
    start_thread,
)
from .pacing import Pacer, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from ..transport.bridge import LoopBridge
    from .base import Outcome, Parking, ResultT

# Seconds that a thread stays after its view, for the next one: starting one takes 100 us.
_IDLE_SECONDS: Final = 1.0
# As many stay at the most.
_MOST_IDLE: Final = 64
# Held while the size of stacks is changed, which is a setting of the whole process.
_stack_size_lock: Final = threading.Lock()


class ThreadRunner:
    """Run each function in a thread of its own.

    Arguments:
        max_threads: how many may run at once.
        stack_size: bytes of stack that each may use.
        new_parking: makes what looks after a function while it waits.
    """

    name: Final = "thread"

    def __init__(
        self,
        max_threads: int,
        stack_size: int = 2 * 1024 * 1024,
        new_parking: Callable[[], Parking] = NoParking,
    ) -> None:
        self._max_threads = max_threads
        self._stack_size = stack_size
        self._new_parking = new_parking
        self._running = 0
        # Held while that is changed: threads do, since the loop may be closed.
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._crews: WeakKeyDictionary[asyncio.AbstractEventLoop, _Crew] = WeakKeyDictionary()
        register(self)

    def count(self) -> int:
        """Count the functions that run now."""
        return self._running

    def load(self) -> Mapping[str, int]:
        """Give ``queued``: threads that have been woken and wait for their turn."""
        with self._lock:
            crews = list(self._crews.values())
        return {"queued": sum(crew.pacer.count_waiting() for crew in crews)}

    def run(self, function: Callable[[], ResultT]) -> asyncio.Future[ResultT]:
        """Run ``function`` in a thread, and give a future of what it returns or raises.

        It runs in a copy of the caller's context. Cancelling gives up waiting for it; the thread
        goes on, and does not keep the process alive.

        Raises:
            RunnerFull: ``max_threads`` are running, or the system gives no more.
        """
        if self._running >= self._max_threads:
            raise RunnerFull(f"{self._max_threads} sync views are running (WEBSOCKET_MAX_THREADS)")
        loop = asyncio.get_running_loop()
        crew = self._crews.get(loop)
        if crew is None:
            crew = _Crew(loop, get_bridge(), self._count_end)
            with self._lock:
                self._crews[loop] = crew
        thread = crew.take() or self._start_thread(crew)
        future: asyncio.Future[ResultT] = loop.create_future()
        with self._lock:
            self._running += 1
        thread.give(_Job(contextvars.copy_context(), function, future), self._new_parking())
        return future

    def _start_thread(self, crew: _Crew) -> _ViewThread:
        thread = _ViewThread(crew, f"websocket-view-{next(self._numbers)}")
        with _stack_size_lock:
            before = threading.stack_size(self._stack_size)
            try:
                start_thread(thread)
            finally:
                threading.stack_size(before)
        return thread

    def _count_end(self) -> None:
        # In the thread, and not where it is awaited: a function that nobody waits for still runs.
        with self._lock:
            self._running -= 1


class _Job(NamedTuple):
    """A function, the context to run it in, and the future of its result."""

    context: contextvars.Context
    function: Callable[[], Any]
    future: asyncio.Future[Any]


class _Crew:
    """The threads that run views of one event loop: their turns, and who has nothing to do."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bridge: LoopBridge,
        count_end: Callable[[], None],
    ) -> None:
        self._bridge = bridge
        self._count_end = count_end
        self.pacer = Pacer(loop, bridge)
        self._idle: list[_ViewThread] = []

    def take(self) -> _ViewThread | None:
        """Take the thread that has been idle for the shortest time."""
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def put(self, thread: _ViewThread) -> bool:
        """Keep a thread for the next view; tell whether there was room."""
        if len(self._idle) >= _MOST_IDLE:
            return False
        self._idle.append(thread)
        return True

    def report(self, future: asyncio.Future[Any], outcome: Outcome) -> None:
        """Bring the outcome of a function to who waits for it."""
        self._count_end()
        bring(outcome, future, self._bridge)

    def withdraw(self, thread: _ViewThread) -> bool:
        """Take back an idle thread; tell whether it was still there."""
        try:
            self._idle.remove(thread)
        except ValueError:
            return False
        return True


class _ViewThread(threading.Thread, Manners):
    """A thread that runs one view after the other.

    Attributes:
        parking: looks after the view that runs.
        pacer: gives the turns.
        round: that of the turn which the thread has, None when it has none.
        parked_at: as in ``Seat``, which it is for its view.
    """

    runner: Final = "thread"

    def __init__(self, crew: _Crew, name: str) -> None:
        # A view that never returns must not keep the process from exiting.
        super().__init__(name=name, daemon=True)
        self.pacer = crew.pacer
        self.parking: Parking = NoParking()
        self.round: int | None = None
        self.parked_at: float | None = None
        self._crew = crew
        self._bell: Turn | None = Turn()
        self._job: _Job | None = None

    def give(self, job: _Job, parking: Parking) -> None:
        """Let the thread, which is idle, run a function."""
        assert self._bell is not None
        self.parking = parking
        self._job = job
        self.pacer.wake(self._bell)

    def new_waiter(self) -> PacedWaiter:
        """Make something on which the view can wait, once."""
        return PacedWaiter(self)

    def seat(self) -> _ViewThread:
        """Give the thread, which has one view at a time."""
        return self

    def frame(self, frames: Mapping[int, FrameType]) -> FrameType | None:
        """Give the thread's frame."""
        return frames.get(self.ident or 0)

    def look(
        self, frames: Mapping[int, FrameType], describe: Callable[[FrameType | None], ResultT]
    ) -> Look[ResultT]:
        """Describe the thread's frame at once."""
        look = Look(describe)
        look.finish(self.frame(frames))
        return look

    def run(self) -> None:
        """Run what is given, until there is nothing for a while."""
        let_wakers_go_on()
        with behaving(self):
            self._serve()

    def _serve(self) -> None:
        while (job := self._wait_for_job()) is not None:
            outcome = outcome_of(lambda: job.context.run(job.function), self.parking.finish)
            # Before the report, so that the next view finds this thread.
            self._bell = Turn()
            is_kept = self._crew.put(self)
            self._crew.report(job.future, outcome)
            self.leave()
            if not is_kept:
                return
            del job, outcome

    def _wait_for_job(self) -> _Job | None:
        bell = self._bell
        assert bell is not None
        if not bell.lock.acquire(timeout=_IDLE_SECONDS):
            if self._crew.withdraw(self):
                return None
            bell.lock.acquire()  # just taken: the job is on its way
        self.round = bell.round
        self._bell = None
        job, self._job = self._job, None
        return job

    def leave(self) -> None:
        """End the turn, if the thread has one."""
        if self.round is not None:
            self.pacer.leave(self.round)
            self.round = None


class PacedWaiter(Turn):
    """Park a view's thread until it is woken and its turn has come."""

    __slots__ = ("_thread",)

    def __init__(self, thread: _ViewThread) -> None:
        super().__init__()
        self._thread = thread

    def park(self, timeout: float | None) -> bool:
        """Wait until ``wake`` was called, at most ``timeout`` seconds; tell whether it was."""
        thread = self._thread
        parking = thread.parking
        idle = parking.begin()
        thread.parked_at = clock.now
        thread.leave()
        if idle is None or (timeout is not None and timeout <= idle):
            woken = self.lock.acquire(timeout=-1 if timeout is None else timeout)
        else:
            woken = self.lock.acquire(timeout=idle)
            if not woken:
                give_back(parking.idle)
                woken = self.lock.acquire(timeout=-1 if timeout is None else timeout - idle)
        if woken or not thread.pacer.give_up(self):
            woken = True
            thread.round = self.round
        thread.parked_at = None
        parking.end()
        return woken

    def wake(self, _: None) -> None:
        """End the wait; callable once, from any thread."""
        self._thread.pacer.wake(self)
