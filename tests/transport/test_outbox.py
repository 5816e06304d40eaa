"""The outbox: what threads send keeps its order, and who sends too much waits, not for ever."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from event_loops import go_round, let_others_run
from interleaving import interruptions
from memory_channel import MemoryChannel
from thread_team import ThreadTeam

from adwebsocket.transport.bridge import LoopBridge
from adwebsocket.transport.limits import Limits
from adwebsocket.transport.outbox import Outbox
from adwebsocket.transport.waiting import ThreadWaiter
from tests.connections import wait_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from event_loops import Run


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give a loop whose turns are played by ``go_round``."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Sender:
    """A channel, its outbox, and a thread that waits for room in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int = 100) -> None:
        self.channel = MemoryChannel(loop, Limits(outbox_bytes=limit))
        self.bridge = LoopBridge(loop)
        self.outbox = Outbox(self.channel, self.bridge)
        self._parked = threading.Event()

    def new_waiter(self) -> ThreadWaiter:
        """Make the waiter of the thread; what is about to park has asked for one."""
        self._parked.set()
        return ThreadWaiter()

    def wait_in_thread(self) -> ThreadTeam:
        team = ThreadTeam(partial(wait_on, self.new_waiter, self.outbox.wait_for_room))
        assert self._parked.wait(60)
        return team


def test_messages_are_written_on_the_loop_in_their_order(loop: asyncio.AbstractEventLoop) -> None:
    sender = Sender(loop)
    for number in range(5):
        sender.outbox.put(number, 1)
    assert sender.channel.written == []

    go_round(loop)
    assert sender.channel.written == [0, 1, 2, 3, 4]

    sender.outbox.put(5, 1)
    go_round(loop)
    assert sender.channel.written == [0, 1, 2, 3, 4, 5]


def test_message_goes_before_the_close_that_was_called_behind_it(
    loop: asyncio.AbstractEventLoop,
) -> None:
    sender = Sender(loop)
    sender.outbox.put("last words", 10)
    sender.bridge.call(sender.channel.close)
    go_round(loop)

    assert sender.channel.written == ["last words"]


def test_message_behind_the_end_is_dropped(loop: asyncio.AbstractEventLoop) -> None:
    sender = Sender(loop)
    sender.channel.end(1000, "")
    sender.outbox.put("late", 4)
    go_round(loop)

    assert sender.channel.written == []
    assert sender.outbox.has_room()


def test_there_is_room_up_to_the_limit_until_the_loop_has_written(
    loop: asyncio.AbstractEventLoop,
) -> None:
    sender = Sender(loop, limit=100)
    room = []
    for size in (60, 40, 1):
        sender.outbox.put(b"", size)
        room.append(sender.outbox.has_room())
    go_round(loop)
    room.append(sender.outbox.has_room())

    assert room == [True, True, False, True]


def test_there_is_no_room_while_the_peer_is_slow(loop: asyncio.AbstractEventLoop) -> None:
    sender = Sender(loop)
    room = [sender.outbox.has_room()]
    sender.channel.set_writable(False)
    room.append(sender.outbox.has_room())
    sender.channel.set_writable(True)
    room.append(sender.outbox.has_room())

    assert room == [True, False, True]


def test_sender_goes_on_at_once_where_there_is_room(loop: asyncio.AbstractEventLoop) -> None:
    sender = Sender(loop)
    sender.outbox.wait_for_room()

    assert not sender.channel.senders


# Senders in threads


def test_sender_above_the_limit_waits_until_the_loop_has_written(run: Run) -> None:
    async def main() -> None:
        sender = Sender(asyncio.get_running_loop(), limit=10)
        sender.outbox.put("long", 11)
        # This coroutine holds the loop, so nothing is written while the thread begins to wait.
        team = sender.wait_in_thread()
        assert sender.channel.written == []
        await asyncio.to_thread(team.join)

        assert sender.channel.written == ["long"]
        assert not sender.channel.senders

    run(main())


def test_sender_to_a_slow_peer_waits_until_it_keeps_up(run: Run) -> None:
    async def main() -> None:
        sender = Sender(asyncio.get_running_loop())
        sender.channel.set_writable(False)
        team = sender.wait_in_thread()
        sender.outbox.put("more", 4)
        await let_others_run()
        assert sender.channel.written == ["more"], "writing alone does not make room"
        assert not sender.outbox.has_room()

        sender.channel.set_writable(True)
        await asyncio.to_thread(team.join)

        assert not sender.channel.senders

    run(main())


def test_all_senders_go_on_when_the_connection_ends(run: Run) -> None:
    async def main() -> None:
        sender = Sender(asyncio.get_running_loop())
        sender.channel.set_writable(False)
        teams = [sender.wait_in_thread() for _ in range(4)]
        sender.channel.end(1006, "")
        for team in teams:
            await asyncio.to_thread(team.join)

        assert not sender.channel.senders

    run(main())


@pytest.mark.parametrize("occasion", ["written", "writable", "ended"])
@pytest.mark.parametrize("waiter_first", [True, False], ids=["thread", "loop"])
def test_no_sender_is_left_waiting_whichever_side_is_interrupted_where(
    loop: asyncio.AbstractEventLoop, occasion: str, waiter_first: bool
) -> None:
    for interruption in interruptions():
        sender = Sender(loop, limit=10)
        waits = []

        class WaiterThatNeverParks(ThreadWaiter):
            """Note that the thread would park, and for which waiter, and go on."""

            __slots__ = ()

            def park(self, timeout: float | None, waits: list[Any] = waits) -> bool:
                waits.append(super().park)
                raise TimeoutError

        def wait(sender: Sender = sender, new: type[ThreadWaiter] = WaiterThatNeverParks) -> None:
            try:
                wait_on(new, sender.outbox.wait_for_room)
            except TimeoutError:
                pass

        if occasion == "written":
            sender.outbox.put("x" * 11, 11)
            change = partial(go_round, loop)
        else:
            sender.channel.set_writable(False)
            change = (
                partial(sender.channel.set_writable, True)
                if occasion == "writable"
                else partial(sender.channel.end, 1006, "")
            )
        first, second = (wait, change)[:: 1 if waiter_first else -1]
        interruption.run(first, second, blocked=sender.outbox._lock.locked)
        go_round(loop)

        assert sender.outbox.has_room()
        assert all(park(0) for park in waits), "a wake-up was lost"


def test_no_message_is_left_behind_when_two_threads_send_at_once(
    loop: asyncio.AbstractEventLoop,
) -> None:
    for interruption in interruptions():
        sender = Sender(loop)
        interruption.run(
            partial(sender.outbox.put, 1, 1),
            partial(sender.outbox.put, 2, 1),
            blocked=sender.outbox._lock.locked,
        )
        go_round(loop)

        assert sorted(sender.channel.written) == [1, 2]


def test_no_message_is_left_behind_when_a_thread_sends_while_the_loop_writes(
    loop: asyncio.AbstractEventLoop,
) -> None:
    for interruption in interruptions():
        sender = Sender(loop)
        sender.outbox.put(1, 1)
        interruption.run(
            partial(go_round, loop),
            partial(sender.outbox.put, 2, 1),
            blocked=sender.outbox._lock.locked,
        )
        go_round(loop)

        assert sender.channel.written == [1, 2]


def test_threads_own_message_goes_before_its_close_whatever_another_thread_sends(
    loop: asyncio.AbstractEventLoop,
) -> None:
    for interruption in interruptions():
        sender = Sender(loop)

        def send_and_close(sender: Sender = sender) -> None:
            sender.outbox.put("last words", 10)
            sender.bridge.call(sender.channel.close)

        interruption.run(
            partial(sender.outbox.put, "of another thread", 1),
            send_and_close,
            blocked=sender.outbox._lock.locked,
        )
        go_round(loop)

        assert "last words" in sender.channel.written


@pytest.mark.usefixtures("busy_threads")
def test_threads_send_to_a_peer_that_is_slow_now_and_then(run: Run) -> None:
    number = 5000

    async def main() -> None:
        sender = Sender(asyncio.get_running_loop(), limit=20)

        def send(thread: int) -> None:
            for count in range(number):
                sender.outbox.put((thread, count), 3)
                if not sender.outbox.has_room():
                    sender.outbox.wait_for_room()

        team = ThreadTeam(*[partial(send, thread) for thread in range(4)])
        waiting = asyncio.ensure_future(asyncio.to_thread(team.join))
        while not waiting.done():
            sender.channel.set_writable(False)
            await let_others_run(2)
            sender.channel.set_writable(True)
            await let_others_run(2)
        await waiting

        written = sender.channel.written
        assert len(written) == 4 * number
        for thread in range(4):
            assert [count for who, count in written if who == thread] == list(range(number))

    run(main())
