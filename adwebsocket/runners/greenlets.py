"""The dense runner: many sync views on each of a few threads, as greenlets.

A view is switched away from wherever it waits for its WebSocket, and costs a fraction of a thread.
What blocks elsewhere holds up the views of its own thread, never the event loop. It needs the
package greenlet (``pip install adwebsocket[greenlet]``).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

from greenlet import getcurrent, greenlet

from ..caller import places_of
from ..transport.bridge import get_bridge
from ..transport.lag import clock
from ..transport.waiting import Manners, behaving
from .base import (
    Look,
    NoParking,
    bring,
    give_back,
    let_wakers_go_on,
    outcome_of,
    register,
    start_thread,
)
from .timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

    from .base import Parking, ResultT

logger = logging.getLogger("adwebsocket")

# Seconds that a worker stays without a view.
_IDLE_SECONDS: Final = 1.0
# Seconds in which a worker whose views could go on must let one do so; else it is reported.
_STUCK_SECONDS: Final = 10.0


class GreenletRunner:
    """Run each function in a greenlet, on one of a few threads.

    Arguments:
        workers: how many threads.
        new_parking: makes what looks after a function while it waits.
    """

    name: Final = "greenlet"

    def __init__(self, workers: int, new_parking: Callable[[], Parking] = NoParking) -> None:
        self._workers = [_Worker(f"websocket-greenlets-{n}") for n in range(1, workers + 1)]
        self._new_parking = new_parking
        self._watching_loop: ref[asyncio.AbstractEventLoop] | None = None
        register(self)

    def count(self) -> int:
        """Count the functions that run now."""
        return sum(worker.count for worker in self._workers)

    def load(self) -> Mapping[str, int]:
        """Give ``workers``, threads that are there, and ``queued``, turns that wait for them."""
        return {
            "workers": sum(worker.is_alive for worker in self._workers),
            "queued": sum(worker.turns.qsize() for worker in self._workers),
        }

    def run(self, function: Callable[[], ResultT]) -> asyncio.Future[ResultT]:
        """Run ``function`` in a greenlet, and give a future of what it returns or raises.

        It runs in a copy of the caller's context. Cancelling raises ``GreenletExit`` in it, where
        it waits or when it waits next.

        Raises:
            RunnerFull: the system gives no thread.
        """
        loop = asyncio.get_running_loop()
        self._watch_from(loop)
        future: asyncio.Future[ResultT] = loop.create_future()
        worker = min(self._workers, key=lambda worker: worker.count)
        view = _View(worker, function, self._new_parking(), future)
        future.add_done_callback(view.give_up)
        worker.start(view)
        return future

    def _watch_from(self, loop: asyncio.AbstractEventLoop) -> None:
        watching = None if self._watching_loop is None else self._watching_loop()
        if watching is None or watching.is_closed():
            self._watching_loop = ref(loop)
            loop.call_later(_STUCK_SECONDS, self._watch, loop)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Report workers that are stuck, as long as there are views."""
        for worker in self._workers:
            worker.report_if_stuck()
        if self.count():
            loop.call_later(_STUCK_SECONDS, self._watch, loop)
        else:
            self._watching_loop = None


class _View:
    """A function that runs in a greenlet.

    Attributes:
        parking: looks after it while it waits.
        parked_at: as in ``Seat``, which it is.
    """

    runner: Final = "greenlet"
    __slots__ = (
        "_bridge",
        "_context",
        "_function",
        "_future",
        "_greenlet",
        "_worker",
        "parked_at",
        "parking",
    )

    def __init__(
        self,
        worker: _Worker,
        function: Callable[[], Any],
        parking: Parking,
        future: asyncio.Future[Any],
    ) -> None:
        self._worker = worker
        self._function = function
        self._future = future
        self._bridge = get_bridge()
        self._context = contextvars.copy_context()
        self._greenlet: greenlet | None = None
        self.parking = parking
        self.parked_at: float | None = None

    # From any thread

    def frame(self, frames: Mapping[int, FrameType]) -> FrameType | None:
        """Give that of the thread if the view has it, else where the view waits."""
        worker = self._worker
        if self.parked_at is None and getattr(worker, "view", None) is self:
            return frames.get(worker.thread_id or 0)
        return getattr(self._greenlet, "gr_frame", None)

    def look(
        self, frames: Mapping[int, FrameType], describe: Callable[[FrameType | None], ResultT]
    ) -> Look[ResultT]:
        """Describe the frame in the thread, when that takes a turn.

        Only there nobody switches to the view meanwhile, which would change what its frame is
        chained to.
        """
        look = Look(describe)
        self._worker.turns.put(lambda: look.finish(self.frame({})))
        return look

    # On the event loop

    def give_up(self, future: asyncio.Future[Any]) -> None:
        """Raise ``GreenletExit`` in the function if nobody waits for it any more."""
        if future.cancelled():
            self._worker.turns.put(self._kill)

    # In the worker's thread

    def begin(self) -> None:
        """Run until the function waits for the first time."""
        self._worker.view = self
        self._greenlet = greenlet(self._run, self._worker.hub)
        self._greenlet.gr_context = self._context
        self._greenlet.switch()

    def _run(self) -> None:
        outcome = outcome_of(self._function, self._leave_nothing)
        worker = self._worker
        # Not on the loop, which may be closed.
        worker.ended += 1
        # Until the next view begins, it would keep this one and all that it holds.
        del worker.view
        bring(outcome, self._future, self._bridge)

    def _leave_nothing(self) -> None:
        parking = self.parking
        self._worker.expect_idleness(parking.finish(), parking.idle)

    def _kill(self) -> None:
        if self._greenlet:
            self._worker.view = self
            self._greenlet.throw()


class GreenletWaiter:
    """Park a view, and let its worker go on with others meanwhile.

    Attributes:
        is_parked: it waits, and nobody has let it go on yet.
    """

    __slots__ = ("_greenlet", "_is_woken", "_view", "_worker", "is_parked")

    def __init__(self, worker: _Worker) -> None:
        self._worker = worker
        self._view = worker.view
        self._greenlet = getcurrent()
        self._is_woken = False
        self.is_parked = False

    def park(self, timeout: float | None) -> bool:
        """Wait until ``wake`` was called, at most ``timeout`` seconds; tell whether it was."""
        # Woken from here on, it is in the queue of turns, which comes to it when it is parked.
        if not self._is_woken:
            worker = self._worker
            if timeout is not None:
                worker.add_timer(timeout, self)
            parking = self._view.parking
            seconds = parking.begin()
            if seconds is not None:
                worker.expect_idleness(seconds, parking.idle)
            self.is_parked = True
            self._view.parked_at = clock.now
            try:
                worker.hub.switch()
            finally:
                self.is_parked = False
                self._view.parked_at = None
                parking.end()
        return self._is_woken

    def wake(self, _: None) -> None:
        """End the wait; callable once, from any thread."""
        self._is_woken = True
        self._worker.turns.put(self.go_on)

    def go_on(self) -> None:
        """Run the view until it waits again or ends. In the worker's thread."""
        if self.is_parked:
            self.is_parked = False
            self._worker.view = self._view
            self._greenlet.switch()


class _Worker(Manners):
    """A thread that runs greenlets one at a time, each until it waits.

    Attributes:
        turns: what is to be done in the thread, in this order. From any thread.
        ended: the views that have. In the thread only.
        view: the one that runs, or ran last. In the thread only.
        is_alive: there is a thread.
        thread_id: that of the thread, None before there is one.
        hub: the greenlet that takes the turns.
    """

    view: _View
    hub: greenlet

    def __init__(self, name: str) -> None:
        self.turns: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self.ended = 0
        self._started = 0
        self._name = name
        # Held while the thread is started, or decides to end.
        self._lock = threading.Lock()
        self.is_alive = False
        self._timers = Timers()
        self._idle_at = inf
        self._idle: Callable[[], None] = NoParking().idle
        self.thread_id: int | None = None
        # How many turns the hub has taken, and how many when that was last checked.
        self._taken = 0
        self._taken_seen = 0

    # From any thread

    @property
    def count(self) -> int:
        """The views that it has."""
        return self._started - self.ended

    # On the event loop, or on one of several

    def start(self, view: _View) -> None:
        """Take a view, and start the thread if there is none.

        Raises:
            RunnerFull: the system gives none.
        """
        with self._lock:
            if not self.is_alive:
                start_thread(threading.Thread(target=self._live, name=self._name, daemon=True))
                self.is_alive = True
            self._started += 1
        self.turns.put(view.begin)

    def report_if_stuck(self) -> None:
        """Say which view holds up the others, if one has done so since the last call."""
        seen, self._taken_seen = self._taken_seen, self._taken
        if seen != self._taken or self.turns.empty() or self.thread_id is None:
            return
        frame = sys._current_frames().get(self.thread_id)
        if frame is not None:
            logger.warning(
                "A view has held up the %d views of its thread for %d seconds and more, at %s. "
                "Under greenlets a view that blocks elsewhere should have a thread of its own: "
                'runner="thread" in its decorator.',
                self.count,
                _STUCK_SECONDS,
                places_of(frame),
            )

    # In the thread

    def seat(self) -> _View:
        """Give the view that runs."""
        return self.view

    def new_waiter(self) -> GreenletWaiter:
        """Make something on which the view can wait, once."""
        return GreenletWaiter(self)

    def give_way(self) -> None:
        """Let all others go on first who could do so now."""
        if not self.turns.empty() or self._timers.next_at() <= monotonic():
            waiter = GreenletWaiter(self)
            self.turns.put(waiter.go_on)
            waiter.park(None)

    def add_timer(self, seconds: float, waiter: GreenletWaiter) -> None:
        """Let ``waiter`` go on in some seconds if nobody wakes it before."""
        self._timers.add(monotonic() + seconds, waiter, waiting=self.count)

    def expect_idleness(self, seconds: float | None, idle: Callable[[], None]) -> None:
        """Call ``idle`` in some seconds, if nobody's is due before, and when the thread ends."""
        if self._idle_at == inf:
            self._idle = idle
            if seconds is not None:
                self._idle_at = monotonic() + seconds

    def _live(self) -> None:
        """Take turns until there is neither one nor a view for a while."""
        self.hub = getcurrent()
        self.thread_id = threading.get_ident()
        turns = self.turns
        let_wakers_go_on()
        with behaving(self):
            while True:
                self._taken += 1
                try:
                    turns.get(timeout=self._run_timers())()
                except Empty:
                    idle = self._idle
                    if self._may_end():
                        # What views may keep for ever is of no use to another thread.
                        give_back(idle)
                        return
                # The clock is looked at once for all that can go on now.
                for _ in range(turns.qsize()):
                    self._taken += 1
                    turns.get()()

    def _may_end(self) -> bool:
        with self._lock:
            if self.count == 0 and self.turns.empty() and self._idle_at == inf:
                self.is_alive = False
            return not self.is_alive

    def _run_timers(self) -> float:
        """Run what is due, and give the seconds until the next is."""
        timers = self._timers
        if self._idle_at == timers.next_at() == inf:
            return _IDLE_SECONDS
        now = monotonic()
        for waiter in timers.pop_due(now):
            waiter.go_on()
        if self._idle_at <= now:
            self._idle_at = inf
            give_back(self._idle)
        next_at = min(timers.next_at(), self._idle_at)
        return min(max(next_at - now, 0.0), _IDLE_SECONDS)
