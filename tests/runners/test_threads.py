"""The runner that gives each sync view a thread of its own."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING

import pytest

from adwebsocket.runners.base import RunnerFull
from adwebsocket.runners.threads import ThreadRunner
from adwebsocket.transport.waiting import manners
from tests.connections import DEADLINE, on_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable

setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="not set")


class Gate:
    """A function that stays in its thread until it is let go.

    Attributes:
        threads: where it runs, or ran.
    """

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self._entered = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self) -> str:
        self.threads.append(threading.current_thread())
        self._entered.release()
        assert self._open.wait(DEADLINE)
        return "let go"

    async def until_entered(self) -> None:
        """Wait until it has been called once more."""
        entered = await asyncio.to_thread(self._entered.acquire, timeout=DEADLINE)
        assert entered

    def open(self) -> None:
        self._open.set()

    def join(self) -> None:
        """Let all threads go, and wait for their end."""
        self.open()
        for thread in self.threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


class Fault(Exception):
    """What only a test raises."""


def fail_with(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@on_event_loop
async def test_result_comes_back() -> None:
    runner = ThreadRunner(1)
    assert await runner.run(lambda: "result") == "result"
    assert runner.count() == 0


@on_event_loop
async def test_exception_comes_back_as_it_is() -> None:
    runner = ThreadRunner(1)
    fault = Fault("in the view")
    with pytest.raises(Fault) as caught:
        await runner.run(fail_with(fault))
    assert caught.value is fault
    assert runner.count() == 0


@pytest.mark.parametrize("error", [StopIteration("no more"), StopAsyncIteration()])
def test_exception_that_no_future_takes_comes_back_as_well(error: Exception) -> None:
    @on_event_loop
    async def run() -> None:
        with pytest.raises((RuntimeError, type(error))) as caught:
            await asyncio.wait_for(ThreadRunner(1).run(fail_with(error)), DEADLINE / 5)
        assert error in (caught.value, caught.value.__cause__)

    run()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_exception_that_would_end_the_loop_ends_the_function_only(error: BaseException) -> None:
    @on_event_loop
    async def run() -> None:
        runner = ThreadRunner(1)
        with pytest.raises(RuntimeError, match=type(error).__name__) as caught:
            await runner.run(fail_with(error))
        assert caught.value.__cause__ is error
        assert await runner.run(lambda: "still there") == "still there"

    run()


@on_event_loop
async def test_runs_in_a_daemon_thread_with_a_telling_name() -> None:
    runner = ThreadRunner(1)
    thread = await runner.run(threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert thread.name.startswith("websocket-view-")


@on_event_loop
async def test_finished_thread_runs_the_next_function() -> None:
    runner = ThreadRunner(1)
    threads = {await runner.run(threading.current_thread) for _ in range(5)}
    assert len(threads) == 1


@on_event_loop
async def test_no_thread_is_left_behind() -> None:
    runner = ThreadRunner(20)
    threads = await asyncio.gather(*[runner.run(threading.current_thread) for _ in range(20)])
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()


@on_event_loop
async def test_functions_run_side_by_side_and_are_counted() -> None:
    runner = ThreadRunner(3)
    barrier = threading.Barrier(3)
    await asyncio.gather(*[runner.run(lambda: barrier.wait(DEADLINE)) for _ in range(3)])

    gate = Gate()
    running = [runner.run(gate) for _ in range(2)]
    for _ in running:
        await gate.until_entered()
    assert runner.count() == 2
    gate.open()
    assert await asyncio.gather(*running) == ["let go"] * 2
    assert runner.count() == 0
    gate.join()


@on_event_loop
async def test_full_runner_refuses_at_once_and_has_room_again_afterwards() -> None:
    runner = ThreadRunner(2)
    gate = Gate()
    running = [runner.run(gate) for _ in range(2)]
    for _ in running:
        await gate.until_entered()
    called = []
    with pytest.raises(RunnerFull, match=r"^2 sync views are running .WEBSOCKET_MAX_THREADS.$"):
        await runner.run(lambda: called.append(1))
    assert called == []
    gate.open()
    await asyncio.gather(*running)
    assert await runner.run(lambda: "room") == "room"
    gate.join()


@on_event_loop
async def test_what_was_set_before_is_visible_and_what_is_set_inside_stays_there() -> None:
    runner = ThreadRunner(1)
    setting.set("outside")

    def look() -> str:
        seen = setting.get()
        setting.set("inside")
        return seen

    assert await runner.run(look) == "outside"
    assert setting.get() == "outside"


@on_event_loop
async def test_cancelling_gives_up_waiting_and_the_function_goes_on() -> None:
    runner = ThreadRunner(1)
    gate = Gate()
    running = runner.run(gate)
    await gate.until_entered()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert gate.threads[0].is_alive()
    gate.join()


@on_event_loop
async def test_function_that_nobody_waits_for_still_takes_its_room() -> None:
    runner = ThreadRunner(1)
    gate = Gate()
    running = runner.run(gate)
    await gate.until_entered()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    try:
        assert runner.count() == 1
        with pytest.raises(RunnerFull):
            await runner.run(lambda: None)
    finally:
        gate.join()


def test_loop_that_ends_before_the_function_does_no_harm() -> None:
    gate = Gate()

    async def run() -> None:
        running = ThreadRunner(1).run(gate)
        await gate.until_entered()
        running.cancel()

    asyncio.run(run())
    gate.join()


@on_event_loop
async def test_waiter_wakes_its_thread() -> None:
    runner = ThreadRunner(1)

    def wait() -> bool:
        waiter = manners().new_waiter()
        loop.call_soon_threadsafe(waiter.wake, None)
        return waiter.park(DEADLINE)

    loop = asyncio.get_running_loop()
    assert await runner.run(wait) is True
    assert await runner.run(lambda: manners().new_waiter().park(0)) is False
