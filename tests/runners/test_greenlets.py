"""What only the runner does that puts many sync views on each of a few threads."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.components import skip_or_fail
from tests.connections import DEADLINE, on_event_loop
from tests.processes import wait_until

try:
    from greenlet import GreenletExit, getcurrent, greenlet
except ImportError:
    skip_or_fail("not installed: greenlet", allow_module_level=True)

from functions import Gate, NotedParking, fail_with, give_way, new_waiter, wait

from adwebsocket.runners import greenlets
from adwebsocket.runners.base import RunnerFull
from adwebsocket.runners.greenlets import GreenletRunner, GreenletWaiter

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from adwebsocket.transport.waiting import Waiter

A_MOMENT = 0.001
ENORMOUS = 1 << 46


def start(runner: GreenletRunner, function: Callable[[], Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(runner.run(function))


# Views and threads


@on_event_loop
async def test_many_views_share_few_threads_evenly() -> None:
    runner = GreenletRunner(2)
    gate = Gate()
    views = [start(runner, gate) for _ in range(100)]
    await gate.until_entered(100)
    names = [thread.name for thread in gate.threads]
    assert sorted(set(names)) == ["websocket-greenlets-1", "websocket-greenlets-2"]
    assert names.count("websocket-greenlets-1") == 50
    gate.open()
    await asyncio.gather(*views)


@on_event_loop
async def test_next_view_goes_where_the_fewest_are() -> None:
    runner = GreenletRunner(2)
    gates = [Gate(), Gate()]
    views = [start(runner, gates[n % 2]) for n in range(10)]
    for gate in gates:
        await gate.until_entered(5)
    gates[1].open()
    await asyncio.gather(*views[1::2])
    threads = [await runner.run(threading.current_thread) for _ in range(5)]
    assert set(threads) == set(gates[1].threads)
    gates[0].open()
    await asyncio.gather(*views)


@on_event_loop
async def test_view_that_blocks_elsewhere_holds_up_its_own_thread_only() -> None:
    runner = GreenletRunner(2)
    release = threading.Event()
    blocked = start(runner, lambda: release.wait(DEADLINE))
    assert await asyncio.gather(*[runner.run(lambda: wait(A_MOMENT))]) == [False]
    assert not blocked.done()
    release.set()
    assert await blocked


@on_event_loop
async def test_view_runs_until_it_waits() -> None:
    """So nothing that it does in between can be seen half done by another view."""
    runner = GreenletRunner(1)
    shared = {"number": 0}

    def view() -> None:
        for _ in range(20):
            for _ in range(50):
                number = shared["number"]
                shared["number"] = number + 1
            wait(0.0)

    await asyncio.gather(*[runner.run(view) for _ in range(20)])
    assert shared["number"] == 20 * 20 * 50


@on_event_loop
async def test_thread_locals_are_shared_by_the_views_of_a_thread() -> None:
    """The documented limit of this runner; a view to which it matters takes the other one."""
    runner = GreenletRunner(1)
    local = threading.local()
    gate = Gate()

    def keep() -> str:
        local.name = "first"
        gate()
        return str(local.name)

    first = start(runner, keep)
    await gate.until_entered()
    await runner.run(lambda: setattr(local, "name", "second"))
    gate.open()
    assert await first == "second"


@on_event_loop
async def test_greenlets_that_a_view_starts_may_wait_as_well() -> None:
    runner = GreenletRunner(1)
    gate = Gate()

    def view() -> list[str]:
        main = getcurrent()
        results: list[str] = []

        def wait_and_go_back() -> None:
            results.append(gate())
            main.switch()

        greenlet(wait_and_go_back).switch()
        results.append(gate())
        return results

    running = start(runner, view)
    await gate.until_entered()
    assert await runner.run(lambda: "meanwhile") == "meanwhile"
    gate.open()
    assert await running == ["let go"] * 2


@on_event_loop
async def test_greenlet_of_a_view_that_ends_gives_its_result_to_the_view() -> None:
    runner = GreenletRunner(1)

    def view() -> tuple[bool, bool]:
        def child() -> bool:
            return wait(A_MOMENT)

        return greenlet(child).switch(), wait(A_MOMENT)

    assert await asyncio.gather(*[runner.run(view) for _ in range(10)]) == [(False, False)] * 10


@on_event_loop
async def test_system_that_gives_no_thread_makes_it_full_and_nothing_is_run() -> None:
    runner = GreenletRunner(1)
    called: list[int] = []
    before = threading.stack_size(ENORMOUS)
    try:
        with pytest.raises(RunnerFull, match=r"^the system gives no more threads: "):
            await runner.run(lambda: called.append(1))
    finally:
        threading.stack_size(before)
    assert runner.count() == 0
    assert await runner.run(lambda: "room") == "room"
    assert called == []


# Cancelling


@on_event_loop
async def test_cancelling_raises_where_the_view_waits() -> None:
    runner = GreenletRunner(1)
    gate = Gate()
    running = start(runner, gate)
    await gate.until_entered()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gate.until_left()
    assert gate.ended == ["GreenletExit"]
    await asyncio.to_thread(wait_until, lambda: runner.count() == 0, "the end of the view")
    # Who wanted to wake it comes too late.
    gate.open()
    assert await runner.run(lambda: "still there") == "still there"


@on_event_loop
async def test_cancelled_view_may_wait_while_it_cleans_up() -> None:
    runner = GreenletRunner(1, parkings := NotedParkings())
    gate, steps = Gate(), list[str]()

    def view() -> None:
        try:
            gate()
        finally:
            wait(A_MOMENT)
            steps.append("cleaned up")

    running = start(runner, view)
    await gate.until_entered()
    running.cancel()
    await asyncio.to_thread(wait_until, lambda: runner.count() == 0, "the end of the view")
    assert steps == ["cleaned up"]
    assert parkings[0].calls == ["begin", "end", "begin", "end", "finish"]


@on_event_loop
async def test_cancelled_view_that_goes_on_all_the_same_is_let() -> None:
    runner = GreenletRunner(1)
    gate, other, steps = Gate(), Gate(), list[str]()

    def view() -> None:
        try:
            gate()
        except GreenletExit:
            steps.append(other())

    running = start(runner, view)
    await gate.until_entered()
    running.cancel()
    await other.until_entered()
    assert runner.count() == 1
    other.open()
    await asyncio.to_thread(wait_until, lambda: runner.count() == 0, "the end of the view")
    assert steps == ["let go"]


@on_event_loop
async def test_view_that_is_woken_and_cancelled_at_once_ends_once() -> None:
    runner = GreenletRunner(2)
    gates = [Gate() for _ in range(100)]
    running = [start(runner, gate) for gate in gates]
    for gate in gates:
        await gate.until_entered()
    for number, (gate, task) in enumerate(zip(gates, running, strict=True)):
        for act in (gate.open, task.cancel)[:: 1 if number % 2 else -1]:
            act()
    for gate in gates:
        await gate.until_left()
        assert gate.ended in (["let go"], ["GreenletExit"])
    await asyncio.to_thread(wait_until, lambda: runner.count() == 0, "the end of the views")


@on_event_loop
async def test_cancelled_view_leaves_its_context_and_its_timers_to_nobody() -> None:
    runner = GreenletRunner(1)
    gate = Gate()

    def view() -> None:
        try:
            wait(20 * A_MOMENT)
        except GreenletExit:
            gate()

    running = start(runner, view)
    await runner.run(lambda: None)
    running.cancel()
    await gate.until_entered()
    # The timer of the wait that was left is due while the view waits for something else.
    assert await runner.run(lambda: wait(40 * A_MOMENT)) is False
    assert gate.ended == []
    gate.open()
    await gate.until_left()


@on_event_loop
async def test_exit_of_a_greenlet_that_nobody_cancelled_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="GreenletExit"):
        await GreenletRunner(1).run(fail_with(GreenletExit()))


# Timers, on a clock that stands still until it is set


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(greenlets, "monotonic", clock)
    return clock


async def let_look(runner: GreenletRunner) -> None:
    """Let the only worker look at the clock, and do what is due.

    It looks before it takes what it finds in its queue, which may be the first two of these.
    """
    for _ in range(3):
        await runner.run(lambda: None)


@pytest.mark.usefixtures("busy_threads")
def test_waits_end_in_the_order_of_their_limits_and_not_before(clock: Clock) -> None:
    @on_event_loop
    async def run() -> None:
        runner = GreenletRunner(1)
        ended: list[float] = []

        def view(seconds: float) -> None:
            assert wait(seconds) is False
            ended.append(seconds)

        views = [start(runner, lambda s=seconds: view(s)) for seconds in (30.0, 10.0, 40.0, 20.0)]
        await let_look(runner)
        clock.now += 9
        await let_look(runner)
        assert ended == []
        clock.now += 22
        await let_look(runner)
        assert ended == [10.0, 20.0, 30.0]
        clock.now += 10
        await asyncio.gather(*views, let_look(runner))
        assert ended == [10.0, 20.0, 30.0, 40.0]

    run()


def test_waits_with_limits_that_are_woken_leave_nothing_behind(clock: Clock) -> None:
    @on_event_loop
    async def run() -> None:
        runner = GreenletRunner(1)

        def view() -> None:
            for _ in range(500):
                waiter = new_waiter()
                threading.Thread(target=waiter.wake, args=[None]).start()
                assert waiter.park(3600.0)

        await asyncio.gather(*[runner.run(view) for _ in range(4)])
        gc.collect()
        left = sum(type(each) is GreenletWaiter for each in gc.get_objects())
        # Those of the views that are there, twice, or a few hundred.
        assert left < 300

    run()


class NotedParkings(list["NotedParking"]):
    """Makes parkings that are idle after so many seconds, and keeps them."""

    def __init__(self, seconds: float | None = None) -> None:
        super().__init__()
        self.seconds = seconds

    def __call__(self) -> NotedParking:
        self.append(NotedParking(self.seconds))
        return self[-1]

    def count_idle(self) -> int:
        return sum(parking.calls.count("idle") for parking in self)


def test_one_idle_view_speaks_for_all_of_its_thread(clock: Clock) -> None:
    @on_event_loop
    async def run() -> None:
        runner = GreenletRunner(1, parkings := NotedParkings(5.0))
        gate = Gate()
        views = [start(runner, gate) for _ in range(20)]
        await gate.until_entered(20)
        parkings.seconds = None
        clock.now += 4
        await let_look(runner)
        assert parkings.count_idle() == 0
        clock.now += 2
        await let_look(runner)
        assert parkings.count_idle() == 1
        clock.now += 3
        await let_look(runner)
        assert parkings.count_idle() == 1
        gate.open()
        await asyncio.gather(*views)

    run()


# Views that never wait


def test_view_that_gives_way_lets_all_others_go_on_first() -> None:
    @on_event_loop
    async def run() -> None:
        runner = GreenletRunner(1)
        gate, steps = Gate(), list[str]()

        def busy() -> None:
            gate.open()
            steps.append("busy")
            give_way()
            steps.append("busy again")

        def other() -> None:
            gate()
            steps.append("other")

        others = [start(runner, other) for _ in range(5)]
        await gate.until_entered(5)
        await asyncio.gather(runner.run(busy), *others)
        assert steps == ["busy", *["other"] * 5, "busy again"]

    run()


def test_view_that_gives_way_to_nobody_goes_on_at_once() -> None:
    @on_event_loop
    async def run() -> None:
        runner = GreenletRunner(1, parkings := NotedParkings())
        await runner.run(lambda: [give_way() for _ in range(10)])
        assert parkings[0].calls == ["finish"]

    run()


def test_view_that_gives_way_lets_those_go_on_whose_time_is_up(clock: Clock) -> None:
    @on_event_loop
    async def run() -> None:
        runner = GreenletRunner(1)
        steps: list[str] = []

        def other() -> None:
            wait(5.0)
            steps.append("other")

        def busy() -> None:
            steps.append("busy")
            clock.now += 6
            # The first time it may be the only one in the queue.
            give_way()
            give_way()
            steps.append("busy again")

        waiting = start(runner, other)
        await let_look(runner)
        await asyncio.gather(runner.run(busy), waiting)
        assert steps == ["busy", "other", "busy again"]

    run()


@on_event_loop
async def test_cancelling_reaches_a_view_that_only_gives_way() -> None:
    runner = GreenletRunner(1)
    turns = 0

    def busy() -> None:
        nonlocal turns
        while True:
            turns += 1
            give_way()

    running = start(runner, busy)
    await asyncio.to_thread(wait_until, lambda: turns, "the view")
    running.cancel()
    await asyncio.to_thread(wait_until, lambda: runner.count() == 0, "the end of the view")
    assert await runner.run(lambda: "still there") == "still there"


@on_event_loop
async def test_wake_up_from_a_view_of_another_thread_arrives() -> None:
    runner = GreenletRunner(2)
    waiters: list[Waiter] = []
    is_there = threading.Event()

    def first() -> bool:
        waiters.append(new_waiter())
        is_there.set()
        return waiters[0].park(DEADLINE)

    def second() -> None:
        assert is_there.wait(DEADLINE)
        waiters[0].wake(None)

    assert await asyncio.gather(runner.run(first), runner.run(second)) == [True, None]


# A view that blocks elsewhere


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runners look every twentieth of a second whether a worker is stuck."""
    monkeypatch.setattr(greenlets, "_STUCK_SECONDS", 0.05)


@pytest.mark.usefixtures("short_patience")
@on_event_loop
async def test_view_that_holds_up_others_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    runner = GreenletRunner(1)
    release = threading.Event()

    def block() -> bool:
        return release.wait(DEADLINE)

    blocking = runner.run(block)
    waiting = runner.run(lambda: "not held up any more")
    async with asyncio.timeout(DEADLINE):
        while not caplog.messages:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
    release.set()

    assert await blocking is True
    assert await waiting == "not held up any more"
    assert "held up the 2 views of its thread" in caplog.messages[0]
    assert 'runner="thread"' in caplog.messages[0]


@pytest.mark.usefixtures("short_patience")
@on_event_loop
async def test_views_that_wait_hold_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    runner = GreenletRunner(1)
    gate = Gate()
    running = runner.run(gate)
    await asyncio.sleep(0.3)
    gate.open()

    assert await running == "let go"
    assert caplog.messages == []


@pytest.mark.usefixtures("short_patience")
@on_event_loop
async def test_runner_without_views_looks_after_nobody() -> None:
    runner = GreenletRunner(1)
    assert await runner.run(lambda: "done") == "done"
    async with asyncio.timeout(DEADLINE):
        while runner._watching_loop is not None:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("short_patience")
@on_event_loop
async def test_no_view_is_reported_where_many_have_a_little_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runner = GreenletRunner(1)
    gate = Gate()

    def view() -> None:
        gate()
        time.sleep(0.001)

    views = [start(runner, view) for _ in range(300)]
    await gate.until_entered(300)
    gate.open()
    await asyncio.gather(*views)
    assert caplog.messages == []


@on_event_loop
async def test_thread_that_ends_leaves_nothing_of_what_views_may_keep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(greenlets, "_IDLE_SECONDS", 0.0)
    parking = NotedParking()
    runner = GreenletRunner(1, lambda: parking)
    thread = await runner.run(threading.current_thread)
    await asyncio.to_thread(thread.join, DEADLINE)
    assert parking.calls == ["finish", "idle"]
    assert parking.threads == {thread}
