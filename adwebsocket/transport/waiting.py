"""Waiting without lost wake-ups, for tasks of an event loop and for threads alike.

Inboxes and channels keep a queue of waiters in here; the facades park in it, each in its own
colour. It knows what wakes, never why.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import InvalidStateError
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from concurrent.futures import Future
    from types import FrameType

ResultT = TypeVar("ResultT")


class Waiter(Protocol):
    """What a sync runner provides so that a view can wait: a thread's or a greenlet's."""

    def park(self, timeout: float | None) -> bool:
        """Wait until ``wake`` was called, at most ``timeout`` seconds; tell whether it was."""

    def wake(self, _: None) -> None:
        """End the wait; callable once, from any thread."""


class Seat(Protocol):
    """What runs one view: its thread or its greenlet. Everything here is for any thread.

    Attributes:
        runner: the runner's name.
        parked_at: when the view began to wait on one of our waiters, on the clock of ``lag.py``;
            None while it does not wait, or waits for something else.
    """

    parked_at: float | None

    @property
    def runner(self) -> str:
        """Give the name."""

    def frame(self, frames: Mapping[int, FrameType]) -> FrameType | None:
        """Give the frame on which the view stands, be it that it goes on meanwhile.

        What that is chained to may then be of another view: for a thread that hangs.

        Arguments:
            frames: those of all threads, as ``sys._current_frames()`` gives them.
        """

    def look(
        self,
        frames: Mapping[int, FrameType],
        describe: Callable[[FrameType | None], ResultT],
    ) -> Future[ResultT]:
        """Describe the frame on which the view stands, once that stands still.

        Where its thread hangs, that never comes.

        Arguments:
            frames: those of all threads, as ``sys._current_frames()`` gives them.
            describe: called with the frame, in whichever thread; None if there is none.
        """


class ThreadWaiter:
    """Park the calling thread on a lock of its own, the cheapest thing that can be waited for."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def park(self, timeout: float | None) -> bool:
        """Wait until ``wake`` was called, at most ``timeout`` seconds; tell whether it was."""
        return self._lock.acquire(timeout=-1 if timeout is None else timeout)

    def wake(self, _: None) -> None:
        """End the wait; callable once, from any thread."""
        self._lock.release()


class Manners:
    """How code waits in a thread that nobody has said anything else of."""

    __slots__ = ()

    def new_waiter(self) -> Waiter:
        """Make something on which the caller can wait, once."""
        return ThreadWaiter()

    def seat(self) -> Seat | None:
        """Give what runs the calling view, where a runner does."""
        return None

    def give_way(self) -> None:
        """Let others have a turn, where they would get none by themselves: threads do."""


_usual_manners = Manners()
# A thread-local would take half a kilobyte for each thread.
_manners: dict[int, Manners] = {}


def manners() -> Manners:
    """Give the manners of the calling thread."""
    return _manners.get(get_ident(), _usual_manners)


@contextmanager
def behaving(manners: Manners) -> Iterator[None]:
    """Let the calling thread wait in a way of its own; for the threads of runners."""
    _manners[get_ident()] = manners
    try:
        yield
    finally:
        del _manners[get_ident()]


def pause(seconds: float) -> None:
    """Let the calling view do nothing for some seconds, and others run meanwhile."""
    manners().new_waiter().park(seconds)


def wait_for(coroutine: Coroutine[Any, Any, ResultT], loop: asyncio.AbstractEventLoop) -> ResultT:
    """Let an event loop run a coroutine, and wait for its result where one waits otherwise.

    Given up, as a greenlet is that is cancelled, it cancels the coroutine.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    waiter = manners().new_waiter()
    future.add_done_callback(lambda _: waiter.wake(None))
    try:
        waiter.park(None)
    except BaseException:
        future.cancel()
        raise
    return future.result()


class WaitQueue(list["Callable[[None], object]"]):
    """A queue of those who wait for one condition, woken first come, first served.

    Who waits appends its wake function, *then* checks its condition again, and only then parks.
    Who changes the condition does so *before* it calls ``wake_one``. Whichever comes first, one of
    the two sees the other, so no lock is needed between a thread and the loop: appending to and
    taking from a list are atomic.

    A wake function takes one argument, always None, so that ``future.set_result`` is one. It is
    called once at the most. A list itself rather than an object around one, since every message
    asks whether it is empty; and no deque, of which an empty one has 760 bytes, since the queue is
    short and each connection has two.
    """

    __slots__ = ()

    def withdraw(self, wake: Callable[[None], object]) -> bool:
        """Take back a wake function; tell whether it was still there.

        If it was not, it has been called, or is about to be. A waiter that leaves without looking
        at what it was woken for must then pass the wake-up on with ``wake_one``.
        """
        try:
            self.remove(wake)
        except ValueError:
            return False
        return True

    def wake_one(self) -> None:
        """Wake the first who still waits."""
        while True:
            try:
                wake = self.pop(0)
            except IndexError:
                return
            try:
                wake(None)
            except InvalidStateError:  # the future of a task that has just been cancelled
                continue
            return

    def wake_all(self) -> None:
        """Wake everybody who waits now."""
        for _ in range(len(self)):
            self.wake_one()
