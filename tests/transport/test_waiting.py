"""Waiting: who is woken, in which order, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING

import pytest
from interleaving import Interruption, interruptions
from thread_team import ThreadTeam, run_together

from adwebsocket.transport.waiting import ThreadWaiter, WaitQueue

if TYPE_CHECKING:
    from event_loops import Run


def queue_of(names: str) -> tuple[WaitQueue, list[str]]:
    """Give a queue of waiters with one letter each, and the list of those who were woken."""
    queue, woken = WaitQueue(), []
    for name in names:
        queue.append(lambda _, name=name: woken.append(name))
    return queue, woken


# WaitQueue


def test_waiters_are_woken_one_by_one_first_come_first_served() -> None:
    queue, woken = queue_of("abc")

    queue.wake_one()
    assert woken == ["a"]
    queue.wake_one()
    queue.wake_one()
    assert woken == ["a", "b", "c"]
    assert not queue


def test_waking_nobody_does_nothing() -> None:
    queue = WaitQueue()

    queue.wake_one()
    queue.wake_all()

    assert not queue


def test_wake_function_gets_none() -> None:
    queue, arguments = WaitQueue(), []
    queue.append(arguments.append)

    queue.wake_one()

    assert arguments == [None]


def test_all_are_woken_in_their_order() -> None:
    queue, woken = queue_of("abc")

    queue.wake_all()

    assert woken == ["a", "b", "c"]
    assert not queue


def test_waking_all_ends_although_the_woken_wait_again() -> None:
    queue, woken = WaitQueue(), []

    def wait_again(_: None) -> None:
        woken.append(None)
        queue.append(wait_again)

    queue.append(wait_again)
    queue.append(wait_again)
    queue.wake_all()

    assert len(woken) == len(queue) == 2


def test_withdrawing_tells_whether_the_waiter_was_still_there() -> None:
    queue, woken = WaitQueue(), []
    waiter = ThreadWaiter()
    queue.append(waiter.wake)
    queue.append(woken.append)

    # A method of an object is another object each time it is looked up.
    assert queue.withdraw(waiter.wake)
    assert not queue.withdraw(waiter.wake)
    queue.wake_one()
    assert woken == [None]
    assert not queue.withdraw(woken.append)


def test_withdrawn_waiter_of_a_task_is_found_by_its_future(run: Run) -> None:
    async def main() -> None:
        queue = WaitQueue()
        first, second = (asyncio.get_running_loop().create_future() for _ in range(2))
        queue.append(first.set_result)
        queue.append(second.set_result)

        assert queue.withdraw(second.set_result)
        queue.wake_one()
        assert first.done()
        assert not second.done()

    run(main())


def test_wake_up_for_a_cancelled_future_goes_to_the_next(run: Run) -> None:
    async def main() -> None:
        queue = WaitQueue()
        futures = [asyncio.get_running_loop().create_future() for _ in range(4)]
        for future in futures:
            queue.append(future.set_result)
        futures[0].cancel()
        futures[1].cancel()

        queue.wake_one()

        assert [future.done() for future in futures] == [True, True, True, False]
        assert len(queue) == 1

    run(main())


def test_cancelled_futures_do_not_stop_waking_all(run: Run) -> None:
    async def main() -> None:
        queue = WaitQueue()
        futures = [asyncio.get_running_loop().create_future() for _ in range(5)]
        for future in futures:
            queue.append(future.set_result)
        futures[0].cancel()
        futures[3].cancel()

        queue.wake_all()

        assert all(future.done() for future in futures)

    run(main())


# ThreadWaiter


def test_thread_that_was_woken_before_it_parks_does_not_wait() -> None:
    waiter = ThreadWaiter()
    waiter.wake(None)

    assert waiter.park(None)


def test_thread_that_nobody_wakes_is_told_so_when_its_time_is_up() -> None:
    waiter = ThreadWaiter()

    assert not waiter.park(0)
    assert not waiter.park(0.001)


def test_waiter_whose_time_was_up_may_park_again() -> None:
    waiter = ThreadWaiter()
    assert not waiter.park(0)

    waiter.wake(None)

    assert waiter.park(60)


def test_thread_parks_until_another_wakes_it() -> None:
    waiter, steps = ThreadWaiter(), []
    about_to_park = threading.Event()

    def park() -> None:
        about_to_park.set()
        assert waiter.park(None)
        steps.append("parked")

    team = ThreadTeam(park)
    about_to_park.wait(60)
    steps.append("waking")
    waiter.wake(None)
    team.join()

    assert steps == ["waking", "parked"]


# The discipline that makes it safe without a lock: append, look again, park; change, then wake.


class Token:
    """A condition of the simplest kind: something to take, and a queue of who waits for it."""

    def __init__(self) -> None:
        self.items: deque[int] = deque()
        self.queue = WaitQueue()

    def give(self, item: int = 0) -> None:
        self.items.append(item)
        self.queue.wake_one()

    def begin_to_wait(self) -> ThreadWaiter | None:
        """Do what comes before parking; None where there is no need to park."""
        waiter = ThreadWaiter()
        self.queue.append(waiter.wake)
        if self.items and self.queue.withdraw(waiter.wake):
            return None
        return waiter

    def take(self, patience: float | None = None) -> int:
        while True:
            try:
                return self.items.popleft()
            except IndexError:
                pass
            waiter = self.begin_to_wait()
            if waiter is None or waiter.park(patience):
                continue
            if not self.queue.withdraw(waiter.wake) and self.items:
                # The wake-up came too late for this round: whoever else waits may need it.
                self.queue.wake_one()


def check_woken(token: Token, waiters: list[ThreadWaiter | None]) -> None:
    for waiter in waiters:
        assert waiter is None or waiter.park(0), "a wake-up was lost"
    assert not token.queue


@pytest.mark.parametrize("giver_first", [True, False], ids=["giver", "waiter"])
def test_no_wake_up_is_lost_whichever_thread_is_interrupted_where(giver_first: bool) -> None:
    def run_once(interruption: Interruption) -> None:
        token = Token()
        waiters: list[ThreadWaiter | None] = []

        def wait() -> None:
            waiters.append(token.begin_to_wait())

        first, second = (token.give, wait) if giver_first else (wait, token.give)
        interruption.run(first, second)
        check_woken(token, waiters)

    for interruption in interruptions():
        run_once(interruption)


@pytest.mark.parametrize("giver_first", [True, False], ids=["giver", "waiter"])
def test_wake_up_for_a_thread_that_gives_up_goes_to_the_next(giver_first: bool) -> None:
    def run_once(interruption: Interruption) -> None:
        token = Token()
        impatient, patient = token.begin_to_wait(), token.begin_to_wait()
        assert impatient is not None
        assert patient is not None
        gave_up = []

        def give_up() -> None:
            if not impatient.park(0):
                gave_up.append(True)
                if not token.queue.withdraw(impatient.wake) and token.items:
                    token.queue.wake_one()

        first, second = (token.give, give_up) if giver_first else (give_up, token.give)
        interruption.run(first, second)
        assert patient.park(0) == bool(gave_up), "the item is for one of them, and only for one"

    for interruption in interruptions():
        run_once(interruption)


@pytest.mark.usefixtures("busy_threads")
def test_every_token_reaches_a_thread() -> None:
    token, taken, each = Token(), deque[int](), 5000

    def give(start: int) -> None:
        for number in range(start, start + each):
            token.give(number)

    def take() -> None:
        for _ in range(each):
            taken.append(token.take())

    run_together(*(lambda start=n * each: give(start) for n in range(4)), *[take] * 4)

    assert sorted(taken) == list(range(4 * each))
    assert not token.items


@pytest.mark.usefixtures("busy_threads")
@pytest.mark.parametrize("patience", [None, 0.00001], ids=["for ever", "not for long"])
def test_tokens_go_round_and_round_between_threads(patience: float | None) -> None:
    # Fewer tokens than threads: in every round somebody has to wait and be woken.
    here, there = Token(), Token()

    def carry(source: Token, target: Token) -> None:
        for _ in range(5000):
            target.give(source.take(patience))

    for number in range(3):
        here.give(number)
    forth = [lambda: carry(here, there)] * 2
    back = [lambda: carry(there, here)] * 2
    run_together(*forth, *back)

    assert sorted([*here.items, *there.items]) == [0, 1, 2]
