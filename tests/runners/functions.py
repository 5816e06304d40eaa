"""What the tests give to runners: functions that wait, that fail, and what looks after them.

They wait as views do, on what their thread gives them, so that each runner can do it in its way.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from adwebsocket.runners.base import NoParking
from adwebsocket.transport.waiting import WaitQueue, manners
from tests.connections import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from adwebsocket.transport.waiting import Waiter


class Fault(Exception):
    """What only a test raises."""


def fail_with(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


class Gate:
    """A function that waits until it is let go.

    Attributes:
        threads: where it runs, or ran.
        ended: how it ended each time: "let go", or the name of what was raised where it waits.
    """

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.ended: list[str] = []
        self._entered = threading.Semaphore(0)
        self._left = threading.Semaphore(0)
        self._waiters = WaitQueue()
        self._is_open = False

    def __call__(self) -> str:
        self.threads.append(threading.current_thread())
        try:
            self._wait()
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        else:
            self.ended.append("let go")
            return "let go"
        finally:
            self._left.release()

    def _wait(self) -> None:
        waiter = new_waiter()
        self._waiters.append(waiter.wake)
        self._entered.release()
        if self._is_open and self._waiters.withdraw(waiter.wake):
            return
        assert waiter.park(DEADLINE)

    async def until_entered(self, times: int = 1) -> None:
        """Wait until it has been called so many times more."""
        for _ in range(times):
            assert await asyncio.to_thread(self._entered.acquire, timeout=DEADLINE)

    async def until_left(self, times: int = 1) -> None:
        """Wait until it has ended so many times more."""
        for _ in range(times):
            assert await asyncio.to_thread(self._left.acquire, timeout=DEADLINE)

    def open(self) -> None:
        self._is_open = True
        self._waiters.wake_all()

    def join(self) -> None:
        """Let all go, and wait for the end of their threads."""
        self.open()
        for thread in self.threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


class NotedParking(NoParking):
    """Parking that notes what it is asked for, and in which thread.

    Attributes:
        calls: the names of its methods, in the order in which they were called.
        threads: those in which they were.
        was_idle: set when ``idle`` was called.

    Arguments:
        seconds: what ``begin`` returns.
        faults: the methods that raise.
    """

    def __init__(self, seconds: float | None = None, faults: tuple[str, ...] = ()) -> None:
        self.calls: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.was_idle = threading.Event()
        self._seconds = seconds
        self._faults = faults

    def begin(self) -> float | None:
        self._note("begin")
        return self._seconds

    def idle(self) -> None:
        try:
            self._note("idle")
        finally:
            self.was_idle.set()

    def end(self) -> None:
        self._note("end")

    def finish(self) -> None:
        self._note("finish")

    def _note(self, name: str) -> None:
        self.calls.append(name)
        self.threads.add(threading.current_thread())
        if name in self._faults:
            raise Fault(name)


def new_waiter() -> Waiter:
    """Make something on which the caller can wait, once."""
    return manners().new_waiter()


def give_way() -> None:
    """Let others have a turn."""
    manners().give_way()


def wait(seconds: float | None) -> bool:
    """Wait for what does not come."""
    return new_waiter().park(seconds)
