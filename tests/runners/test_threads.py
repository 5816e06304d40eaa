"""What only the runner does that gives each sync view a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest
from functions import Gate, new_waiter, wait

from adwebsocket.runners.base import RunnerFull
from adwebsocket.runners.threads import ThreadRunner
from tests.connections import DEADLINE, on_event_loop
from tests.transport.interleaving import interruptions

# More than a machine has, so that no thread can be had for it.
ENORMOUS = 1 << 46


@on_event_loop
async def test_each_function_has_a_thread_to_itself() -> None:
    runner = ThreadRunner(3)
    barrier = threading.Barrier(3)
    await asyncio.gather(*[runner.run(lambda: barrier.wait(DEADLINE)) for _ in range(3)])


@on_event_loop
async def test_finished_thread_runs_the_next_function() -> None:
    runner = ThreadRunner(1)
    threads = {await runner.run(threading.current_thread) for _ in range(5)}
    assert len(threads) == 1
    assert threads.pop().name.startswith("websocket-view-")


@on_event_loop
async def test_thread_locals_are_the_functions_own() -> None:
    runner = ThreadRunner(10)
    local = threading.local()

    def keep(number: int) -> int:
        local.number = number
        wait(0.001)
        kept: int = local.number
        return kept

    assert await asyncio.gather(
        *[runner.run(lambda n=number: keep(n)) for number in range(10)]
    ) == list(range(10))


@on_event_loop
async def test_full_runner_refuses_at_once_and_has_room_again_afterwards() -> None:
    runner = ThreadRunner(2)
    gate = Gate()
    running = [asyncio.ensure_future(runner.run(gate)) for _ in range(2)]
    await gate.until_entered(2)
    called = []
    with pytest.raises(RunnerFull, match=r"^2 sync views are running .WEBSOCKET_MAX_THREADS.$"):
        await runner.run(lambda: called.append(1))
    assert called == []
    gate.open()
    await asyncio.gather(*running)
    assert await runner.run(lambda: "room") == "room"
    gate.join()


@on_event_loop
async def test_system_that_gives_no_more_threads_makes_it_full() -> None:
    runner = ThreadRunner(2, stack_size=ENORMOUS)
    for _ in range(3):
        with pytest.raises(RunnerFull, match=r"^the system gives no more threads: "):
            await runner.run(lambda: None)
    assert runner.count() == 0


@on_event_loop
async def test_size_of_stacks_is_that_of_its_own_threads_only() -> None:
    before = threading.stack_size()
    assert await ThreadRunner(1, stack_size=256 * 1024).run(lambda: "small") == "small"
    assert threading.stack_size() == before


@on_event_loop
async def test_cancelling_gives_up_waiting_and_the_function_goes_on() -> None:
    runner = ThreadRunner(1)
    gate = Gate()
    running = asyncio.ensure_future(runner.run(gate))
    await gate.until_entered()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    try:
        assert gate.threads[0].is_alive()
        assert runner.count() == 1
        # It still takes its room.
        with pytest.raises(RunnerFull):
            await runner.run(lambda: None)
    finally:
        gate.join()
    assert gate.ended == ["let go"]


@on_event_loop
async def test_wake_up_amid_a_wait_that_gives_up_leaves_no_turn_behind() -> None:
    def view() -> None:
        thread: Any = threading.current_thread()
        for interruption in interruptions():
            waiter: Any = new_waiter()
            interruption.run(
                partial(waiter.park, 0.0), partial(waiter.wake, None), thread.pacer._lock.locked
            )
            # Given or not: who goes on has it, and will give it back.
            assert thread.round == waiter.round

    await ThreadRunner(1).run(view)


@on_event_loop
async def test_view_that_blocks_elsewhere_does_not_hold_up_the_others() -> None:
    """It keeps its turn, until that is taken from it."""
    runner = ThreadRunner(100)
    release = threading.Event()
    blocked = [asyncio.ensure_future(runner.run(lambda: release.wait(DEADLINE))) for _ in range(20)]
    gate = Gate()
    waiting = [asyncio.ensure_future(runner.run(gate)) for _ in range(20)]
    await gate.until_entered(20)
    gate.open()
    assert await asyncio.gather(*waiting) == ["let go"] * 20
    assert not any(task.done() for task in blocked)
    release.set()
    assert await asyncio.gather(*blocked) == [True] * 20


@on_event_loop
async def test_burst_in_which_all_block_elsewhere_at_once_goes_through() -> None:
    """Each needs the others to get on: no number of turns but that of all would do."""
    count = 100
    runner = ThreadRunner(count)
    gate, barrier = Gate(), threading.Barrier(count)

    def view() -> int:
        gate()
        return barrier.wait(DEADLINE)

    running = [asyncio.ensure_future(runner.run(view)) for _ in range(count)]
    await gate.until_entered(count)
    gate.open()
    assert sorted(await asyncio.gather(*running)) == list(range(count))
