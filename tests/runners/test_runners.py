"""The contract of runners: one suite for all of them. What only one does is tested beside it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import logging
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING

import pytest
from functions import Fault, Gate, NotedParking, fail_with, new_waiter, wait

from adwebsocket.transport.waiting import WaitQueue, pause
from tests.connections import DEADLINE, on_event_loop
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import MakeRunner

    from adwebsocket.runners.base import Runner
    from adwebsocket.transport.waiting import Waiter

setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="not set")

A_MOMENT = 0.001


# What a function returns or raises


@on_event_loop
async def test_result_comes_back(runner: Runner) -> None:
    assert await runner.run(lambda: "result") == "result"
    assert runner.count() == 0


@on_event_loop
async def test_exception_comes_back_as_it_is(runner: Runner) -> None:
    fault = Fault("in the view")
    with pytest.raises(Fault) as caught:
        await runner.run(fail_with(fault))
    assert caught.value is fault
    assert runner.count() == 0


@pytest.mark.parametrize("error", [StopIteration("no more"), StopAsyncIteration()], ids=repr)
def test_exception_that_no_future_takes_comes_back_as_well(
    runner: Runner, error: Exception
) -> None:
    @on_event_loop
    async def run() -> None:
        with pytest.raises((RuntimeError, type(error))) as caught:
            await asyncio.wait_for(runner.run(fail_with(error)), DEADLINE / 5)
        assert error in (caught.value, caught.value.__cause__)

    run()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_exception_that_would_end_the_loop_ends_the_function_only(
    runner: Runner, error: BaseException
) -> None:
    @on_event_loop
    async def run() -> None:
        with pytest.raises(RuntimeError, match=type(error).__name__) as caught:
            await runner.run(fail_with(error))
        assert caught.value.__cause__ is error
        assert await runner.run(lambda: "still there") == "still there"

    run()


@on_event_loop
async def test_exception_behind_a_wait_comes_back_too_and_hurts_nobody_else(
    runner: Runner,
) -> None:
    gate = Gate()

    def wait_and_fail() -> None:
        gate()
        raise Fault

    tasks = [asyncio.ensure_future(runner.run(run)) for run in (gate, wait_and_fail, gate)]
    await gate.until_entered(3)
    gate.open()
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, third) == ("let go", "let go")
    assert isinstance(second, Fault)
    assert runner.count() == 0


@on_event_loop
async def test_nothing_of_a_function_is_kept_when_it_has_ended(runner: Runner) -> None:
    class Request:
        """What a view holds."""

    def start() -> tuple[weakref.ref[Request], asyncio.Future[None]]:
        request = Request()

        def view() -> None:
            wait(A_MOMENT)
            assert request

        return weakref.ref(request), asyncio.ensure_future(runner.run(view))

    kept, task = start()
    await task
    del task
    gc.collect()
    wait_until(lambda: kept() is None, "the end of what the function held")


# Where it runs


@on_event_loop
async def test_runs_in_a_daemon_thread_with_a_telling_name(runner: Runner) -> None:
    thread = await runner.run(threading.current_thread)
    assert thread is not threading.current_thread()
    assert thread.daemon
    assert thread.name.startswith("websocket-")


@on_event_loop
async def test_functions_that_wait_run_side_by_side_and_are_counted(runner: Runner) -> None:
    gate = Gate()
    tasks = [asyncio.ensure_future(runner.run(gate)) for _ in range(50)]
    await gate.until_entered(50)
    assert runner.count() == 50
    gate.open()
    assert await asyncio.gather(*tasks) == ["let go"] * 50
    assert runner.count() == 0


@on_event_loop
async def test_what_was_set_before_is_visible_and_what_is_set_inside_stays_there(
    runner: Runner,
) -> None:
    def look() -> list[str]:
        seen = [setting.get()]
        setting.set("inside")
        wait(A_MOMENT)
        return [*seen, setting.get()]

    setting.set("outside")
    assert (
        await asyncio.gather(*[runner.run(look) for _ in range(5)]) == [["outside", "inside"]] * 5
    )
    assert setting.get() == "outside"


@on_event_loop
async def test_waiting_functions_keep_what_each_has_set(runner: Runner) -> None:
    def keep(name: str) -> bool:
        setting.set(name)
        for _ in range(10):
            wait(A_MOMENT)
            if setting.get() != name:
                return False
        return True

    assert all(
        await asyncio.gather(*[runner.run(lambda n=n: keep(f"view {n}")) for n in range(20)])
    )


@on_event_loop
async def test_no_thread_is_left_behind(runner: Runner) -> None:
    threads = await asyncio.gather(*[runner.run(threading.current_thread) for _ in range(20)])
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert await runner.run(lambda: "a new one") == "a new one"


@on_event_loop
async def test_function_is_never_lost_when_threads_end_at_once(
    make_runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each function meets a thread that is about to end."""
    for module in ("threads", "greenlets"):
        monkeypatch.setattr(f"adwebsocket.runners.{module}._IDLE_SECONDS", 0.0)
    runner = make_runner()
    for number in range(200):
        assert await asyncio.wait_for(runner.run(lambda n=number: n), DEADLINE / 2) == number


# Cancelling, and loops that end


@on_event_loop
async def test_function_that_nobody_waits_for_any_more_ends_and_is_counted_until_then(
    runner: Runner,
) -> None:
    gate = Gate()
    task = asyncio.ensure_future(runner.run(gate))
    await gate.until_entered()
    assert runner.count() == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open()
    await gate.until_left()
    await asyncio.to_thread(wait_until, lambda: runner.count() == 0, "the end of the function")


@on_event_loop
async def test_cancelling_before_the_function_begins_does_no_harm(runner: Runner) -> None:
    for _ in range(100):
        task = asyncio.ensure_future(runner.run(lambda: wait(A_MOMENT)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await runner.run(lambda: "still there") == "still there"
    await asyncio.to_thread(wait_until, lambda: runner.count() == 0, "the end of the functions")


def test_loop_that_ends_before_the_function_leaves_room_for_the_next(runner: Runner) -> None:
    gate = Gate()

    async def run() -> None:
        task = asyncio.ensure_future(runner.run(gate))
        await gate.until_entered()
        task.cancel()

    asyncio.run(run())
    gate.open()
    wait_until(lambda: runner.count() == 0, "the end of the function")
    assert run_alone(runner, lambda: "next") == "next"


def run_alone(runner: Runner, function: Callable[[], object]) -> object:
    """Run a function on an event loop of its own."""

    async def run() -> object:
        return await runner.run(function)

    return asyncio.run(run())


def test_event_loops_may_follow_each_other(runner: Runner) -> None:
    for number in range(10):
        assert run_alone(runner, lambda n=number: (wait(A_MOMENT), n)) == (False, number)
    assert runner.count() == 0


def test_event_loops_may_share_a_runner(runner: Runner) -> None:
    results: list[list[int]] = []

    def work(number: int) -> int:
        for _ in range(5):
            wait(A_MOMENT)
        return number

    async def run() -> None:
        results.append(await asyncio.gather(*[runner.run(lambda n=n: work(n)) for n in range(50)]))

    loops = [threading.Thread(target=lambda: asyncio.run(run())) for _ in range(3)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(2 * DEADLINE)
    assert results == [list(range(50))] * 3
    assert runner.count() == 0


# Waiting


@on_event_loop
async def test_wait_ends_when_the_loop_wakes_it(runner: Runner) -> None:
    loop = asyncio.get_running_loop()

    def view() -> bool:
        waiter = new_waiter()
        loop.call_soon_threadsafe(waiter.wake, None)
        return waiter.park(None)

    assert await runner.run(view) is True


@on_event_loop
async def test_wait_ends_when_any_thread_wakes_it(runner: Runner) -> None:
    def view() -> bool:
        waiter = new_waiter()
        threading.Timer(A_MOMENT, waiter.wake, [None]).start()
        return waiter.park(DEADLINE)

    assert await runner.run(view) is True


@pytest.mark.parametrize("timeout", [None, 0.0, 60.0])
def test_view_that_was_woken_before_it_waits_goes_on(runner: Runner, timeout: float | None) -> None:
    def view() -> bool:
        waiter = new_waiter()
        waiter.wake(None)
        return waiter.park(timeout)

    @on_event_loop
    async def run() -> None:
        assert await runner.run(view) is True

    run()


@on_event_loop
async def test_view_that_nobody_wakes_is_told_so_when_its_time_is_up(runner: Runner) -> None:
    assert await runner.run(lambda: [wait(0.0), wait(A_MOMENT), wait(0.0)]) == [False] * 3


@on_event_loop
async def test_pause_lets_others_run(runner: Runner) -> None:
    order: list[str] = []
    second_is_there = threading.Event()

    def first() -> None:
        order.append("begins")
        while not second_is_there.is_set():
            pause(A_MOMENT)
        order.append("ends")

    def second() -> None:
        order.append("second")
        second_is_there.set()

    task = asyncio.ensure_future(runner.run(first))
    await asyncio.to_thread(wait_until, lambda: order, "the first")
    await runner.run(second)
    await task
    assert order == ["begins", "second", "ends"]


@on_event_loop
async def test_wake_up_that_comes_too_late_does_no_harm(runner: Runner) -> None:
    late: list[Waiter] = []

    def view() -> list[bool]:
        waiter = new_waiter()
        late.append(waiter)
        ends = [waiter.park(A_MOMENT)]
        waiter.wake(None)
        ends.append(wait(A_MOMENT))
        return [*ends, wait(A_MOMENT)]

    assert await runner.run(view) == [False] * 3

    def leave() -> None:
        waiter = new_waiter()
        late.append(waiter)
        waiter.park(0.0)

    await runner.run(leave)
    late[-1].wake(None)
    assert await runner.run(lambda: "still there") == "still there"


@on_event_loop
async def test_waiter_that_nobody_parks_on_does_no_harm(runner: Runner) -> None:
    """Facades make one, find what they want, and leave it; it may have been woken."""

    def view() -> bool:
        for _ in range(100):
            new_waiter().wake(None)
        return wait(A_MOMENT)

    assert await asyncio.gather(*[runner.run(view) for _ in range(20)]) == [False] * 20


class Tokens:
    """Something to take, and a queue of views that wait for it: what an inbox is to them."""

    def __init__(self) -> None:
        self.items: deque[int] = deque()
        self.waiters = WaitQueue()

    def give(self, item: int) -> None:
        self.items.append(item)
        self.waiters.wake_one()

    def take(self, patience: float | None) -> int:
        while True:
            try:
                return self.items.popleft()
            except IndexError:
                pass
            waiter = new_waiter()
            self.waiters.append(waiter.wake)
            if self.items and self.waiters.withdraw(waiter.wake):
                continue
            if not waiter.park(patience) and not self.waiters.withdraw(waiter.wake) and self.items:
                self.waiters.wake_one()


@pytest.mark.usefixtures("busy_threads")
@pytest.mark.parametrize("patience", [None, 0.00005], ids=["for ever", "not for long"])
def test_tokens_go_round_and_round_between_views(runner: Runner, patience: float | None) -> None:
    """Fewer tokens than views: in every round somebody has to wait and be woken."""
    here, there = Tokens(), Tokens()

    def carry(source: Tokens, target: Tokens) -> None:
        for _ in range(1000):
            target.give(source.take(patience))

    @on_event_loop
    async def run() -> None:
        forth = [runner.run(lambda: carry(here, there)) for _ in range(3)]
        back = [runner.run(lambda: carry(there, here)) for _ in range(3)]
        await asyncio.gather(*forth, *back)

    for number in range(4):
        here.give(number)
    run()
    assert sorted([*here.items, *there.items]) == [0, 1, 2, 3]


@pytest.mark.usefixtures("busy_threads")
@pytest.mark.parametrize("patience", [None, 0.00005], ids=["for ever", "not for long"])
def test_every_token_of_the_loop_and_of_a_thread_reaches_a_view(
    runner: Runner, patience: float | None
) -> None:
    tokens, each = Tokens(), 500

    def give(start: int) -> None:
        for number in range(start, start + each):
            tokens.give(number)

    @on_event_loop
    async def run() -> None:
        views = [
            asyncio.ensure_future(
                runner.run(lambda: [tokens.take(patience) for _ in range(each // 2)])
            )
            for _ in range(4)
        ]
        thread = asyncio.create_task(asyncio.to_thread(give, each))
        for number in range(each):
            tokens.give(number)
            if number % 10 == 0:
                await asyncio.sleep(0)
        taken = await asyncio.gather(*views)
        await thread
        assert sorted(itertools.chain(*taken)) == list(range(2 * each))

    run()


# What looks after a function while it waits


def make_noted(
    make_runner: MakeRunner, seconds: float | None = None, *faults: str
) -> tuple[Runner, list[NotedParking]]:
    """Make a runner, and a list that gets the parking of each of its functions."""
    parkings: list[NotedParking] = []

    def new_parking() -> NotedParking:
        parkings.append(NotedParking(seconds, faults))
        return parkings[-1]

    return make_runner(new_parking), parkings


@on_event_loop
async def test_each_function_has_a_parking_of_its_own(make_runner: MakeRunner) -> None:
    runner, parkings = make_noted(make_runner)
    await asyncio.gather(*[runner.run(lambda: wait(A_MOMENT)) for _ in range(3)])
    assert [parking.calls for parking in parkings] == [["begin", "end", "finish"]] * 3


@on_event_loop
async def test_parking_is_called_in_the_thread_of_its_function(make_runner: MakeRunner) -> None:
    runner, parkings = make_noted(make_runner, 0.0)

    def view() -> threading.Thread:
        wait(10 * A_MOMENT)
        return threading.current_thread()

    for _ in range(3):
        thread = await runner.run(view)
        assert parkings.pop().threads == {thread}


@on_event_loop
async def test_parking_sees_the_context_of_its_function(make_runner: MakeRunner) -> None:
    seen: list[str] = []

    class Looking(NotedParking):
        """Parking that looks at a context variable."""

        def _note(self, name: str) -> None:
            seen.append(setting.get())

    def view() -> None:
        setting.set("inside")
        wait(A_MOMENT)

    await make_runner(Looking).run(view)
    # finish() comes behind the function, in whose context it need not be.
    assert seen[:2] == ["inside", "inside"]


@on_event_loop
async def test_function_that_does_not_wait_is_only_finished(make_runner: MakeRunner) -> None:
    runner, parkings = make_noted(make_runner, 0.0)
    await runner.run(lambda: None)
    assert [parking.calls for parking in parkings] == [["finish"]]


@pytest.mark.parametrize("error", [Fault(), SystemExit(), StopIteration()], ids=repr)
def test_parking_is_finished_behind_a_function_that_fails(
    make_runner: MakeRunner, error: BaseException
) -> None:
    runner, parkings = make_noted(make_runner)

    def view() -> None:
        wait(A_MOMENT)
        raise error

    @on_event_loop
    async def run() -> None:
        with pytest.raises((Fault, RuntimeError)):
            await runner.run(view)

    run()
    assert parkings[0].calls == ["begin", "end", "finish"]


@on_event_loop
async def test_wait_of_a_moment_is_not_idle(make_runner: MakeRunner) -> None:
    runner, parkings = make_noted(make_runner, 60.0)
    await runner.run(lambda: [wait(A_MOMENT), wait(A_MOMENT)])
    assert parkings[0].calls == ["begin", "end", "begin", "end", "finish"]


@on_event_loop
async def test_parking_that_never_wants_to_be_idle_is_not(make_runner: MakeRunner) -> None:
    runner, parkings = make_noted(make_runner, None)
    await runner.run(lambda: wait(20 * A_MOMENT))
    assert parkings[0].calls == ["begin", "end", "finish"]


@pytest.mark.parametrize("seconds", [0.0, A_MOMENT])
@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_long_wait_is_idle_once_and_goes_on_when_it_is_woken(
    make_runner: MakeRunner, seconds: float, timeout: float | None
) -> None:
    runner, parkings = make_noted(make_runner, seconds)

    def view(wake_later: Callable[[Waiter], None]) -> bool:
        waiter = new_waiter()
        wake_later(waiter)
        return waiter.park(timeout)

    def wake_later(waiter: Waiter) -> None:
        def wake() -> None:
            assert parkings[0].was_idle.wait(DEADLINE)
            waiter.wake(None)

        threading.Thread(target=wake).start()

    @on_event_loop
    async def run() -> None:
        assert await runner.run(lambda: view(wake_later)) is True

    run()
    assert parkings[0].calls == ["begin", "idle", "end", "finish"]


@on_event_loop
async def test_wait_that_was_idle_still_has_its_time_limit(make_runner: MakeRunner) -> None:
    runner, parkings = make_noted(make_runner, A_MOMENT)
    assert await runner.run(lambda: wait(50 * A_MOMENT)) is False
    assert parkings[0].calls == ["begin", "idle", "end", "finish"]


@on_event_loop
async def test_idleness_that_cannot_be_used_is_logged_and_not_the_views_affair(
    make_runner: MakeRunner, caplog: pytest.LogCaptureFixture
) -> None:
    runner, parkings = make_noted(make_runner, 0.0, "idle")
    assert await runner.run(lambda: [wait(20 * A_MOMENT), wait(20 * A_MOMENT)]) == [False, False]
    assert parkings[0].calls == ["begin", "idle", "end"] * 2 + ["finish"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    assert await runner.run(lambda: "still there") == "still there"


@on_event_loop
async def test_finish_that_fails_is_a_failure_of_the_function(make_runner: MakeRunner) -> None:
    runner, _ = make_noted(make_runner, None, "finish")
    for _ in range(2):
        with pytest.raises(Fault, match="finish"):
            await runner.run(lambda: None)
    assert runner.count() == 0
