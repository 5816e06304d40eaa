"""Histories in memory: what they keep, for how long, and what they tell of the rest."""

from __future__ import annotations

import pytest

from adwebsocket.groups import history as history_module
from adwebsocket.groups.history import Histories
from adwebsocket.groups.messages import Envelope, Position
from adwebsocket.groups.options import GroupOptions

OPTIONS = GroupOptions(history=5, ttl=60)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def histories(clock: Clock) -> Histories:
    return Histories(clock)


def append(histories: Histories, *bodies: str, group: str = "room") -> list[Position]:
    envelopes = [histories.append(Envelope(group, body), OPTIONS) for body in bodies]
    return [envelope.position for envelope in envelopes if envelope.position is not None]


def missed(histories: Histories, since: Position | int, group: str = "room") -> list[str] | None:
    """Give what came behind a position, None where that is not known."""
    recovery = histories.get(group).since(since)
    assert recovery.recovered is not None
    if not recovery.recovered:
        assert recovery.envelopes == []
        return None
    return [str(envelope.body) for envelope in recovery.envelopes]


def kept(histories: Histories) -> int:
    return sum(len(history.envelopes) for history in histories._histories.values())


def test_messages_are_numbered_within_their_group(histories: Histories) -> None:
    first, second = append(histories, "1", "2")
    (other,) = append(histories, "1", group="other")
    assert (first.offset, second.offset, other.offset) == (1, 2, 1)
    assert first.epoch == second.epoch
    assert first.epoch != other.epoch


def test_what_came_behind_a_position_is_given_in_order(histories: Histories) -> None:
    positions = append(histories, "1", "2", "3")
    assert missed(histories, positions[0]) == ["2", "3"]
    assert missed(histories, positions[2]) == []
    assert missed(histories, 0) == ["1", "2", "3"]
    assert missed(histories, 1) == ["2", "3"]


def test_where_it_stands_can_be_asked_before_the_first_message(histories: Histories) -> None:
    recovery = histories.get("room").since(None)
    assert recovery.envelopes == []
    assert recovery.recovered is None
    assert recovery.position is not None
    append(histories, "1")
    assert missed(histories, recovery.position) == ["1"]


@pytest.mark.parametrize("offset", [4, 10**17])
def test_position_ahead_of_the_history_is_unknown(histories: Histories, offset: int) -> None:
    (position,) = append(histories, "1")
    assert missed(histories, position._replace(offset=offset)) is None
    assert missed(histories, offset) is None


def test_position_of_another_epoch_is_unknown(histories: Histories) -> None:
    append(histories, "1")
    assert missed(histories, Position("elsewhere", 1)) is None
    assert missed(histories, Position("", 1)) is None


def test_only_the_last_messages_are_kept(histories: Histories) -> None:
    positions = append(histories, *"1234567")
    assert missed(histories, positions[1]) == ["3", "4", "5", "6", "7"]
    assert missed(histories, positions[0]) is None
    assert kept(histories) == 5


def test_group_that_wants_less_than_before_keeps_less(histories: Histories) -> None:
    append(histories, *"12345")
    histories.append(Envelope("room", "6"), GroupOptions(history=2))
    assert missed(histories, 4) == ["5", "6"]
    assert missed(histories, 3) is None


def test_messages_are_kept_for_their_time_behind_the_last_one(
    histories: Histories, clock: Clock
) -> None:
    append(histories, "1")
    clock.now += 59
    append(histories, "2")
    clock.now += 59
    assert missed(histories, 0) == ["1", "2"]
    clock.now += 1
    assert missed(histories, 0) is None
    assert missed(histories, 1) is None


def test_who_has_seen_all_has_missed_nothing_however_long_it_was_silent(
    histories: Histories, clock: Clock
) -> None:
    (seen,) = append(histories, "1")
    clock.now += 3600
    assert missed(histories, seen) == []
    (position,) = append(histories, "2")
    assert position == seen._replace(offset=2)
    assert missed(histories, seen) == ["2"]
    assert missed(histories, 0) is None


def test_old_messages_of_silent_groups_are_let_go_of(histories: Histories, clock: Clock) -> None:
    histories.get("asked only")
    for number in range(20):
        append(histories, "1", "2", group=f"silent.{number}")
    assert kept(histories) == 40
    clock.now += 60
    for _ in range(50):
        append(histories, "x")
    assert kept(histories) == 5


def test_the_longest_silent_history_goes_when_there_are_too_many(
    histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "_MOST_HISTORIES", 3)
    positions = {group: append(histories, "1", group=group)[0] for group in "abc"}
    append(histories, "2", group="a")
    append(histories, "1", group="d")
    assert missed(histories, positions["a"], "a") == ["2"]
    assert missed(histories, positions["c"], "c") == []
    assert missed(histories, positions["b"], "b") is None
    assert len(histories._histories) == 3


def test_group_that_is_only_asked_for_does_not_last_longer(
    histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "_MOST_HISTORIES", 3)
    for number in range(100):
        assert missed(histories, 0, f"guess.{number}") == []
    assert len(histories._histories) == 3
