"""The back-end ``local`` when processes hang, die, or are none of ours.

What it must do as any back-end is in the contract. Nodes stand for server processes; where only a
process will do, a test starts one.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from adwebsocket.groups import Closing, Envelope, GroupsConfig, GroupsUnavailable
from adwebsocket.groups.counts import counts
from adwebsocket.groups.local import station
from adwebsocket.groups.local.backend import LocalBackend
from adwebsocket.groups.local.frames import MESSAGE, QUESTION, longest_frame, pack, pack_json
from adwebsocket.groups.local.history import HistoryFile
from adwebsocket.groups.options import GroupOptions
from tests.connections import DEADLINE
from tests.groups.conftest import PATTERNS, LocalSite
from tests.groups.nodes import Node, wait_until
from tests.processes import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adwebsocket.groups.options import GroupsConfig as Config

TIMEOUT = 0.5


class ImpatientSite(LocalSite):
    """Processes that wait for each other only for a moment."""

    def make_backend(self) -> LocalBackend:
        return LocalBackend(GroupsConfig(options={"timeout": TIMEOUT}, patterns=PATTERNS))


@pytest.fixture
def site() -> Iterator[ImpatientSite]:
    site = ImpatientSite()
    yield site
    site.close()


@pytest.fixture
def directory(site: ImpatientSite) -> Path:
    return Path(site.publisher.place.directory)


@contextmanager
def blocked(node: Node) -> Iterator[None]:
    """Block the event loop of a node."""
    entered, released = threading.Event(), threading.Event()

    def block() -> None:
        entered.set()
        released.wait(DEADLINE)

    node.loop.call_soon_threadsafe(block)
    assert entered.wait(DEADLINE)
    try:
        yield
    finally:
        released.set()


def send(site: ImpatientSite, *bodies: str, group: str = "room") -> None:
    for body in bodies:
        site.publisher.publish(Envelope(group, body))


def sockets(directory: Path) -> list[Path]:
    return list(directory.glob("*.groups"))


LARGE = "x" * 200_000


def fill(site: ImpatientSite, group: str = "elsewhere") -> None:
    """Send more than the system keeps for a process that does not read."""
    before = counts.unpublished["stalled process"]
    for _ in range(100):
        send(site, LARGE, group=group)
        if counts.unpublished["stalled process"] > before:
            return
    raise AssertionError("the system keeps everything")


class TestStalledProcess:
    def test_holds_nobody_up_and_learns_what_it_has_missed(
        self, site: ImpatientSite, caplog: pytest.LogCaptureFixture
    ) -> None:
        stalled, healthy = site.node(), site.node()
        victim = stalled.join("room", gap="some are missing")
        unconcerned = stalled.join("quiet", gap="some are missing")
        other = healthy.join("room")
        with caplog.at_level(logging.WARNING, "adwebsocket.groups"), blocked(stalled):
            fill(site)
            send(site, *map(str, range(100)))
            other.has_received(*map(str, range(100)))
        assert len([record for record in caplog.records if "takes no messages" in record.msg]) == 1
        # The first that gets through brings the news along; what was on its way comes before it.
        wait_until(
            lambda: send(site, "again") or "again" in victim.received, "the process to go on"
        )
        assert victim.received[0] == "some are missing"
        assert set(victim.received) == {"some are missing", "again"}
        assert unconcerned.received == []
        assert re.search(r"it has missed 10\d", caplog.text)

    def test_loses_nothing_that_is_in_a_history(self, site: ImpatientSite) -> None:
        stalled, healthy = site.node(), site.node()
        members = [node.join("kept.room") for node in (stalled, healthy)]
        send(site, "before", group="kept.room")
        for member in members:
            member.has_received("before")
        messages = list(map(str, range(100)))
        with blocked(stalled):
            fill(site)
            send(site, *messages, group="kept.room")
        wait_until(
            lambda: send(site, "x") or len(members[0].received) > len(messages),
            "the process to go on",
        )
        send(site, "after", group="kept.room")
        for member in members:
            member.has_received("before", *messages, "after")

    def test_gets_orders_when_it_goes_on(self, site: ImpatientSite) -> None:
        node = site.node()
        member = node.join("room")
        with blocked(node):
            fill(site)
            site.publisher.publish(Closing("room", None, 4001, "over"))
        wait_until(lambda: send(site, "x") or member.channel.ended, "the order")
        assert member.channel.closes == [(4001, "over")]

    def test_does_not_block_the_event_loop_of_who_sends(self, site: ImpatientSite) -> None:
        stalled, healthy = site.node(), site.node()
        member = healthy.join("room")

        async def publish() -> None:
            for number in range(100):
                await healthy.backend.apublish(Envelope("room", f"{number} {LARGE}"))

        with blocked(stalled):
            publishing = asyncio.run_coroutine_threadsafe(publish(), healthy.loop)
            # What it sends also comes by its own loop, which must go round for that.
            publishing.result(DEADLINE)
        member.has_received(*[f"{number} {LARGE}" for number in range(100)])

    def test_is_not_counted_for_nothing(self, site: ImpatientSite) -> None:
        stalled, healthy = site.node(), site.node()
        healthy.join("room")
        with blocked(stalled), pytest.raises(GroupsUnavailable, match="did not answer"):
            site.publisher.count("room")
        wait_until(lambda: site.publisher.count("room") == 1, "an answer")

    def test_that_keeps_the_history_makes_it_unavailable(self, site: ImpatientSite) -> None:
        node = site.node()
        member = node.join("kept.room")
        with HistoryFile(site.publisher.place, TIMEOUT).turn():
            with pytest.raises(GroupsUnavailable, match="kept the history"):
                send(site, "lost", group="kept.room")
            with pytest.raises(GroupsUnavailable, match="kept the history"):
                node.join("kept.room", since=0)
        send(site, "sent", group="kept.room")
        member.has_received("sent")


class TestDeadProcess:
    def test_socket_is_removed_by_who_finds_it(self, site: ImpatientSite, directory: Path) -> None:
        member = site.node().join("room")
        left_behind, path = site.publisher.place.listen()
        left_behind.close()
        send(site, "x")
        member.has_received("x")
        assert path not in sockets(directory)
        assert len(sockets(directory)) == 1

    def test_socket_is_removed_by_the_next_server(
        self, site: ImpatientSite, directory: Path
    ) -> None:
        left_behind, _ = site.publisher.place.listen()
        left_behind.close()
        site.node()
        assert len(sockets(directory)) == 1

    def test_is_not_counted(self, site: ImpatientSite) -> None:
        first, second = site.node(), site.node()
        first.join("room")
        second.join("room")
        assert site.publisher.count("room") == 2
        second.run(second.hub.stop())
        assert site.publisher.count("room") == 1

    def test_in_the_middle_of_a_message_of_a_history_loses_nothing(
        self, site: ImpatientSite
    ) -> None:
        member = site.node().join("kept.room")
        history = HistoryFile(site.publisher.place, TIMEOUT)
        with history.turn():  # what it had sent to nobody when it died
            history.append(Envelope("kept.room", "first"), GroupOptions(history=10))
        history.close()
        send(site, "second", group="kept.room")
        member.has_received("first", "second")


class TestNewProcess:
    def test_is_reached_at_once(self, site: ImpatientSite) -> None:
        members = []
        for number in range(10):
            members.append(site.node().join("room"))
            send(site, str(number))
        for number, member in enumerate(members):
            member.has_received(*map(str, range(number, 10)))

    def test_knows_the_history_of_those_that_are_gone(self, site: ImpatientSite) -> None:
        first = site.node()
        first.join("kept.room")
        send(site, "1", "2", group="kept.room")
        first.run(first.hub.stop())
        member = site.node().join("kept.room", since=1)
        assert member.joined.recovered is True
        member.has_received("2")

    def test_socket_whose_name_was_removed_gets_another(
        self, site: ImpatientSite, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(station, "_SECONDS_BETWEEN_CHECKS", 0.01)
        member = site.node().join("room")
        for path in sockets(directory):
            path.unlink()
        wait_until(lambda: sockets(directory), "another socket")
        send(site, "x")
        member.has_received("x")


class TestForeignBytes:
    @pytest.mark.parametrize(
        "data",
        [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            pack(b"?", b""),
            pack(MESSAGE, b"no message"),
            pack_json(QUESTION, b"12345678", ["count", "room"]),
            bytes(1000),
            b"\xff" * 1000,
        ],
    )
    def test_are_counted_and_end_only_their_connection(
        self, site: ImpatientSite, directory: Path, data: bytes
    ) -> None:
        member = site.node().join("room")
        send(site, "before")
        before = counts.skipped["foreign bytes"]
        assert talk(directory, data) == b""
        assert counts.skipped["foreign bytes"] == before + 1
        send(site, "after")
        member.has_received("before", "after")

    @pytest.mark.parametrize("question", [None, [], ["count"], ["count", 7], {"count": "room"}])
    def test_question_without_a_meaning_is_not_answered(
        self, site: ImpatientSite, directory: Path, question: Any
    ) -> None:
        site.node()
        assert talk(directory, pack_json(QUESTION, site.publisher.place.tag, question)) == b""

    def test_are_logged_once(
        self, site: ImpatientSite, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        site.node()
        for _ in range(3):
            talk(directory, bytes(10))
        assert caplog.text.count("Closed a connection to the socket of groups") == 1

    def test_projects_in_one_directory_do_not_meet(self, site: ImpatientSite) -> None:
        member = site.node().join("room")
        with override_settings(SECRET_KEY="that of another project"):
            other = site.make_backend()
        other.publish(Envelope("room", "foreign"))
        assert other.count("room") == 0
        other.close()
        send(site, "own")
        member.has_received("own")


def talk(directory: Path, data: bytes) -> bytes:
    """Send bytes to the one socket that is there; return the answer, up to the end."""
    (path,) = sockets(directory)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE)
        client.connect(str(path))
        client.sendall(data)
        answer = b""
        try:
            while chunk := client.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass  # hung up before it had read all
        return answer


class TestSetting:
    @pytest.mark.parametrize(
        "config",
        [
            GroupsConfig(location="/run"),
            GroupsConfig(options={"prefix": "x"}),
            GroupsConfig(options={"timeout": 0}),
            GroupsConfig(options={"timeout": "2"}),
        ],
    )
    def test_what_it_does_not_know_is_refused(self, config: Config) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"WEBSOCKET_GROUPS"):
            LocalBackend(config)

    def test_directory_that_cannot_be_made_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with (
            override_settings(WEBSOCKET_RUNTIME_DIR=str(tmp_path / "file" / "run")),
            pytest.raises(ImproperlyConfigured, match="set WEBSOCKET_RUNTIME_DIR"),
        ):
            LocalBackend(GroupsConfig())

    def test_path_that_is_too_long_for_a_socket_is_refused(self, tmp_path: Path) -> None:
        with (
            override_settings(WEBSOCKET_RUNTIME_DIR=str(tmp_path / ("long" * 30))),
            pytest.raises(ImproperlyConfigured, match="with a short path"),
        ):
            LocalBackend(GroupsConfig())

    def test_system_without_unix_sockets_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(socket, "AF_UNIX")
        with pytest.raises(ImproperlyConfigured, match="needs unix sockets"):
            LocalBackend(GroupsConfig())

    def test_directory_that_is_lost_later_makes_groups_unavailable(
        self, site: ImpatientSite, directory: Path
    ) -> None:
        backend = site.make_backend()
        directory.chmod(0o777)
        node = Node(backend)
        with pytest.raises(GroupsUnavailable, match="cannot be reached"):
            node.join("room")
        directory.chmod(0o700)
        member = node.join("room")
        send(site, "x")
        member.has_received("x")
        node.stop()

    def test_frames_have_room_for_the_longest_message_in_any_letters(self) -> None:
        config = GroupsConfig(patterns=(("large", GroupOptions(max_message_size=10_000_000)),))
        assert longest_frame(config) > 40_000_000
        assert longest_frame(GroupsConfig()) > 4 * 1024 * 1024

    def test_key_that_leaves_no_room_is_refused(self, site: ImpatientSite) -> None:
        member = site.node().join("room")
        with pytest.raises(ValueError, match="may have"):
            site.publisher.publish(Envelope("room", "x", key="k" * 10_000_000))
        send(site, "x")
        member.has_received("x")


class TestPresence:
    def test_presence_that_json_cannot_hold_after_all_is_left_out(
        self, site: ImpatientSite, caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = site.node(), site.node()
        first.join("room", presence={"socket": object()})
        second.join("room", presence="Ann")
        assert site.publisher.members("room") == ["Ann"]
        assert "cannot be told" in caplog.text

    def test_many_members_are_told(self, site: ImpatientSite) -> None:
        node = site.node()
        names = [f"{number} {'x' * 10_000}" for number in range(100)]
        for name in names:
            node.join("room", presence=name)
        assert sorted(site.publisher.members("room")) == sorted(names)


FORKING = """\
import os
import sys

from django.conf import settings

settings.configure(SECRET_KEY=sys.argv[1], WEBSOCKET_RUNTIME_DIR=sys.argv[2],
                   WEBSOCKET_GROUPS={"BACKEND": "local", "GROUPS": {"kept.*": {"history": 1000}}})
from adwebsocket import groups

groups.send("room", "before")
groups.send("kept.room", "before")
children = []
for child in range(2):
    pid = os.fork()
    if not pid:
        for number in range(100):
            groups.send("room", f"{child} {number}")
            groups.send("kept.room", f"{child} {number}")
        assert groups.count("room") == 1
        os._exit(0)
    children.append(pid)
for number in range(100):
    groups.send("room", f"parent {number}")
    groups.send("kept.room", f"parent {number}")
for child in children:
    assert os.waitpid(child, 0)[1] == 0
groups.send("room", "after")
"""


FORKING_WITH_MEMBERS = """\
import os

from adwebsocket.groups.roster import Roster
from adwebsocket.groups.membership import Membership
from adwebsocket.groups.options import GroupOptions


class Nowhere:
    form = None


def tell_address():
    roster = Roster(None, "room", GroupOptions())
    member = Membership(roster, Nowhere(), None, None, None, wants_positions=False)
    print(member.address, flush=True)


for child in range(2):
    if not os.fork():
        tell_address()
        os._exit(0)
    os.wait()
tell_address()
"""


class TestFork:
    def test_members_of_children_have_addresses_of_their_own(self, tmp_path: Path) -> None:
        result = run(["-c", FORKING_WITH_MEMBERS], cwd=tmp_path)
        assert result.returncode == 0, result.stdout
        addresses = result.stdout.split()
        assert len(set(addresses)) == 3
        assert {address.partition(".")[2] for address in addresses} == {"1"}

    def test_children_have_connections_of_their_own(
        self, site: ImpatientSite, directory: Path, settings_key: str
    ) -> None:
        node = site.node()
        member, kept = node.join("room"), node.join("kept.room")
        result = run(["-c", FORKING, settings_key, str(directory)], cwd=directory)
        assert result.returncode == 0, result.stdout
        wait_until(lambda: len(member.received) == 302, "all messages")
        wait_until(lambda: len(kept.received) == 301, "all messages with a history")
        assert (member.received[0], member.received[-1]) == ("before", "after")
        for name in ("0", "1", "parent"):
            expected = [f"{name} {number}" for number in range(100)]
            for received in (member.received, kept.received):
                assert [text for text in received if text.split()[0] == name] == expected

    @pytest.fixture
    def settings_key(self) -> str:
        from django.conf import settings

        return str(settings.SECRET_KEY)


def count_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no list of open files")
class TestEnd:
    def test_nothing_is_left(self) -> None:
        before = count_files()
        site = ImpatientSite()
        node = site.node()
        node.join("room")
        send(site, "x")
        send(site, "x", group="kept.room")
        site.publisher.count("room")
        node.run(node.hub.stop())
        assert sockets(site.publisher.place.directory) == []
        site.close()
        assert count_files() == before

    def test_backend_may_be_used_after_it_was_closed(self, site: ImpatientSite) -> None:
        member = site.node().join("kept.room")
        send(site, "1", group="kept.room")
        site.publisher.close()
        send(site, "2", group="kept.room")
        member.has_received("1", "2")
