"""One member: what reaches it while it keeps up, while it does not, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from adwebsocket.groups import Envelope, Position, Recovery
from adwebsocket.groups import hub as hub_module
from adwebsocket.groups.counts import counts
from adwebsocket.groups.membership import Backlog, Delivery, Membership, is_behind, number_of, wrap
from adwebsocket.groups.options import GroupOptions
from tests.connections import RecordingChannel, on_event_loop
from tests.groups.scripted import EPOCH, LOST, Stage, count_alive, kept, missed, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    Losses = Callable[[], dict[str, int]]


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub look at once for what is missing, so that nothing takes time."""
    monkeypatch.setattr(hub_module, "_PATIENCE", 0)


@pytest.fixture
def losses() -> Losses:
    """Give what was dropped since the test began, by reason."""
    before = Counter(counts.dropped)
    return lambda: dict(counts.dropped - before)


class SmallChannel(RecordingChannel):
    """A connection with room for a few messages at once, like a transport with a small buffer."""

    room = 3

    def write(self, prepared: str | bytes) -> None:
        super().write(prepared)
        if len(self.written) % self.room == 0:
            self.set_writable(False)


def small_channel() -> SmallChannel:
    channel = SmallChannel(asyncio.get_running_loop())
    channel.accept()
    return channel


def membership_of(channel: RecordingChannel) -> Any:
    assert channel.memberships is not None
    return channel.memberships["room"]


# Members that keep up, and members that are slow


@on_event_loop
async def test_member_that_becomes_writable_gets_the_rest_in_order(losses: Losses) -> None:
    stage = Stage()
    slow, quick = await stage.join(writable=False), await stage.join()
    await stage.receive("1", "2", "3")
    assert slow.written == []
    assert quick.written == ["1", "2", "3"]
    assert membership_of(slow).count_waiting() == 3
    slow.set_writable(True)
    assert slow.written == ["1", "2", "3"]
    await stage.receive("4")
    assert slow.written == quick.written == ["1", "2", "3", "4"]
    assert membership_of(slow).keeps_up
    assert losses() == {}


@on_event_loop
async def test_backlog_goes_out_as_far_as_the_peer_takes_it() -> None:
    stage = Stage()
    channel = small_channel()
    await stage.hub.join(channel, "room")
    await stage.receive(*"12345678")
    assert channel.written == [*"123"]
    channel.set_writable(True)
    assert channel.written == [*"123456"]
    await stage.receive("9")
    assert channel.written == [*"123456"]
    channel.set_writable(True)
    assert channel.written == [*"123456789"]
    channel.set_writable(True)
    await stage.receive("x")
    assert channel.written == [*"123456789x"]
    assert channel.senders == []


@on_event_loop
async def test_slow_member_waits_like_any_other_sender() -> None:
    stage = Stage()
    channel = await stage.join(writable=False)
    await stage.receive("1", "2")
    assert len(channel.senders) == 1
    woken: list[None] = []
    channel.senders.append(woken.append)
    channel.set_writable(True)
    assert woken == [None]
    assert channel.senders == []


# What happens to a slow one


@on_event_loop
async def test_slow_member_is_cut_when_too_many_messages_wait(losses: Losses) -> None:
    stage = Stage(backlog=3)
    slow, quick = await stage.join(writable=False), await stage.join()
    await stage.receive("1", "2", "3")
    assert not slow.ended
    await stage.receive("4")
    assert slow.closes == [(1013, "too slow for the group room")]
    assert losses() == {"disconnected": 4}
    await stage.receive("5")
    assert quick.written == ["1", "2", "3", "4", "5"]
    assert losses() == {"disconnected": 4}
    assert slow.memberships == {}
    assert slow.senders == []


@on_event_loop
async def test_slow_member_is_cut_when_too_many_bytes_wait(losses: Losses) -> None:
    stage = Stage(backlog_bytes=10)
    slow = await stage.join(writable=False)
    await stage.receive("x" * 6, "x" * 4)
    assert not slow.ended
    await stage.receive("x")
    assert slow.closes[0][0] == 1013
    assert losses() == {"disconnected": 3}


@on_event_loop
async def test_message_that_is_larger_than_all_the_room_waits_alone(losses: Losses) -> None:
    stage = Stage(backlog_bytes=10)
    slow = await stage.join(writable=False)
    await stage.receive("x" * 20)
    slow.set_writable(True)
    assert slow.written == ["x" * 20]
    assert losses() == {}


@on_event_loop
async def test_reason_of_the_cut_fits_into_a_close_frame() -> None:
    stage = Stage(backlog=1)
    channel = stage.channel(writable=False)
    group = "x" * 150
    await stage.hub.join(channel, group)
    await stage.receive(Envelope(group, "1"), Envelope(group, "2"))
    ((code, reason),) = channel.closes
    assert code == 1013
    assert len(reason.encode()) == 123


@on_event_loop
async def test_member_that_is_cut_in_one_group_leaves_the_others_too(losses: Losses) -> None:
    stage = Stage(backlog=1)
    channel = await stage.join(writable=False)
    await stage.hub.join(channel, "other")
    await stage.receive(Envelope("other", "waits"), "1", "2")
    assert channel.ended
    assert stage.hub.groups() == []
    assert losses() == {"disconnected": 2, "left": 1}


@on_event_loop
async def test_oldest_are_dropped(losses: Losses) -> None:
    stage = Stage(slow="drop_oldest", backlog=3, backlog_bytes=10)
    slow = await stage.join(writable=False)
    await stage.receive(*"12345")
    assert losses() == {"oldest": 2}
    await stage.receive("x" * 8)
    assert losses() == {"oldest": 3}
    slow.set_writable(True)
    assert slow.written == ["4", "5", "x" * 8]


@on_event_loop
async def test_newest_are_dropped(losses: Losses) -> None:
    stage = Stage(slow="drop_newest", backlog=3, backlog_bytes=10)
    slow = await stage.join(writable=False)
    await stage.receive("1", "2", "x" * 9, "3", "4", "5")
    assert losses() == {"newest": 3}
    slow.set_writable(True)
    assert slow.written == ["1", "2", "3"]
    await stage.receive("6")
    assert slow.written == ["1", "2", "3", "6"]


@on_event_loop
async def test_only_the_latest_of_each_key_waits_in_its_place(losses: Losses) -> None:
    stage = Stage(slow="latest", backlog=3)
    slow = await stage.join(writable=False)
    await stage.receive(
        *(Envelope("room", f"{key}{value}", key) for value in (1, 2) for key in "abc"),
        Envelope("room", "a3", "a"),
    )
    assert losses() == {"outdated": 4}
    await stage.receive(Envelope("room", "no key"))
    assert losses() == {"outdated": 4, "oldest": 1}
    slow.set_writable(True)
    assert slow.written == ["b2", "c2", "no key"]


@on_event_loop
async def test_newer_value_that_is_larger_makes_others_go_and_counts_once(losses: Losses) -> None:
    stage = Stage(slow="latest", backlog_bytes=10)
    slow = await stage.join(writable=False)
    await stage.receive(Envelope("room", "a" * 5, "a"), Envelope("room", "b" * 5, "b"))
    await stage.receive(Envelope("room", "A" * 8, "a"))
    assert losses() == {"outdated": 1, "oldest": 1}
    await stage.receive(Envelope("room", "A" * 20, "a"))
    assert losses() == {"outdated": 2, "oldest": 1}
    await stage.receive(Envelope("room", "b" * 5, "b"), Envelope("room", "c" * 5, "c"))
    assert losses() == {"outdated": 2, "oldest": 2}
    slow.set_writable(True)
    assert slow.written == ["b" * 5, "c" * 5]


@pytest.mark.parametrize("slow", ["drop_oldest", "drop_newest", "latest", "disconnect"])
def test_backlog_never_holds_more_than_its_bounds_and_its_books_are_right(slow: str) -> None:
    options = GroupOptions(backlog=4, backlog_bytes=20)
    backlog = Backlog(slow, options)
    state = 7
    for _ in range(3000):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        if state >> 16 & 3 == 0 and backlog:
            backlog.take()
        else:
            body = "x" * (state >> 18 & 15)
            backlog.add(Delivery(Envelope("room", body, "abcdefg"[state >> 22 & 3])))
        bodies = [delivery.envelope.body for delivery in backlog._items.values()]
        assert backlog._size == sum(map(len, bodies))
        assert len(bodies) <= 4
        assert backlog._size <= 20 or len(bodies) == 1


@on_event_loop
async def test_member_may_choose_for_itself(losses: Losses) -> None:
    stage = Stage(backlog=1)
    slow = await stage.join(writable=False, slow="drop_oldest")
    await stage.receive("1", "2")
    slow.set_writable(True)
    assert slow.written == ["2"]
    assert losses() == {"oldest": 1}


# The end


@on_event_loop
async def test_member_that_ends_while_it_is_slow_leaves_nothing_behind(losses: Losses) -> None:
    before = count_alive(Membership)
    stage = Stage()
    slow = await stage.join(writable=False)
    await stage.receive("1", "2")
    assert count_alive(Membership) == before + 1
    delivered = counts.delivered
    slow.end(1006, "")
    assert slow.senders == []
    assert slow.written == []
    assert counts.delivered == delivered
    assert losses() == {"left": 2}
    await stage.receive("3")
    assert count_alive(Membership) == before


@on_event_loop
async def test_member_that_leaves_while_it_is_slow_gets_nothing_more(losses: Losses) -> None:
    stage = Stage()
    slow = await stage.join(writable=False)
    await stage.receive("1", "2")
    await stage.hub.leave(slow, "room")
    assert slow.senders == []
    slow.set_writable(True)
    assert slow.written == []
    assert losses() == {"left": 2}


@on_event_loop
async def test_slow_member_that_leaves_and_comes_again_all_the_time_adds_up_to_nothing() -> None:
    stage = Stage()
    slow = stage.channel(writable=False)
    for number in range(50):
        await stage.hub.join(slow, "room")
        await stage.receive(str(number))
        await stage.hub.leave(slow, "room")
    assert slow.senders == []
    await stage.hub.join(slow, "room")
    await stage.receive("x")
    slow.set_writable(True)
    assert slow.written == ["x"]


# While a member joins


@on_event_loop
async def test_what_comes_while_a_member_joins_waits_for_it() -> None:
    stage = Stage()
    stage.script.subscribed = asyncio.get_running_loop().create_future()
    channel = stage.channel()
    joining = stage.joining(channel)
    await settle()
    await stage.receive("1", "2")
    assert channel.written == []
    stage.script.subscribed.set_result(None)
    await joining
    await stage.receive("3")
    assert channel.written == ["1", "2", "3"]


@on_event_loop
async def test_member_is_not_too_slow_for_what_comes_while_it_joins(losses: Losses) -> None:
    stage = Stage(backlog=3)
    stage.script.subscribed = asyncio.get_running_loop().create_future()
    channel = stage.channel()
    joining = stage.joining(channel)
    await settle()
    await stage.receive(*"123456")
    stage.script.subscribed.set_result(None)
    await joining
    assert channel.written == ["4", "5", "6"]
    assert losses() == {"joining": 3}


@on_event_loop
async def test_what_comes_while_the_history_is_read_stands_behind_it(losses: Losses) -> None:
    stage = Stage(history=10, backlog=2)
    answer: asyncio.Future[Recovery] = asyncio.get_running_loop().create_future()
    stage.script.recover_answers.append(answer)
    channel = stage.channel()
    joining = stage.joining(channel, since=0)
    await settle()
    await stage.receive(*map(kept, range(3, 8)))
    answer.set_result(missed(1, 4))
    joined = await joining
    assert joined.recovered is True
    await stage.receive(kept(8))
    assert channel.written == [*"12345678"]
    assert losses() == {}


@on_event_loop
async def test_long_history_is_no_reason_to_be_cut(losses: Losses) -> None:
    """It is more than a transport takes at once, and nobody can read before it is there."""
    stage = Stage(history=100, backlog=2, backlog_bytes=10)
    stage.script.recover_answers.append(missed(1, 50))
    channel = small_channel()
    await stage.hub.join(channel, "room", since=0)
    await stage.receive(kept(51), kept(52))
    assert not channel.ended
    while not channel.writable:
        channel.set_writable(True)
    assert channel.written == [str(number) for number in range(1, 53)]
    assert losses() == {}
    assert channel.senders == []


@on_event_loop
async def test_bounds_hold_again_behind_a_long_history(losses: Losses) -> None:
    stage = Stage(history=100, backlog=2, slow="drop_oldest")
    stage.script.recover_answers.append(missed(1, 5))
    channel = await stage.join(writable=False, since=0)
    await stage.receive(kept(6), kept(7), kept(8))
    assert losses() == {"oldest": 1}
    channel.set_writable(True)
    assert channel.written == [*"1234578"]


@on_event_loop
async def test_messages_that_the_history_held_are_not_delivered_again() -> None:
    stage = Stage(history=10)
    stage.script.recover_answers += [missed(1, 5), missed(1, 3)]
    first = await stage.join(since=0)
    # The second one's is older than what the roster has had: a replica that lags behind.
    await stage.receive(kept(5), kept(6))
    assert first.written == [*"123456"]


@on_event_loop
async def test_later_member_does_not_get_what_is_still_on_its_way() -> None:
    stage = Stage(history=10)
    stage.begin_history(2)
    first = await stage.join()
    stage.script.recover_answers.append(missed(2, 4))
    second = await stage.join(since=1)
    assert second.written == [*"234"]
    await stage.receive(kept(3), kept(4), kept(5))
    assert first.written == [*"345"]
    assert second.written == [*"2345"]


# Joining again


@on_event_loop
async def test_joining_again_loses_nothing_that_is_on_its_way() -> None:
    stage = Stage(history=10)
    stage.begin_history(2)
    channel = await stage.join(presence="away")
    number = membership_of(channel).number
    joined = await stage.hub.join(channel, "room", presence="here")
    assert joined == (Position(EPOCH, 2), None)
    await stage.receive(kept(3))
    assert channel.written == ["3"]
    assert membership_of(channel).number == number
    assert stage.hub.presences("room") == ["here"]


@on_event_loop
async def test_slow_member_that_joins_again_keeps_its_backlog_and_its_order(losses: Losses) -> None:
    stage = Stage(backlog=4)
    channel = small_channel()
    await stage.hub.join(channel, "room")
    await stage.receive(*"12345")
    await stage.hub.join(channel, "room", slow="drop_oldest")
    await stage.receive(*"6789")
    while not channel.writable:
        channel.set_writable(True)
    assert channel.written == [*"1236789"]
    assert losses() == {"oldest": 2}


@on_event_loop
async def test_slow_member_that_joins_again_with_its_position_gets_each_message_once() -> None:
    stage = Stage(history=10)
    stage.begin_history(0)
    channel = small_channel()
    await stage.hub.join(channel, "room")
    await stage.receive(*map(kept, range(1, 6)))
    assert channel.written == [*"123"]
    stage.script.recover_answers.append(missed(4, 5))
    await stage.hub.join(channel, "room", since=3)
    await stage.receive(kept(6))
    while not channel.writable:
        channel.set_writable(True)
    assert channel.written == [*"123456"]
    assert channel.senders == []


@on_event_loop
async def test_slow_member_whose_position_is_unknown_keeps_what_waits() -> None:
    stage = Stage(history=10)
    stage.begin_history(0)
    channel = await stage.join(writable=False)
    await stage.receive(kept(1), kept(2))
    stage.script.recover_answers.append(Recovery([], Position(EPOCH, 2), False))
    joined = await stage.hub.join(channel, "room", since="nonsense")
    assert joined.recovered is False
    await stage.receive(kept(3))
    channel.set_writable(True)
    assert channel.written == ["1", "2", "3"]


@on_event_loop
async def test_member_whose_second_join_fails_stays_what_it_was() -> None:
    stage = Stage(history=10)
    stage.begin_history(0)
    channel = await stage.join()
    answer: asyncio.Future[Recovery] = asyncio.get_running_loop().create_future()
    stage.script.recover_answers.append(answer)
    joining = stage.joining(channel, since=0)
    await settle()
    await stage.receive(kept(1))
    assert channel.written == []
    answer.set_exception(ConnectionError("gone"))
    with pytest.raises(ConnectionError):
        await joining
    await stage.receive(kept(2))
    assert channel.written == ["1", "2"]


# Members that are told more


@on_event_loop
async def test_members_with_positions_are_told_of_gaps_and_positions() -> None:
    stage = Stage(history=10)
    stage.begin_history(4)
    channel = await stage.join(positions=True)
    stage.script.recover_answers.append(LOST)
    await stage.receive(kept(5), kept(9))
    assert [json.loads(text) for text in channel.written] == [
        {"group": "room", "position": "epoch-4", "recovered": None},
        {"group": "room", "position": "epoch-5", "message": "5"},
        {"group": "room", "position": "epoch-5", "gap": True},
        {"group": "room", "position": "epoch-9", "message": "9"},
    ]


@pytest.mark.parametrize("gap", ["reload", b"\0", '{"gap":true}'])
@on_event_loop
async def test_member_may_have_a_message_of_its_own_for_gaps(gap: str | bytes) -> None:
    stage = Stage()
    told, other = await stage.join(gap=gap), await stage.join()
    stage.hub.resume(["room", "nobody's"])
    assert told.written == [gap]
    assert other.written == []


def test_wrapped_message_is_json_with_its_position() -> None:
    assert json.loads(wrap(kept(7))) == {"group": "room", "position": "epoch-7", "message": "7"}
    assert json.loads(wrap(Envelope("room", "é\ud7ff\u2028"))) == {
        "group": "room",
        "position": None,
        "message": "é\ud7ff\u2028",
    }
    assert json.loads(wrap(Envelope("room", b"\xff\0")))["base64"] == "/wA="


# Small parts


@pytest.mark.parametrize(
    ("position", "other", "expected"),
    [
        (Position("a", 2), Position("a", 1), True),
        (Position("a", 1), Position("a", 1), False),
        (Position("a", 1), Position("a", 2), False),
        (Position("a", 1), Position("b", 2), True),
        (None, Position("a", 1), True),
        (Position("a", 1), None, True),
    ],
)
def test_what_is_behind_what(
    position: Position | None, other: Position | None, expected: bool
) -> None:
    assert is_behind(position, other) is expected


@on_event_loop
async def test_address_leads_back_to_the_member_in_its_process_only() -> None:
    stage = Stage()
    membership = membership_of(await stage.join())
    assert number_of(membership.address) == membership.number
    assert number_of(f"00ff.{membership.number}") is None
    assert number_of(None) is None
