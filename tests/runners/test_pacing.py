"""Turns: who has one, who is next, and what happens to those who keep theirs.

Nothing runs in here: the loop is played turn by turn, on a clock that is set by hand.
"""

from __future__ import annotations

import asyncio
import gc
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from adwebsocket.runners import pacing
from adwebsocket.runners.pacing import Pacer, Turn
from adwebsocket.transport.bridge import LoopBridge
from tests.transport.interleaving import Interruption, interruptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is set by hand.

    Attributes:
        now: what its clock shows.
    """

    now = 1000.0

    def time(self) -> float:
        return self.now

    def step(self, seconds: float = 0.0) -> None:
        """Let some seconds go by, in steps in which nothing is missed, and do what is due."""
        for _ in range(max(1, round(seconds / 0.001))):
            self.now += min(seconds, 0.001)
            # Once for what is due, and once more for what that has asked for.
            for _ in range(2):
                self.call_soon(self.stop)
                self.run_forever()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[SteppedLoop]:
    loop = SteppedLoop()
    monkeypatch.setattr(pacing, "monotonic", loop.time)
    yield loop
    loop.close()


@pytest.fixture
def pacer(loop: SteppedLoop) -> Pacer:
    return Pacer(loop, LoopBridge(loop))


def woken(pacer: Pacer, count: int) -> list[Turn]:
    """Wake so many threads at once."""
    turns = [Turn() for _ in range(count)]
    for turn in turns:
        pacer.wake(turn)
    return turns


def has(turn: Turn) -> bool:
    """Tell whether the thread may run."""
    assert turn.lock.locked() is (turn.round is None)
    return turn.round is not None


def count_given(turns: list[Turn]) -> int:
    return sum(map(has, turns))


def leave(pacer: Pacer, turn: Turn) -> None:
    """Park the thread that has this turn."""
    assert turn.round is not None
    pacer.leave(turn.round)


def test_first_who_is_woken_runs_at_once(pacer: Pacer) -> None:
    assert has(woken(pacer, 1)[0])


def test_next_one_runs_when_the_one_before_parks_in_the_order_of_waking(pacer: Pacer) -> None:
    turns = woken(pacer, 5)
    for number, turn in enumerate(turns):
        assert count_given(turns) == number + 1
        assert has(turn)
        leave(pacer, turn)


def test_turn_that_nobody_took_up_is_for_who_comes_next(pacer: Pacer) -> None:
    for _ in range(3):
        (turn,) = woken(pacer, 1)
        assert has(turn)
        leave(pacer, turn)
    first, second = woken(pacer, 2)
    assert (has(first), has(second)) == (True, False)


def test_who_has_given_up_is_passed_over(pacer: Pacer) -> None:
    turns = woken(pacer, 4)
    assert pacer.give_up(turns[1])
    assert pacer.give_up(turns[2])
    leave(pacer, turns[0])
    assert [has(turn) for turn in turns] == [True, False, False, True]


def test_giving_up_comes_too_late_for_a_turn_that_was_given(pacer: Pacer) -> None:
    (turn,) = woken(pacer, 1)
    assert not pacer.give_up(turn)


def test_waking_who_has_given_up_does_nothing(pacer: Pacer) -> None:
    turn = Turn()
    assert pacer.give_up(turn)
    pacer.wake(turn)
    assert not has(turn)
    assert count_given(woken(pacer, 2)) == 1


def test_who_keeps_a_turn_is_thought_to_be_blocked_after_a_moment(
    loop: SteppedLoop, pacer: Pacer
) -> None:
    turns = woken(pacer, 2)
    loop.step(0.001)
    assert count_given(turns) == 1
    loop.step(0.02)
    assert count_given(turns) == 2


def test_who_is_woken_behind_a_blocked_thread_runs_at_once(loop: SteppedLoop, pacer: Pacer) -> None:
    woken(pacer, 1)
    loop.now += 1
    assert has(woken(pacer, 1)[0])


def test_who_has_waited_goes_before_who_is_woken_behind_a_blocked_thread(
    loop: SteppedLoop, pacer: Pacer
) -> None:
    _, waiting = woken(pacer, 2)
    loop.now += 0.003
    (late,) = woken(pacer, 1)
    assert (has(waiting), has(late)) == (True, False)


def test_threads_that_are_woken_all_the_time_and_block_do_not_queue_up(
    loop: SteppedLoop, pacer: Pacer
) -> None:
    turns: list[Turn] = []
    for _ in range(200):
        turns += woken(pacer, 4)
        loop.step(0.001)
    assert count_given(turns) > 700


def test_threads_that_are_woken_while_the_loop_is_busy_are_not_taken_to_be_blocked(
    loop: SteppedLoop, pacer: Pacer
) -> None:
    turns = woken(pacer, 2)
    loop.step()
    # All in one turn of the loop, in which no thread got on.
    for _ in range(20):
        loop.now += 0.001
        turns += woken(pacer, 10)
    given = count_given(turns)
    loop.step()
    assert count_given(turns) == given


def test_threads_that_all_block_get_their_turns_twice_as_fast_each_time(
    loop: SteppedLoop, pacer: Pacer
) -> None:
    turns = woken(pacer, 1000)
    given, ticks = [count_given(turns)], 0
    while given[-1] < 1000:
        loop.step(0.005)
        given.append(count_given(turns))
        ticks += 1
        assert ticks < 20
    steps = [after - before for before, after in pairwise(given) if after > before]
    assert steps[:6] == [2, 4, 8, 16, 32, 64]


def test_turns_are_given_one_by_one_again_when_nobody_waits(
    loop: SteppedLoop, pacer: Pacer
) -> None:
    woken(pacer, 100)
    loop.step(0.2)
    loop.now += 1
    first, second = woken(pacer, 2)
    assert (has(first), has(second)) == (True, False)


def test_turn_of_a_round_that_is_over_counts_no_more(loop: SteppedLoop, pacer: Pacer) -> None:
    blocked, *turns = woken(pacer, 6)
    loop.step(0.006)
    running = [turn for turn in turns if has(turn)]
    assert len(running) == 2
    # The one that was blocked parks after all: that makes no room for another.
    leave(pacer, blocked)
    assert count_given(turns) == 2
    leave(pacer, running[0])
    assert count_given(turns) == 3


def test_threads_that_do_not_block_are_paced_however_long_it_takes(
    loop: SteppedLoop, pacer: Pacer
) -> None:
    turns = woken(pacer, 200)
    for number, turn in enumerate(turns):
        loop.step(0.001)
        assert count_given(turns) == number + 1
        leave(pacer, turn)


def test_nothing_ticks_while_nobody_waits(loop: SteppedLoop, pacer: Pacer) -> None:
    (turn,) = woken(pacer, 1)
    loop.step()
    assert not loop._scheduled  # type: ignore[attr-defined]
    (waiting,) = woken(pacer, 1)
    loop.step()
    assert len(loop._scheduled) == 1  # type: ignore[attr-defined]
    leave(pacer, turn)
    leave(pacer, waiting)
    loop.step(0.02)
    assert not loop._scheduled  # type: ignore[attr-defined]


def test_burst_has_one_timer(loop: SteppedLoop, pacer: Pacer) -> None:
    woken(pacer, 100)
    loop.step()
    woken(pacer, 100)
    loop.step()
    assert len(loop._scheduled) == 1  # type: ignore[attr-defined]


def test_threads_of_a_closed_loop_still_get_their_turns(loop: SteppedLoop, pacer: Pacer) -> None:
    loop.close()
    turns = woken(pacer, 3)
    for turn in turns:
        assert has(turn)
        leave(pacer, turn)


def test_threads_of_a_loop_that_is_gone_still_get_their_turns() -> None:
    loop = SteppedLoop()
    pacer = Pacer(loop, LoopBridge(loop))
    loop.close()
    del loop
    gc.collect()
    turns = woken(pacer, 3)
    for turn in turns:
        assert has(turn)
        leave(pacer, turn)


# Every order


@pytest.mark.parametrize("wake_first", [True, False], ids=["wake", "give up"])
@pytest.mark.parametrize("others", [0, 1], ids=["at once", "in the queue"])
def test_turn_is_given_or_given_up_and_never_both(
    loop: SteppedLoop, wake_first: bool, others: int
) -> None:
    def run_once(interruption: Interruption) -> None:
        pacer = Pacer(loop, LoopBridge(loop))
        before = woken(pacer, others)
        turn, gave_up = Turn(), list[bool]()

        def give_up() -> None:
            gave_up.append(pacer.give_up(turn))

        both: list[Callable[[], None]] = [lambda: pacer.wake(turn), give_up]
        first, second = both[:: 1 if wake_first else -1]
        interruption.run(first, second, pacer._lock.locked)
        assert gave_up == [not has(turn)]
        # Neither leaves anything behind: what is given and left again makes room for one.
        for each in [*before, *([turn] if has(turn) else [])]:
            leave(pacer, each)
        assert count_given(woken(pacer, 2)) == 1

    for interruption in interruptions():
        run_once(interruption)


@pytest.mark.parametrize("wake_first", [True, False], ids=["wake", "leave"])
def test_turn_that_is_left_while_another_is_woken_goes_to_that(
    loop: SteppedLoop, wake_first: bool
) -> None:
    def run_once(interruption: Interruption) -> None:
        pacer = Pacer(loop, LoopBridge(loop))
        (running,) = woken(pacer, 1)
        turn = Turn()
        both: list[Callable[[], None]] = [
            lambda: pacer.wake(turn),
            lambda: leave(pacer, running),
        ]
        first, second = both[:: 1 if wake_first else -1]
        interruption.run(first, second, pacer._lock.locked)
        assert has(turn)

    for interruption in interruptions():
        run_once(interruption)


def test_tick_amid_waking_and_leaving_forgets_nobody(loop: SteppedLoop) -> None:
    def run_once(interruption: Interruption) -> None:
        pacer = Pacer(loop, LoopBridge(loop))
        running, waiting = woken(pacer, 2)
        loop.step()
        loop.now += 0.004
        last = Turn()

        def park_and_wake() -> None:
            leave(pacer, running)
            pacer.wake(last)

        interruption.run(park_and_wake, lambda: loop.step(0.001), pacer._lock.locked)
        assert has(waiting)
        leave(pacer, waiting)
        loop.step(0.02)
        assert has(last)
        leave(pacer, last)
        loop.step(0.02)

    for interruption in interruptions():
        run_once(interruption)
