"""What every runner offers.

The ASGI application asks one to run the middleware chain and the view of a sync connection. It
must never know what it runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections import Counter
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType
    from typing import TypeAlias

    from ..transport.bridge import LoopBridge
    from ..transport.waiting import Seat

    # Brings what a function returned or raised to a future.
    Outcome: TypeAlias = Callable[[asyncio.Future[Any]], None]

logger = logging.getLogger("adwebsocket")

ResultT = TypeVar("ResultT")


class RunnerFull(RuntimeError):
    """Tell that no further view can be run now; the handshake is refused with 503."""


def start_thread(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        RunnerFull: the system gives no more.
    """
    try:
        thread.start()
    except RuntimeError as error:
        raise RunnerFull(f"the system gives no more threads: {error}") from error


def let_wakers_go_on() -> None:
    """Let the kernel not interrupt who wakes this thread, as it would for an interactive one.

    That is the event loop or another view, which has the interpreter's lock: the woken thread could
    only go to sleep again. On one core an echo takes 15 us with it, 18 without.
    """
    if hasattr(os, "SCHED_BATCH"):
        # What the view starts has the usual policy. Some containers forbid any other.
        with contextlib.suppress(OSError):
            policy = os.SCHED_BATCH | os.SCHED_RESET_ON_FORK
            os.sched_setscheduler(0, policy, os.sched_param(0))


def give_back(idle: Callable[[], None]) -> None:
    """Call a parking's ``idle``; what that raises is no fault of the view that waits."""
    try:
        idle()
    except Exception:
        logger.exception("what idle views hold could not be given back")


def outcome_of(function: Callable[[], Any], finish: Callable[[], object]) -> Outcome:
    """Run a function, and ``finish`` behind it, and give what brings its result to a future."""
    try:
        try:
            value = function()
        finally:
            finish()
    except StopIteration as error:
        # No future takes it, and who awaits would wait for ever.
        return _failure(RuntimeError("the function in a thread raised StopIteration"), error)
    except Exception as error:
        return _failure(error)
    except BaseException as error:
        # sys.exit() ends its thread; raised on the event loop it would end the server.
        return _failure(RuntimeError(f"the function in a thread ended by {error!r}"), error)
    return lambda future: future.set_result(value)


def bring(outcome: Outcome, future: asyncio.Future[Any], bridge: LoopBridge) -> None:
    """Bring an outcome to who waits for it on the event loop, if anybody still does."""
    bridge.call(lambda: None if future.done() else outcome(future))


class Look(Future[ResultT]):
    """What ``Seat.look`` gives, and what the runner has to do for it.

    Arguments:
        describe: what is to be called with the frame.
    """

    def __init__(self, describe: Callable[[FrameType | None], ResultT]) -> None:
        super().__init__()
        self._describe = describe

    def finish(self, frame: FrameType | None) -> None:
        """Describe the frame if that is still wanted; who wanted it gets an exception, too."""
        if not self.set_running_or_notify_cancel():
            return
        try:
            self.set_result(self._describe(frame))
        except Exception as error:
            self.set_exception(error)


def look_at(
    seats: Sequence[Seat], describe: Callable[[FrameType | None], ResultT], patience: float
) -> list[ResultT]:
    """Describe the frame on which each of some views stands. From any thread.

    Arguments:
        seats: those of the views.
        describe: called with each frame, in whichever thread; None where there is none.
        patience: seconds for the threads that views share to say it themselves. What a thread that
            hangs has does not go on, and is looked at from here.
    """
    frames = sys._current_frames()
    looks = [seat.look(frames, describe) for seat in seats]
    wait(looks, patience)
    frames = sys._current_frames()
    return [
        describe(seat.frame(frames)) if look.cancel() else look.result()
        for seat, look in zip(seats, looks, strict=True)
    ]


def _failure(error: Exception, cause: BaseException | None = None) -> Outcome:
    if cause is not None:
        error.__cause__ = cause
    return lambda future: future.set_exception(error)


class Parking(Protocol):
    """What is done around the waits of one view, for things that it should not hold meanwhile.

    A runner makes one for each function that it runs, and calls it where the function runs.
    """

    def begin(self) -> float | None:
        """Get ready for a wait that begins now.

        Returns:
            Seconds after which ``idle`` is due if the wait still lasts, None for never.
        """

    def idle(self) -> None:
        """Give back what is not needed: somebody has waited for as long as ``begin`` said."""

    def end(self) -> None:
        """Get ready to go on: the wait is over."""

    def finish(self) -> float | None:
        """Leave nothing behind: the function has ended.

        Returns:
            Seconds after which ``idle`` is due for what others may use meanwhile, None for when
            their thread ends.
        """


class NoParking:
    """Nothing is done around waits."""

    def begin(self) -> float | None:
        """Tell that ``idle`` is never due."""
        return None

    def idle(self) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def finish(self) -> float | None:
        """Tell that ``idle`` is never due."""
        return None


class Runner(Protocol):
    """Run blocking functions beside the event loop.

    Attributes:
        name: that of the setting; the same for all that run functions in this way.
    """

    @property
    def name(self) -> str:
        """Give the name."""

    def run(self, function: Callable[[], ResultT]) -> asyncio.Future[ResultT]:
        """Run ``function``, and give a future of what it returns or raises. On the event loop.

        It runs in a copy of the caller's context. Cancelling the future gives up waiting for it;
        a thread cannot be stopped. Not a coroutine, which would cost 0.25 KB as long as it runs.

        Raises:
            RunnerFull: there is no room for it, nothing was run.
        """

    def count(self) -> int:
        """Count the functions that run now."""

    def load(self) -> Mapping[str, int]:
        """Give figures of what it is busy with, all of which may be added up. From any thread."""


_runners: Final[WeakSet[Runner]] = WeakSet()
# Who goes over a set while another thread adds to it gets an exception.
_runners_lock: Final = threading.Lock()


def register(runner: Runner) -> None:
    """Count a runner among those of this process, as long as it exists."""
    with _runners_lock:
        _runners.add(runner)


def _all_runners() -> list[Runner]:
    with _runners_lock:
        return list(_runners)


def count_running() -> int:
    """Count the functions that all runners of this process run now. From any thread."""
    return sum(runner.count() for runner in _all_runners())


def total_load(name: str) -> Counter[str]:
    """Add up the figures of all runners of this process with a name. From any thread."""
    total: Counter[str] = Counter()
    for runner in _all_runners():
        if runner.name == name:
            total.update(runner.load())
    return total
