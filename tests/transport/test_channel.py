"""What every channel has from the base: how it ends, who is woken, and who waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from event_loops import let_others_run
from memory_channel import MemoryChannel

from adwebsocket.transport.channel import Channel
from adwebsocket.transport.inbox import END
from adwebsocket.transport.limits import Limits

if TYPE_CHECKING:
    from event_loops import Run


def new_channel() -> MemoryChannel:
    return MemoryChannel(asyncio.get_running_loop())


def test_channel_without_the_verbs_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Channel(asyncio.new_event_loop, Limits())  # type: ignore[abstract, arg-type]


def test_new_channel_is_unanswered_writable_and_not_over(run: Run) -> None:
    async def main() -> None:
        channel = new_channel()
        assert (channel.accepted, channel.refused, channel.ended) == (False, False, False)
        assert (channel.close_code, channel.close_reason) == (None, "")
        assert channel.subprotocol is None
        assert channel.writable

    run(main())


def test_end_settles_code_and_reason_and_stands_behind_the_messages(run: Run) -> None:
    async def main() -> None:
        channel = new_channel()
        channel.inbox.put("last")
        channel.end(1001, "bye")

        assert channel.ended
        assert (channel.close_code, channel.close_reason) == (1001, "bye")
        assert [channel.inbox.take(), channel.inbox.take()] == ["last", END]

    run(main())


def test_second_end_changes_nothing(run: Run) -> None:
    async def main() -> None:
        channel = new_channel()
        channel.end(1001, "bye")
        channel.end(1006, "lost")

        assert (channel.close_code, channel.close_reason) == (1001, "bye")
        assert len(channel.inbox.items) == 1

    run(main())


def test_code_and_reason_are_known_to_whoever_is_woken(run: Run) -> None:
    async def main() -> None:
        channel, seen = new_channel(), []
        channel.senders.append(lambda _: seen.append(channel.close_code))
        channel.inbox.waiters.append(lambda _: seen.append(channel.close_code))
        channel.end(1001, "")

        assert seen == [1001, 1001]

    run(main())


def test_draining_a_writable_channel_does_not_wait(run: Run) -> None:
    async def main() -> None:
        channel = new_channel()
        await channel.drain()
        assert not channel.senders

    run(main())


@pytest.mark.parametrize("occasion", ["writable", "ended"])
def test_draining_ends_for_all_when_there_is_room_or_no_connection(run: Run, occasion: str) -> None:
    async def main() -> None:
        channel = new_channel()
        channel.set_writable(False)
        tasks = [asyncio.ensure_future(channel.drain()) for _ in range(3)]
        await let_others_run()
        assert not any(task.done() for task in tasks)

        if occasion == "writable":
            channel.set_writable(True)
        else:
            channel.end(1006, "")
        await asyncio.gather(*tasks)

        assert not channel.senders

    run(main())


def test_draining_goes_on_where_the_room_was_gone_at_once(run: Run) -> None:
    async def main() -> None:
        channel = new_channel()
        channel.set_writable(False)
        task = asyncio.ensure_future(channel.drain())
        await let_others_run()
        channel.set_writable(True)
        channel.set_writable(False)
        await let_others_run()
        assert not task.done()

        channel.set_writable(True)
        await task

    run(main())


def test_waiting_for_the_end_sleeps_through_everything_else(run: Run) -> None:
    async def main() -> None:
        channel = new_channel()
        tasks = [asyncio.ensure_future(channel.wait_ended()) for _ in range(3)]
        for writable in (False, True, False):
            channel.set_writable(writable)
            channel.inbox.put("x")
            await let_others_run()
        assert not any(task.done() for task in tasks)

        channel.end(1000, "")
        await asyncio.gather(*tasks)
        await channel.wait_ended()

    run(main())


def test_cancelled_waiter_leaves_the_queue_and_takes_nobody_with_it(run: Run) -> None:
    async def main() -> None:
        channel = new_channel()
        channel.set_writable(False)
        first, second, third = (asyncio.ensure_future(channel.drain()) for _ in range(3))
        await let_others_run()
        first.cancel()
        await let_others_run()
        assert len(channel.senders) == 2

        # Cancelled in the very turn in which it is woken.
        second.cancel()
        channel.set_writable(True)
        await third

        assert first.cancelled()
        assert second.cancelled()
        assert not channel.senders

    run(main())


def test_configured_limits_reach_the_inbox(run: Run) -> None:
    async def main() -> None:
        channel = new_channel()
        limits = Limits(inbox_messages=1)
        channel.configure(limits)
        channel.inbox.put("x")
        assert channel.reading
        channel.inbox.put("y")

        assert not channel.reading
        assert channel.limits is limits

    run(main())
