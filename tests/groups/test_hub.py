"""The hub: who joins and leaves when, and how gaps in a history are filled."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from adwebsocket import ConnectionClosed
from adwebsocket.groups import Closing, Envelope, GroupsUnavailable, Position, Recovery
from adwebsocket.groups import hub as hub_module
from adwebsocket.groups.counts import counts
from adwebsocket.groups.hub import Hub
from adwebsocket.groups.membership import Membership
from adwebsocket.groups.memory import MemoryBackend
from adwebsocket.groups.options import GroupsConfig
from adwebsocket.groups.roster import Roster
from tests.connections import RecordingChannel, on_event_loop
from tests.groups.nodes import Node
from tests.groups.scripted import EPOCH, LOST, Stage, count_alive, kept, missed, settle, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub look at once for what is missing, so that nothing takes time."""
    monkeypatch.setattr(hub_module, "_PATIENCE", 0)


def future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


# Subscriptions: one for each group, as long as it has members


@on_event_loop
async def test_group_is_subscribed_once_for_all_members_and_not_longer() -> None:
    stage = Stage()
    first, second = await stage.join(), await stage.join()
    await stage.hub.leave(first, "room")
    assert stage.script.calls == ["start", "subscribe room"]
    second.end(1006, "")
    assert stage.script.calls == ["start", "subscribe room", "unsubscribe room"]
    await stage.join()
    assert stage.script.calls[-1] == "subscribe room"


@on_event_loop
async def test_members_that_join_at_once_wait_for_the_same_subscription() -> None:
    stage = Stage()
    stage.script.subscribed = future()
    channels = [stage.channel() for _ in range(3)]
    joining = [stage.joining(channel) for channel in channels]
    await settle()
    assert not any(task.done() for task in joining)
    stage.script.subscribed.set_result(None)
    await asyncio.gather(*joining)
    await stage.receive("1")
    assert [channel.written for channel in channels] == [["1"]] * 3
    assert stage.script.calls.count("subscribe room") == 1


@on_event_loop
async def test_subscription_that_fails_is_tried_again_by_the_next_member() -> None:
    stage = Stage()
    stage.script.subscribed = future()
    joining = [stage.joining(stage.channel()) for _ in range(3)]
    await settle()
    stage.script.subscribed.set_exception(GroupsUnavailable("no way"))
    for task in joining:
        with pytest.raises(GroupsUnavailable, match="no way"):
            await task
    assert stage.hub.groups() == []
    assert stage.script.calls[-1] == "unsubscribe room"
    stage.script.subscribed = None
    channel = await stage.join()
    await stage.receive("1")
    assert channel.written == ["1"]


@on_event_loop
async def test_failure_that_nobody_waits_for_is_not_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    stage.script.subscribed = future()
    channel = stage.channel()
    joining = stage.joining(channel)
    await settle()
    joining.cancel()
    stage.script.subscribed.set_exception(GroupsUnavailable("no way"))
    with pytest.raises(asyncio.CancelledError):
        await joining
    await settle()
    del joining, stage
    count_alive(Hub)
    assert caplog.records == []


@on_event_loop
async def test_history_that_cannot_be_read_lets_nobody_in() -> None:
    stage = Stage(history=10)
    stage.script.recover_answers.append(GroupsUnavailable("no way"))
    with pytest.raises(GroupsUnavailable):
        await stage.join(since=0)
    assert stage.hub.groups() == []


# Who changes its mind while it joins


@on_event_loop
async def test_join_that_is_cancelled_leaves_nothing_and_disturbs_nobody() -> None:
    stage = Stage()
    stage.script.subscribed = future()
    first, second = stage.channel(), stage.channel()
    joining = stage.joining(first), stage.joining(second)
    await settle()
    joining[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining[0]
    assert first.memberships == {}
    stage.script.subscribed.set_result(None)
    await joining[1]
    await stage.receive("1")
    assert (first.written, second.written) == ([], ["1"])


@on_event_loop
async def test_only_member_that_is_cancelled_takes_the_subscription_along() -> None:
    stage = Stage()
    stage.script.subscribed = future()
    joining = stage.joining(stage.channel())
    await settle()
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
    assert stage.hub.groups() == []
    assert stage.script.calls[-1] == "unsubscribe room"


@on_event_loop
async def test_connection_that_ends_while_it_joins_is_told_so() -> None:
    stage = Stage()
    stage.script.subscribed = future()
    channel = stage.channel()
    joining = stage.joining(channel)
    await settle()
    channel.end(4001, "went away")
    with pytest.raises(ConnectionClosed) as caught:
        await joining
    assert (caught.value.code, caught.value.reason) == (4001, "went away")
    assert stage.hub.groups() == []
    assert channel.memberships == {}


@on_event_loop
async def test_connection_that_ends_while_its_history_is_read_is_told_so() -> None:
    stage = Stage(history=10)
    answer = future()
    stage.script.recover_answers.append(answer)
    channel = stage.channel()
    joining = stage.joining(channel, since=0)
    await settle()
    channel.end(1006, "")
    answer.set_result(missed(1, 2))
    with pytest.raises(ConnectionClosed):
        await joining
    assert channel.written == []


@on_event_loop
async def test_member_that_leaves_while_it_joins_is_out() -> None:
    stage = Stage()
    stage.script.subscribed = future()
    channel = stage.channel()
    joining = stage.joining(channel, positions=True)
    await settle()
    await stage.hub.leave(channel, "room")
    assert await joining == (None, None)
    await stage.receive("1")
    assert channel.written == []
    assert stage.hub.groups() == []


@on_event_loop
async def test_member_that_leaves_while_its_history_is_read_gets_none_of_it() -> None:
    stage = Stage(history=10)
    answer = future()
    stage.script.recover_answers.append(answer)
    channel = stage.channel()
    joining = stage.joining(channel, since=0, positions=True)
    await settle()
    await stage.hub.leave(channel, "room")
    answer.set_result(missed(1, 2))
    await joining
    assert channel.written == []


@on_event_loop
async def test_member_that_leaves_while_it_joins_and_comes_again_at_once_is_in() -> None:
    stage = Stage()
    stage.script.subscribed = future()
    channel = stage.channel()
    before = stage.joining(channel)
    await settle()
    await stage.hub.leave(channel, "room")
    after = stage.joining(channel)
    await settle()
    stage.script.subscribed.set_result(None)
    await asyncio.gather(before, after)
    await stage.receive("1")
    assert channel.written == ["1"]
    assert stage.script.calls == [
        *("start", "subscribe room", "unsubscribe room", "subscribe room")
    ]


@on_event_loop
async def test_member_may_join_twice_at_once() -> None:
    stage = Stage()
    stage.script.subscribed = future()
    channel = stage.channel()
    joining = stage.joining(channel, presence=1), stage.joining(channel, presence=2)
    await settle()
    stage.script.subscribed.set_result(None)
    await asyncio.gather(*joining)
    await stage.receive("1")
    assert channel.written == ["1"]
    assert stage.hub.presences("room") == [2]


@on_event_loop
async def test_connection_that_is_over_or_arguments_that_are_wrong_open_no_group() -> None:
    stage = Stage()
    channel = stage.channel()
    for options in ({"since": -1}, {"since": 1.5}, {"since": True}, {"slow": "wait"}):
        with pytest.raises(ValueError, match=r"since|slow"):
            await stage.hub.join(channel, "room", **options)
    with pytest.raises(ValueError, match="name of a group"):
        await stage.hub.join(channel, "not a name")
    channel.end(1001, "bye")
    with pytest.raises(ConnectionClosed, match="1001"):
        await stage.hub.join(channel, "room")
    assert stage.script.calls == ["start"]


# Gaps


async def begin_at(stage: Stage, offset: int, **options: Any) -> RecordingChannel:
    stage.begin_history(offset)
    return await stage.join(**options)


@on_event_loop
async def test_what_is_missing_is_read_and_delivered_in_its_place() -> None:
    stage = Stage(history=10)
    channel = await begin_at(stage, 1)
    stage.script.recover_answers.append(missed(3, 5))
    await stage.receive(kept(2), kept(5), kept(6))
    assert channel.written == [*"23456"]
    assert stage.script.calls[-1] == ("recover", Position(EPOCH, 2))


@on_event_loop
async def test_what_comes_twice_or_late_is_delivered_once() -> None:
    stage = Stage(history=10)
    channel = await begin_at(stage, 0)
    await stage.receive(kept(1), kept(1), kept(2), kept(1), kept(3), kept(2))
    assert channel.written == [*"123"]


@on_event_loop
async def test_order_is_restored_where_the_history_has_it() -> None:
    stage = Stage(history=10)
    channel = await begin_at(stage, 0)
    stage.script.recover_answers.append(missed(1, 3))
    await stage.receive(kept(3), kept(1), kept(2), kept(4))
    assert channel.written == [*"1234"]


@on_event_loop
async def test_what_comes_while_the_gap_is_filled_stands_behind_it() -> None:
    stage = Stage(history=10)
    channel = await begin_at(stage, 0)
    answer = future()
    stage.script.recover_answers.append(answer)
    await stage.receive(kept(2), kept(3), kept(4))
    assert channel.written == []
    answer.set_result(missed(1, 3))
    await stage.receive(kept(5))
    assert channel.written == [*"12345"]


@on_event_loop
async def test_gap_among_what_comes_while_one_is_filled_is_filled_too() -> None:
    stage = Stage(history=20)
    channel = await begin_at(stage, 0)
    answer = future()
    stage.script.recover_answers += [answer, missed(4, 8)]
    await stage.receive(kept(2), kept(3), kept(6), kept(8))
    answer.set_result(missed(1, 3))
    await stage.receive(kept(9))
    assert channel.written == [*"123456789"]


@on_event_loop
async def test_connection_that_is_lost_again_while_a_gap_is_filled_is_looked_after_again() -> None:
    stage = Stage(history=20)
    channel = await begin_at(stage, 0)
    answer = future()
    stage.script.recover_answers += [answer, missed(3, 4)]
    stage.hub.resume(["room"])
    await settle()
    stage.hub.resume(["room"])
    answer.set_result(missed(1, 2))
    await settle()
    assert channel.written == [*"1234"]


@on_event_loop
async def test_reconnect_reads_what_was_missed_without_waiting_for_a_message() -> None:
    stage = Stage(history=10)
    channel = await begin_at(stage, 3)
    stage.script.recover_answers.append(missed(4, 5))
    stage.hub.resume(["room"])
    await settle()
    assert channel.written == ["4", "5"]
    await stage.receive(kept(5), kept(6))
    assert channel.written == ["4", "5", "6"]


@on_event_loop
async def test_gap_that_cannot_be_filled_is_told_and_counted_and_passed_over() -> None:
    stage = Stage(history=10)
    channel = await begin_at(stage, 0, gap="gap")
    before = counts.gaps
    stage.script.recover_answers.append(LOST)
    await stage.receive(kept(7), kept(8))
    assert channel.written == ["gap", "7", "8"]
    assert counts.gaps == before + 1


@pytest.mark.parametrize(
    ("error", "level"), [(GroupsUnavailable("no way"), "WARNING"), (TypeError("fault"), "ERROR")]
)
def test_history_that_cannot_be_read_is_a_gap_and_not_the_end(
    error: Exception, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    @on_event_loop
    async def run() -> None:
        stage = Stage(history=10)
        channel = await begin_at(stage, 0, gap="gap")
        stage.script.recover_answers.append(error)
        await stage.receive(kept(2), kept(3))
        await stage.receive(kept(4))
        assert channel.written == ["gap", "2", "3", "4"]

    run()
    (record,) = caplog.records
    assert record.levelname == level
    assert "room" in record.message


@on_event_loop
async def test_history_that_begins_anew_is_a_gap() -> None:
    stage = Stage(history=10)
    channel = await begin_at(stage, 5, gap="gap")
    stage.script.recover_answers.append(Recovery([], Position("new", 1), False))
    await stage.receive(kept(6), kept(1, "new"), kept(2, "new"))
    assert channel.written == ["6", "gap", "1", "2"]


@on_event_loop
async def test_history_that_knows_less_than_has_come_is_not_asked_for_ever() -> None:
    stage = Stage(history=10)
    channel = await begin_at(stage, 0, gap="gap")
    stage.script.recover_answers.append(missed(1, 2))
    await stage.receive(kept(5), kept(6))
    assert channel.written == ["1", "2", "gap", "5", "6"]
    assert stage.script.recover_answers == []


@on_event_loop
async def test_history_that_knows_all_but_the_message_itself_leaves_no_gap() -> None:
    stage = Stage(history=10)
    channel = await begin_at(stage, 0, gap="gap")
    stage.script.recover_answers.append(missed(1, 2))
    await stage.receive(kept(3), kept(1), kept(4))
    assert channel.written == [*"1234"]


@on_event_loop
async def test_what_was_seen_before_a_gap_does_not_come_again_behind_it() -> None:
    stage = Stage(history=10)
    channel = await begin_at(stage, 0, gap="gap")
    stage.script.recover_answers.append(LOST)
    await stage.receive(kept(1), kept(5), kept(1), kept(6))
    assert channel.written == ["1", "gap", "5", "6"]


@on_event_loop
async def test_two_members_with_different_positions_get_what_each_has_missed() -> None:
    stage = Stage(history=10)
    stage.script.recover_answers += [missed(2, 4), missed(4, 5)]
    first = await stage.join(since=1)
    second = await stage.join(since=3)
    await stage.receive(kept(5), kept(6))
    assert first.written == [*"23456"]
    assert second.written == [*"456"]


@on_event_loop
async def test_member_that_joins_while_a_gap_is_filled_gets_each_message_once() -> None:
    stage = Stage(history=10)
    first = await begin_at(stage, 0)
    answer = future()
    stage.script.recover_answers += [answer, missed(1, 3)]
    await stage.receive(kept(2))
    second = await stage.join(since=0)
    assert second.written == [*"123"]
    answer.set_result(missed(1, 3))
    await stage.receive(kept(3), kept(4))
    assert first.written == second.written == [*"1234"]


@on_event_loop
async def test_member_that_joins_in_a_newer_history_gets_nothing_of_the_one_before() -> None:
    stage = Stage(history=10)
    first = await begin_at(stage, 0, gap="gap")
    answer: asyncio.Future[Recovery] = asyncio.get_running_loop().create_future()
    joined = Recovery([], Position("third", 0), False)
    stage.script.recover_answers = [answer, joined, LOST]
    await stage.receive(kept(1, "second"), kept(2, "second"))
    await until(lambda: ("recover", Position(EPOCH, 0)) in stage.script.calls)
    second = await stage.join(since="second-2")
    answer.set_result(LOST)
    await until(lambda: first.written)
    await stage.receive(kept(1, "third"))
    await until(lambda: "1" in second.written)
    assert second.written == ["1"]
    assert first.written[:3] == ["gap", "1", "2"]


@on_event_loop
async def test_member_that_joins_after_a_gap_takes_nothing_from_the_others() -> None:
    stage = Stage(history=10)
    first = await begin_at(stage, 0)
    stage.script.recover_answers.append(LOST)
    stage.hub.resume(["room"])
    await settle()
    # Three are on their way when the second one asks where the history stands.
    second = await begin_at(stage, 3)
    await stage.receive(kept(1), kept(2), kept(3), kept(4))
    assert first.written == [*"1234"]
    assert second.written == ["4"]


@on_event_loop
async def test_group_without_a_history_only_tells_that_there_was_a_gap() -> None:
    stage = Stage()
    channel = await stage.join(gap="gap")
    stage.hub.resume(["room"])
    await stage.receive("1")
    assert channel.written == ["gap", "1"]
    assert stage.script.calls == ["start", "subscribe room"]


# Orders, and messages that are not for us


@on_event_loop
async def test_order_to_close_is_followed_by_all_members_of_the_group() -> None:
    stage = Stage()
    first, second = await stage.join(), await stage.join(writable=False)
    await stage.hub.join(first, "other")
    await stage.receive("1", Closing("room", None, 4000, "over"), "2")
    assert first.closes == second.closes == [(4000, "over")]
    assert first.written == ["1"]
    assert stage.hub.groups() == []


@on_event_loop
async def test_what_nobody_here_is_in_costs_nothing() -> None:
    stage = Stage()
    received = counts.received
    await stage.receive(
        Envelope("nobody", "x"), Closing("nobody", None, 1000, ""), Closing(None, None, 1000, "")
    )
    assert counts.received == received
    await stage.hub.leave(stage.channel(), "nobody")


@on_event_loop
async def test_excluded_member_gets_nothing_and_the_others_do() -> None:
    stage = Stage()
    sender, other, slow = await stage.join(), await stage.join(), await stage.join(writable=False)
    assert sender.memberships is not None
    assert slow.memberships is not None
    await stage.receive(
        Envelope("room", "1", exclude=sender.memberships["room"].address),
        Envelope("room", "2", exclude=slow.memberships["room"].address),
        Envelope("room", "3", exclude="00ff.1"),
    )
    slow.set_writable(True)
    assert (sender.written, other.written) == (["2", "3"], ["1", "2", "3"])
    assert slow.written == ["1", "3"]


# The end


@on_event_loop
async def test_hub_that_stops_lets_those_go_who_still_wait() -> None:
    stage = Stage(history=10)
    member = await begin_at(stage, 0)
    stage.script.recover_answers.append(future())
    await stage.receive(kept(2))
    stage.script.subscribed = future()
    joining = asyncio.create_task(stage.hub.join(stage.channel(), "other"))
    await settle()
    await stage.hub.stop()
    with pytest.raises(GroupsUnavailable):
        await joining
    assert {"stop", "unsubscribe other"} <= set(stage.script.calls[-2:])
    # Members that are left end as ever.
    member.end(1001, "")
    assert stage.hub.groups() == []
    await stage.hub.stop()


@on_event_loop
async def test_thousand_memberships_leave_nothing_behind() -> None:
    before = count_alive(Membership, Roster, RecordingChannel)
    stage = Stage()

    async def come_and_go() -> None:
        channels = [stage.channel(writable=bool(number % 3)) for number in range(100)]
        for number, channel in enumerate(channels):
            for group in range(10):
                await stage.hub.join(channel, f"group.{(number + group) % 20}", presence=number)
        assert stage.hub.count_members() == 1000
        for group in range(20):
            await stage.receive(Envelope(f"group.{group}", "x"))
        for number, channel in enumerate(channels):
            if number % 2:
                channel.end(1006, "")
            else:
                for group in range(20):
                    await stage.hub.leave(channel, f"group.{group}")

    await come_and_go()
    await settle()
    assert stage.hub.groups() == []
    assert stage.hub.count_members() == 0
    assert count_alive(Membership, Roster, RecordingChannel) == before


# Several event loops


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    backend = MemoryBackend(GroupsConfig())
    nodes = [Node(backend), Node(backend)]
    yield nodes
    for node in nodes:
        node.stop()


@pytest.mark.usefixtures("busy_threads")
def test_what_is_sent_while_a_member_is_in_arrives_and_nothing_else(nodes: list[Node]) -> None:
    """Members come and go on two loops while two threads send; each one's own order is kept."""
    stop = threading.Event()
    sent = {"a": 0, "b": 0}

    def send(name: str) -> None:
        while not stop.is_set():
            number = sent[name] + 1
            nodes[0].backend.publish(Envelope("room", f"{name}{number}"))
            sent[name] = number
            stop.wait(0.0005)

    def visit(node: Node) -> None:
        for _ in range(60):
            before_join = dict(sent)
            member = node.join("room")
            joined = dict(sent)
            while any(sent[name] < joined[name] + 3 for name in sent):
                stop.wait(0.0005)
            leaving = dict(sent)
            member.leave("room")
            left = dict(sent)
            received = member.received
            for name in sent:
                own = [int(text[1:]) for text in map(str, received) if text[0] == name]
                assert own == list(range(own[0], own[-1] + 1))
                # What is under way while join() or leave() runs may be in or not. The number is
                # written down behind its message, so one more may be.
                assert before_join[name] < own[0] <= joined[name] + 2
                assert own[-1] <= left[name] + 1
                # leave() follows what was sent before it, on the way to the loop.
                assert own[-1] >= leaving[name]
            assert member.received == received

    senders = [threading.Thread(target=send, args=[name]) for name in sent]
    errors: list[BaseException] = []

    def guard(node: Node) -> None:
        try:
            visit(node)
        except BaseException as error:
            errors.append(error)

    visitors = [threading.Thread(target=guard, args=[node]) for node in nodes]
    for thread in senders + visitors:
        thread.start()
    for thread in visitors:
        thread.join(30)
    stop.set()
    for thread in senders:
        thread.join()
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in visitors)


def test_fault_of_one_message_does_not_hold_up_the_next(
    nodes: list[Node], caplog: pytest.LogCaptureFixture
) -> None:
    member = nodes[0].join("room")
    backend = nodes[0].backend
    with caplog.at_level(logging.ERROR):
        nodes[0].hub.receive(object())  # type: ignore[arg-type]
        backend.publish(Envelope("room", "x"))
        member.has_received("x")
