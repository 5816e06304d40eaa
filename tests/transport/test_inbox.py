"""The inbox on its loop: order, the end, water marks, and tasks that wait or are cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import pytest
from event_loops import let_others_run
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_channel import MemoryChannel

from adwebsocket.transport.inbox import END, Inbox
from adwebsocket.transport.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from event_loops import Run

    from adwebsocket.transport.inbox import Item

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give a loop for inboxes that nobody waits at."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def new_channel(loop: asyncio.AbstractEventLoop) -> Callable[..., MemoryChannel]:
    """Give a function that makes a channel with limits, whose inbox is taken from on the loop."""

    def new(**limits: int) -> MemoryChannel:
        return MemoryChannel(loop, Limits(**limits))

    return new


NewChannel = "Callable[..., MemoryChannel]"


async def new_inbox(**limits: int) -> Inbox:
    channel = MemoryChannel(asyncio.get_running_loop(), Limits(**limits))
    return channel.inbox


def take_all(inbox: Inbox) -> list[Item]:
    return [inbox.take() for _ in range(len(inbox.items))]


# Order and the end


def test_messages_are_taken_in_their_order_and_the_end_behind_them(
    new_channel: NewChannel,
) -> None:
    inbox = new_channel().inbox
    for message in ("one", b"two", ""):
        inbox.put(message)
    inbox.finish()

    assert take_all(inbox) == ["one", b"two", "", END]


def test_taking_from_an_empty_inbox_raises(new_channel: NewChannel) -> None:
    inbox = new_channel().inbox
    with pytest.raises(IndexError):
        inbox.take()
    inbox.finish()
    inbox.take()

    with pytest.raises(IndexError):
        inbox.take()


def test_message_behind_the_end_is_ignored(new_channel: NewChannel) -> None:
    inbox = new_channel().inbox
    inbox.finish()
    inbox.put("late")

    assert take_all(inbox) == [END]


def test_second_end_is_ignored(new_channel: NewChannel) -> None:
    inbox = new_channel().inbox
    inbox.finish()
    inbox.finish()

    assert take_all(inbox) == [END]


def test_end_is_no_message_when_counting(new_channel: NewChannel) -> None:
    inbox = new_channel().inbox
    counts = [inbox.count()]
    inbox.put("one")
    inbox.put("two")
    counts.append(inbox.count())
    inbox.finish()
    counts.append(inbox.count())
    while inbox.items:
        inbox.take()
        counts.append(inbox.count())

    assert counts == [0, 2, 2, 1, 0, 0]


# Water marks


def test_reading_pauses_above_the_number_of_messages_and_resumes_at_half(
    new_channel: NewChannel,
) -> None:
    channel = new_channel(inbox_messages=4)
    reading = []
    for _ in range(7):
        channel.inbox.put("x")
        reading.append(channel.reading)
    for _ in range(7):
        channel.inbox.take()
        reading.append(channel.reading)

    assert reading == [True] * 4 + [False] * 3 + [False] * 4 + [True] * 3
    assert (channel.pauses, channel.resumes) == (1, 1)


def test_reading_pauses_above_the_number_of_bytes_and_resumes_at_half(
    new_channel: NewChannel,
) -> None:
    channel = new_channel(inbox_bytes=40)
    reading = []
    for message in ("x" * 30, b"y" * 10, "z", b"w" * 9):
        channel.inbox.put(message)
        reading.append(channel.reading)
    for _ in range(4):
        channel.inbox.take()
        reading.append(channel.reading)

    assert reading == [True, True, False, False, True, True, True, True]
    assert (channel.pauses, channel.resumes) == (1, 1)


def test_every_crossing_pauses_and_resumes_once(new_channel: NewChannel) -> None:
    channel = new_channel(inbox_messages=2)
    for crossings in range(1, 6):
        for _ in range(5):
            channel.inbox.put("x")
        assert (channel.pauses, channel.resumes) == (crossings, crossings - 1)
        take_all(channel.inbox)
        assert (channel.pauses, channel.resumes) == (crossings, crossings)


def test_message_larger_than_the_limit_pauses_until_it_is_taken(new_channel: NewChannel) -> None:
    channel = new_channel(inbox_bytes=10)
    channel.inbox.put(b"x" * 1000)
    assert not channel.reading

    channel.inbox.take()

    assert channel.reading


def test_bytes_that_were_taken_count_no_more(new_channel: NewChannel) -> None:
    channel = new_channel(inbox_bytes=100)
    for _ in range(1000):
        channel.inbox.put(b"x" * 60)
        channel.inbox.take()

    assert channel.pauses == 0


def test_end_needs_no_room(new_channel: NewChannel) -> None:
    channel = new_channel(inbox_messages=1)
    channel.inbox.put("x")
    channel.inbox.finish()

    assert channel.pauses == 0


@pytest.mark.parametrize("limits", [{"inbox_messages": 0}, {"inbox_bytes": 0}])
def test_limit_of_nothing_lets_one_message_through_at_a_time(
    new_channel: NewChannel, limits: dict[str, int]
) -> None:
    channel = new_channel(**limits)
    for crossings in range(1, 4):
        channel.inbox.put("x")
        assert (channel.pauses, channel.resumes) == (crossings, crossings - 1)
        channel.inbox.take()
        assert channel.reading


def test_new_limits_hold_from_the_next_message_on(new_channel: NewChannel) -> None:
    channel = new_channel(inbox_messages=1)
    channel.configure(Limits(inbox_messages=3))
    for _ in range(3):
        channel.inbox.put("x")
    assert channel.reading

    channel.configure(Limits(inbox_messages=1))
    channel.inbox.put("x")

    assert not channel.reading


@PROPERTY
@given(
    steps=st.lists(st.one_of(st.integers(0, 30), st.just("take")), max_size=60),
    most_messages=st.integers(0, 6),
    most_bytes=st.integers(0, 60),
)
def test_reading_is_paused_just_as_the_marks_say(
    steps: list[int | str], most_messages: int, most_bytes: int
) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    channel = MemoryChannel(loop, Limits(inbox_messages=most_messages, inbox_bytes=most_bytes))
    queued: list[int] = []
    reading = True
    for step in steps:
        if isinstance(step, int):
            queued.append(step)
            channel.inbox.put(b"x" * step)
            if len(queued) > most_messages or sum(queued) > most_bytes:
                reading = False
        elif queued:
            channel.inbox.take()
            queued.pop(0)
            if len(queued) <= most_messages // 2 and sum(queued) <= most_bytes // 2:
                reading = True
        assert channel.reading is reading


class MeasuredBytes(bytes):
    """Bytes that count how often somebody asks for their length."""

    asked: ClassVar[int] = 0

    def __len__(self) -> int:
        MeasuredBytes.asked += 1
        return super().__len__()


def test_messages_of_one_read_cost_the_same_however_many_they_are(
    new_channel: NewChannel,
) -> None:
    # A read holds 37,000 messages of one byte at the worst, and pausing cannot stop those.
    costs = []
    for number in (1000, 2000):
        channel = new_channel()
        MeasuredBytes.asked = 0
        for _ in range(number):
            channel.inbox.put(MeasuredBytes(b"x"))
        assert channel.pauses == 1
        costs.append(MeasuredBytes.asked / number)

    assert costs[1] <= costs[0] * 1.1


# Tasks that wait


def test_waiting_ends_when_a_message_comes(run: Run) -> None:
    async def main() -> None:
        inbox = await new_inbox()
        task = asyncio.ensure_future(inbox.wait_for_item())
        await let_others_run()
        assert not task.done()

        inbox.put("x")
        await task

        assert inbox.take() == "x"

    run(main())


def test_waiting_for_what_is_there_does_not_wait(run: Run) -> None:
    async def main() -> None:
        inbox = await new_inbox()
        inbox.put("x")
        await inbox.wait_for_item()
        inbox.take()
        inbox.finish()
        await inbox.wait_for_item()
        assert inbox.take() is END
        await inbox.wait_for_item()
        assert not inbox.waiters

    run(main())


async def take_next(inbox: Inbox) -> Item | None:
    """Take as the facades do; None when the end has been taken by somebody else."""
    await inbox.wait_for_item()
    return inbox.take() if inbox.items else None


def test_one_message_wakes_one_task(run: Run) -> None:
    async def main() -> None:
        inbox = await new_inbox()
        tasks = [asyncio.ensure_future(take_next(inbox)) for _ in range(3)]
        await let_others_run()
        for number, message in enumerate("abc", start=1):
            inbox.put(message)
            await let_others_run()
            assert sum(task.done() for task in tasks) == number

        assert [await task for task in tasks] == ["a", "b", "c"]

    run(main())


def test_end_wakes_all_tasks_and_one_of_them_sees_it(run: Run) -> None:
    async def main() -> None:
        inbox = await new_inbox()
        tasks = [asyncio.ensure_future(take_next(inbox)) for _ in range(5)]
        await let_others_run()
        inbox.put("x")
        inbox.finish()

        assert sorted(map(str, await asyncio.gather(*tasks))) == sorted(
            map(str, ["x", END, None, None, None])
        )

    run(main())


def test_several_tasks_take_every_message_once(run: Run) -> None:
    async def main() -> None:
        inbox = await new_inbox(inbox_messages=10)
        taken: list[Item] = []

        async def take_until_end() -> None:
            while (item := await take_next(inbox)) is not None:
                taken.append(item)

        tasks = [asyncio.ensure_future(take_until_end()) for _ in range(4)]
        for number in range(1000):
            inbox.put(str(number))
            if number % 7 == 0:
                await asyncio.sleep(0)
        inbox.finish()
        await asyncio.gather(*tasks)

        assert taken.count(END) == 1
        taken.remove(END)
        assert sorted(taken, key=str) == sorted(map(str, range(1000)))

    run(main())


def test_cancelled_task_leaves_the_queue(run: Run) -> None:
    async def main() -> None:
        inbox = await new_inbox()
        task = asyncio.ensure_future(inbox.wait_for_item())
        await let_others_run()
        assert len(inbox.waiters) == 1

        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert not inbox.waiters

    run(main())


def test_cancelling_loses_no_message(run: Run) -> None:
    async def main() -> None:
        inbox = await new_inbox()
        task = asyncio.ensure_future(take_next(inbox))
        await let_others_run()
        inbox.put("x")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert inbox.take() == "x"

    run(main())


def test_wake_up_for_a_cancelled_task_goes_to_the_next(run: Run) -> None:
    async def main() -> None:
        inbox = await new_inbox()
        tasks = [asyncio.ensure_future(take_next(inbox)) for _ in range(4)]
        await let_others_run()
        inbox.put("x")
        # The first has been woken and not run yet; the second is still in the queue.
        tasks[0].cancel()
        tasks[1].cancel()

        assert await tasks[2] == "x"
        assert not tasks[3].done()
        inbox.put("y")
        assert await tasks[3] == "y"

    run(main())


def test_every_order_of_messages_and_cancellations_leaves_nobody_waiting(run: Run) -> None:
    async def main() -> None:
        for pattern in range(1 << 6):
            inbox = await new_inbox()
            tasks = [asyncio.ensure_future(take_next(inbox)) for _ in range(3)]
            await let_others_run(1)
            cancelled = 0
            for step in range(3):
                # Two bits a step: cancel a task before or behind a message, let tasks run between.
                if pattern >> (2 * step) & 1:
                    cancelled += tasks[step].cancel()
                inbox.put(str(step))
                if pattern >> (2 * step) & 2:
                    await asyncio.sleep(0)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            taken = [result for result in results if isinstance(result, str)]

            assert len(taken) + inbox.count() == 3
            assert len(taken) >= 3 - cancelled
            assert not inbox.waiters

    run(main())


def test_timeout_that_meets_a_message_leaves_it_in_the_inbox(run: Run) -> None:
    async def main() -> None:
        inbox = await new_inbox()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await inbox.wait_for_item()
        inbox.put("x")

        assert take_all(inbox) == ["x"]
        assert not inbox.waiters

    run(main())
