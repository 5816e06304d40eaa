"""The bridge: calls of threads reach their loop, all of them, in order, at the price of one."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from event_loops import go_round, run_on
from interleaving import interruptions
from thread_team import ThreadTeam, run_together

from adwebsocket.transport.bridge import LoopBridge, get_bridge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from event_loops import Run


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that counts how often it is woken from outside."""

    wake_ups = 0

    def call_soon_threadsafe(self, callback: Any, *args: Any, **options: Any) -> asyncio.Handle:
        self.wake_ups += 1
        return super().call_soon_threadsafe(callback, *args, **options)


@pytest.fixture
def loop() -> Iterator[CountingLoop]:
    """Give a loop whose turns are played by ``go_round``."""
    loop = CountingLoop()
    yield loop
    loop.close()


def test_calls_are_made_on_the_loop_in_their_order(loop: CountingLoop) -> None:
    bridge, made = LoopBridge(loop), []
    run_together(lambda: [bridge.call(lambda n=n: made.append(n)) for n in range(100)])
    assert made == []

    go_round(loop)

    assert made == list(range(100))


def test_burst_of_calls_wakes_the_loop_once(loop: CountingLoop) -> None:
    bridge = LoopBridge(loop)
    for burst in range(1, 4):
        for _ in range(1000):
            bridge.call(lambda: None)
        assert loop.wake_ups == burst
        go_round(loop)


def test_call_made_by_a_call_is_made_in_the_next_turn(loop: CountingLoop) -> None:
    bridge, made = LoopBridge(loop), []

    def call_again() -> None:
        made.append("first")
        bridge.call(lambda: made.append("third"))

    bridge.call(call_again)
    bridge.call(lambda: made.append("second"))
    go_round(loop)
    go_round(loop)

    assert made == ["first", "second", "third"]


def test_calls_that_call_again_leave_turns_to_others(loop: CountingLoop) -> None:
    bridge, made = LoopBridge(loop), []

    def call_again() -> None:
        made.append(None)
        if len(made) < 1000:  # or a bridge that is wrong would never return
            bridge.call(call_again)

    bridge.call(call_again)
    for _ in range(5):
        go_round(loop)

    assert 1 <= len(made) <= 6


def test_call_that_fails_is_logged_and_takes_no_other_with_it(
    loop: CountingLoop, caplog: pytest.LogCaptureFixture
) -> None:
    bridge, made = LoopBridge(loop), []

    def fail() -> None:
        raise ZeroDivisionError("of this one")

    bridge.call(lambda: made.append("before"))
    bridge.call(fail)
    bridge.call(lambda: made.append("behind"))
    go_round(loop)

    assert made == ["before", "behind"]
    (record,) = caplog.records
    assert record.name == "adwebsocket"
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "of this one"


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_calls_to_a_closed_loop_do_nothing(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    loop = new_loop()
    bridge, made = LoopBridge(loop), []
    bridge.call(lambda: made.append("before"))
    loop.close()

    for _ in range(3):
        bridge.call(lambda: made.append("behind"))
    run_together(lambda: bridge.call(lambda: made.append("from a thread")))

    assert made == []


def test_calls_to_a_closed_loop_are_forgotten() -> None:
    loop = asyncio.new_event_loop()
    bridge = LoopBridge(loop)
    loop.close()

    class View:
        """Something large that a call would keep."""

        def send(self) -> None: ...

    view = View()
    reference = weakref.ref(view)
    bridge.call(view.send)
    del view
    gc.collect()

    assert reference() is None


def test_bridge_knows_the_thread_of_its_loop(run: Run) -> None:
    async def main() -> None:
        assert get_bridge().thread_id == threading.get_ident()

    run(main())


def test_one_loop_has_one_bridge_and_another_has_another(run: Run) -> None:
    async def main() -> LoopBridge:
        assert get_bridge() is get_bridge()
        return get_bridge()

    assert run(main()) is not run(main())


def test_no_bridge_without_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        get_bridge()


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_bridge_does_not_keep_a_loop_that_nobody_uses(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        get_bridge()
        return weakref.ref(asyncio.get_running_loop())

    reference = run_on(new_loop, main())
    gc.collect()

    assert reference() is None


# Threads


@pytest.mark.parametrize("caller_first", [True, False], ids=["thread", "loop"])
def test_no_call_is_left_behind_whichever_side_is_interrupted_where(
    loop: CountingLoop, caller_first: bool
) -> None:
    for interruption in interruptions():
        bridge, made = LoopBridge(loop), []
        bridge.call(lambda made=made: made.append(1))
        # The turn in which the first call is made, as the loop would play it.
        turns = [
            lambda: go_round(loop),
            lambda bridge=bridge, made=made: bridge.call(lambda: made.append(2)),
        ]
        interruption.run(*turns[:: -1 if caller_first else 1])
        go_round(loop)

        assert made == [1, 2]


@pytest.mark.parametrize("second_call", [1, 3])
def test_no_call_is_left_behind_when_two_threads_call_at_once(
    loop: CountingLoop, second_call: int
) -> None:
    for interruption in interruptions():
        bridge, made = LoopBridge(loop), []

        def call(count: int, bridge: LoopBridge = bridge, made: list[int] = made) -> None:
            for _ in range(count):
                bridge.call(lambda: made.append(count))

        interruption.run(lambda call=call: call(2), lambda call=call: call(second_call))
        go_round(loop)

        assert sorted(made) == sorted([2] * 2 + [second_call] * second_call)


@pytest.mark.usefixtures("busy_threads")
def test_calls_of_several_threads_are_all_made_each_threads_in_order(run: Run) -> None:
    number = 5000

    async def main() -> None:
        bridge = get_bridge()
        made: list[tuple[int, int]] = []
        all_made = asyncio.Event()

        def call(thread: int) -> None:
            for count in range(number):
                bridge.call(lambda count=count: made.append((thread, count)))
            bridge.call(lambda: made.append((thread, number)) or check())

        def check() -> None:
            if len(made) == 4 * (number + 1):
                all_made.set()

        team = ThreadTeam(*[lambda thread=thread: call(thread) for thread in range(4)])
        await all_made.wait()
        await asyncio.to_thread(team.join)
        for thread in range(4):
            assert [count for who, count in made if who == thread] == list(range(number + 1))

    run(main())


@pytest.mark.usefixtures("busy_threads")
def test_thread_that_waits_for_each_of_its_calls_gets_every_one(run: Run) -> None:
    # One call at a time and the loop asleep in between: a lost wake-up would stop it for ever.
    async def main() -> None:
        bridge = get_bridge()

        def call() -> None:
            for _ in range(1000):
                done = threading.Event()
                bridge.call(done.set)
                assert done.wait(60)

        team = ThreadTeam(call, call)
        await asyncio.to_thread(team.join)

    run(main())
