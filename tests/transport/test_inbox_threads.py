"""The inbox between a loop and threads: every order of their instructions, and crowds of them."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from interleaving import Interruption, interruptions
from memory_channel import MemoryChannel
from thread_team import ThreadTeam

from adwebsocket.transport.bridge import LoopBridge
from adwebsocket.transport.inbox import END
from adwebsocket.transport.limits import Limits
from adwebsocket.transport.waiting import ThreadWaiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from event_loops import Run

    from adwebsocket.transport.inbox import Inbox, Item


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give a loop that is never run: its turns are played by the tests."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class TwoSides:
    """A channel whose view is a thread, and the calls from there that the loop has to make."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **limits: int) -> None:
        self.channel = MemoryChannel(loop, Limits(**limits))
        self.inbox = self.channel.inbox
        self.calls: deque[Callable[[], None]] = deque()
        self.inbox.bridge = cast("LoopBridge", SimpleNamespace(call=self.calls.append))

    def run_loop(self) -> None:
        while self.calls:
            self.calls.popleft()()


def take_all(inbox: Inbox) -> list[Item]:
    taken = []
    while inbox.items:
        taken.append(inbox.take())
    return taken


# Every order


@pytest.mark.parametrize("loop_first", [True, False], ids=["loop", "thread"])
@pytest.mark.parametrize("puts", [1, 2])
@pytest.mark.parametrize(
    ("limits", "message", "queued"),
    [
        ({"inbox_messages": 2}, "x", 2),
        ({"inbox_bytes": 20}, b"y" * 8, 2),
        ({"inbox_messages": 0}, "x", 0),
    ],
    ids=["messages", "bytes", "no room at all"],
)
def test_thread_that_empties_the_inbox_never_leaves_it_paused(
    loop: asyncio.AbstractEventLoop,
    loop_first: bool,
    puts: int,
    limits: dict[str, int],
    message: str | bytes,
    queued: int,
) -> None:
    def run_once(interruption: Interruption) -> None:
        sides = TwoSides(loop, **limits)
        # Up to the mark, so that the next one crosses it; over it, if the thread is to take first.
        for _ in range(queued + (not loop_first)):
            sides.inbox.put(message)
        assert sides.channel.reading is loop_first

        def put() -> None:
            for _ in range(puts):
                sides.inbox.put(message)

        first, second = (put, partial(take_all, sides.inbox))[:: 1 if loop_first else -1]
        interruption.run(first, second)
        take_all(sides.inbox)
        sides.run_loop()
        assert sides.channel.reading

    for interruption in interruptions():
        run_once(interruption)


def test_thread_that_takes_while_the_loop_resumes_never_leaves_it_paused(
    loop: asyncio.AbstractEventLoop,
) -> None:
    for interruption in interruptions():
        sides = TwoSides(loop, inbox_messages=2)
        for _ in range(6):
            sides.inbox.put("x")
        for _ in range(5):
            sides.inbox.take()
        interruption.run(sides.run_loop, sides.inbox.take)
        sides.run_loop()

        assert sides.channel.reading


@pytest.mark.parametrize("loop_first", [True, False], ids=["loop", "thread"])
@pytest.mark.parametrize("ending", [False, True], ids=["message", "end"])
def test_thread_that_begins_to_wait_is_woken_by_what_comes(
    loop: asyncio.AbstractEventLoop, loop_first: bool, ending: bool
) -> None:
    def run_once(interruption: Interruption) -> None:
        inbox = TwoSides(loop).inbox
        waiters: list[ThreadWaiter] = []

        def begin_to_wait() -> None:
            waiter = ThreadWaiter()
            inbox.waiters.append(waiter.wake)
            if not inbox.items or not inbox.waiters.withdraw(waiter.wake):
                waiters.append(waiter)

        put = inbox.finish if ending else partial(inbox.put, "x")
        first, second = (put, begin_to_wait)[:: 1 if loop_first else -1]
        interruption.run(first, second)
        assert all(waiter.park(0) for waiter in waiters)

    for interruption in interruptions():
        run_once(interruption)


def look(inbox: Inbox) -> Item | str:
    """Look for an item as the facades do, and say which of the four cases it was."""
    try:
        item = inbox.take()
    except IndexError:
        return "over" if inbox.ended and not inbox.items else "nothing yet"
    return item if item is END else "message"


@pytest.mark.parametrize("queued", [0, 1], ids=["empty", "one message"])
def test_nobody_is_told_that_it_is_over_before_somebody_has_seen_the_end(
    loop: asyncio.AbstractEventLoop, queued: int
) -> None:
    def run_once(interruption: Interruption) -> None:
        inbox = TwoSides(loop).inbox
        for _ in range(queued):
            inbox.put("x")
        seen: list[Item | str] = []
        interruption.run(inbox.finish, lambda: seen.extend(look(inbox) for _ in range(queued + 1)))
        seen += [look(inbox) for _ in range(3)]
        seen = [case for case in seen if case not in ("message", "nothing yet")]

        assert seen[0] is END
        assert seen.count(END) == 1

    for interruption in interruptions():
        run_once(interruption)


def test_whoever_has_seen_the_end_is_told_that_it_is_over(
    loop: asyncio.AbstractEventLoop,
) -> None:
    for interruption in interruptions():
        inbox = TwoSides(loop).inbox
        seen: list[tuple[Item | str, bool]] = []

        def look_and_ask(inbox: Inbox = inbox, seen: list[tuple[Item | str, bool]] = seen) -> None:
            seen.append((look(inbox), inbox.ended))

        interruption.run(inbox.finish, look_and_ask)

        assert all(ended for case, ended in seen if case is END)


def test_end_that_comes_hides_no_message_from_who_counts(
    loop: asyncio.AbstractEventLoop,
) -> None:
    for interruption in interruptions():
        inbox = TwoSides(loop).inbox
        inbox.put("x")
        counts: list[int] = []

        def count(inbox: Inbox = inbox, counts: list[int] = counts) -> None:
            # is_closed() asks in this order; True would mean that the message has been taken.
            if inbox.ended:
                counts.append(inbox.count())

        interruption.run(inbox.finish, count)

        assert set(counts) <= {1}


# Crowds


def take_in_thread(inbox: Inbox, patience: float | None) -> list[Item]:
    """Take until the end has been seen, by this thread or by another."""
    taken: list[Item] = []
    while True:
        try:
            item = inbox.take()
        except IndexError:
            if inbox.ended and not inbox.items:
                return taken
            waiter = ThreadWaiter()
            inbox.waiters.append(waiter.wake)
            if (inbox.items or inbox.ended) and inbox.waiters.withdraw(waiter.wake):
                continue
            if not waiter.park(patience):
                inbox.waiters.withdraw(waiter.wake)
            continue
        taken.append(item)


@pytest.mark.usefixtures("busy_threads")
@pytest.mark.parametrize("patience", [None, 0.0001], ids=["for ever", "not for long"])
@pytest.mark.parametrize("threads", [1, 4])
def test_threads_take_everything_while_reading_pauses_and_resumes(
    run: Run, threads: int, patience: float | None
) -> None:
    number = 20_000

    async def main() -> None:
        loop = asyncio.get_running_loop()
        bridge = LoopBridge(loop)
        channel = MemoryChannel(loop, Limits(inbox_messages=8))
        inbox = channel.inbox
        resumed = asyncio.Event()

        def resume() -> None:
            channel.resume_reading()
            resumed.set()

        inbox.bridge = cast("LoopBridge", SimpleNamespace(call=lambda _: bridge.call(resume)))
        taken: list[list[Item]] = []

        def take() -> None:
            taken.append(take_in_thread(inbox, patience))

        team = ThreadTeam(*[take] * threads)
        for count in range(number):
            while not channel.reading:
                resumed.clear()
                await resumed.wait()
            inbox.put(str(count))
        inbox.finish()
        await asyncio.to_thread(team.join)

        everything = [item for items in taken for item in items]
        assert everything.count(END) == 1
        assert sorted(map(int, (item for item in everything if item is not END))) == list(
            range(number)
        )
        for items in taken:
            numbers = [int(item) for item in items if item is not END]
            assert numbers == sorted(numbers)
        assert channel.pauses > 0

    run(main())


@pytest.mark.usefixtures("busy_threads")
def test_tasks_and_threads_take_from_one_inbox(run: Run) -> None:
    number = 5000

    async def main() -> None:
        loop = asyncio.get_running_loop()
        bridge = LoopBridge(loop)
        channel = MemoryChannel(loop, Limits(inbox_messages=8))
        inbox = channel.inbox
        resumed = asyncio.Event()

        def resume() -> None:
            channel.resume_reading()
            resumed.set()

        inbox.bridge = cast("LoopBridge", SimpleNamespace(call=lambda _: bridge.call(resume)))
        taken: list[Item] = []

        async def take_in_task() -> None:
            while True:
                await inbox.wait_for_item()
                try:
                    taken.append(inbox.take())
                except IndexError:  # a thread was faster
                    if inbox.ended:
                        return
                await asyncio.sleep(0)

        team = ThreadTeam(*[lambda: taken.extend(take_in_thread(inbox, None))] * 2)
        tasks = [asyncio.ensure_future(take_in_task()) for _ in range(2)]
        for count in range(number):
            while not channel.reading:
                resumed.clear()
                await resumed.wait()
            inbox.put(str(count))
            if count % 5 == 0:
                await asyncio.sleep(0)
        inbox.finish()
        await asyncio.gather(*tasks)
        await asyncio.to_thread(team.join)

        assert taken.count(END) == 1
        assert sorted(int(item) for item in taken if item is not END) == list(range(number))

    run(main())
