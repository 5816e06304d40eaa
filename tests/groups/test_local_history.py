"""The file of histories: times, bounds, several processes, and damage."""

from __future__ import annotations

import tempfile
import threading
from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from adwebsocket.groups import Envelope, GroupsUnavailable, Position
from adwebsocket.groups.local import history as module
from adwebsocket.groups.local.history import HistoryFile
from adwebsocket.groups.local.place import Place
from adwebsocket.groups.options import GroupOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adwebsocket.groups import Recovery

OPTIONS = GroupOptions(history=3, ttl=10)
TIMEOUT = 5.0


@pytest.fixture
def place() -> Iterator[Place]:
    # Not below that of pytest, whose path is too long for a socket.
    with (
        tempfile.TemporaryDirectory() as directory,
        override_settings(WEBSOCKET_RUNTIME_DIR=directory),
    ):
        yield Place("secret")


class Keeper:
    """A process that keeps histories, on a clock of its own."""

    def __init__(self, place: Place) -> None:
        self.now = 1000.0
        self.file = HistoryFile(place, TIMEOUT, lambda: self.now)

    def append(self, *bodies: str, group: str = "room") -> Position:
        for body in bodies:
            with self.file.turn():
                position = self.file.append(Envelope(group, body), OPTIONS).position
        assert position is not None
        return position

    def since(self, since: Position | int | None, group: str = "room") -> Recovery:
        with self.file.turn():
            return self.file.since(group, since)

    def bodies_since(self, since: Position | int) -> list[str | bytes]:
        recovery = self.since(since)
        assert recovery.recovered is True
        return [envelope.body for envelope in recovery.envelopes]


@pytest.fixture
def keeper(place: Place) -> Iterator[Keeper]:
    keeper = Keeper(place)
    yield keeper
    keeper.file.close()


@pytest.fixture
def other(place: Place) -> Iterator[Keeper]:
    other = Keeper(place)
    yield other
    other.file.close()


class TestHistoryFile:
    def test_processes_share_it(self, keeper: Keeper, other: Keeper) -> None:
        first = keeper.append("1")
        assert other.append("2") == Position(first.epoch, 2)
        assert keeper.bodies_since(0) == other.bodies_since(0) == ["1", "2"]

    def test_last_messages_are_kept(self, keeper: Keeper) -> None:
        keeper.append(*"12345")
        assert keeper.bodies_since(2) == ["3", "4", "5"]
        assert keeper.since(1).recovered is False

    def test_position_of_no_message_stays(self, keeper: Keeper, other: Keeper) -> None:
        position = keeper.since(None).position
        assert position is not None
        assert other.since(None).position == position
        assert keeper.append("1") == Position(position.epoch, 1)
        assert keeper.bodies_since(position) == ["1"]

    def test_position_of_the_future_or_elsewhere_is_unknown(self, keeper: Keeper) -> None:
        position = keeper.append("1")
        for unknown in (Position(position.epoch, 2), Position("elsewhere", 1), 10**30):
            assert keeper.since(unknown) == ([], position, False)

    def test_messages_expire_together(self, keeper: Keeper) -> None:
        position = keeper.append("1")
        keeper.now += 9
        keeper.append("2")
        keeper.now += 9
        assert keeper.bodies_since(position) == ["2"]
        keeper.now += 1
        assert keeper.since(position).recovered is False

    def test_who_has_seen_all_has_missed_nothing_when_it_expires(self, keeper: Keeper) -> None:
        position = keeper.append("1", "2")
        keeper.now += 1000
        assert keeper.bodies_since(position) == []
        assert keeper.append("3") == Position(position.epoch, 3)
        assert keeper.bodies_since(position) == ["3"]
        assert keeper.since(1).recovered is False

    def test_groups_that_were_silent_for_longest_go(
        self, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_MOST_HISTORIES", 2)
        monkeypatch.setattr(module, "_MESSAGES_PER_CLEANING", 0)
        positions = {}
        for group in ("a", "b", "c", "a", "d"):
            keeper.now += 1
            positions[group] = keeper.append("x", group=group)
        known = {
            group: keeper.since(position, group).recovered for group, position in positions.items()
        }
        assert known == {"a": True, "b": False, "c": False, "d": True}

    def test_file_that_somebody_removes_begins_anew(
        self, keeper: Keeper, other: Keeper, place: Place
    ) -> None:
        position = keeper.append("1")
        other.append("2")
        (path,) = place.directory.glob("*.history")
        path.unlink()
        assert other.since(position).recovered is False
        other.append("3")
        assert keeper.bodies_since(0) == ["3"]

    @pytest.mark.parametrize("damage", [b"no database" * 1000, b""])
    def test_file_that_is_damaged_begins_anew(
        self, keeper: Keeper, place: Place, damage: bytes
    ) -> None:
        keeper.append("1")
        keeper.file.close()
        (path,) = place.directory.glob("*.history")
        path.write_bytes(damage)
        if damage:
            with pytest.raises(GroupsUnavailable, match="not a database"):
                keeper.append("lost")
        keeper.append("2")
        assert keeper.bodies_since(0) == ["2"]

    def test_message_that_cannot_be_read_is_not_recovered(
        self, keeper: Keeper, place: Place, caplog: pytest.LogCaptureFixture
    ) -> None:
        keeper.append("1")
        place.tag = b"anothers"
        assert keeper.since(0).recovered is False
        assert "cannot be read" in caplog.text

    def test_threads_and_processes_take_turns(self, keeper: Keeper, other: Keeper) -> None:
        positions: list[Position] = []

        def append(keeper: Keeper) -> None:
            positions.extend(keeper.append("x") for _ in range(50))

        threads = [threading.Thread(target=append, args=[each]) for each in (keeper, other) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(position.offset for position in positions) == list(range(1, 201))
        assert len({position.epoch for position in positions}) == 1
