"""Groups over a Redis that is restarted, killed, hangs, cuts connections, or is another one now."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from adwebsocket.groups import Closing, Envelope, GroupsUnavailable
from adwebsocket.groups.counts import counts
from tests.groups.nodes import Member, Node, wait_until
from tests.groups.redis_servers import RedisServer, Sentinel, redis_servers
from tests.processes import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.groups.conftest import RedisSite

    MakeSite = Callable[..., RedisSite]


@pytest.fixture(scope="module")
def server() -> RedisServer:
    """Give a server that each test leaves running."""
    return redis_servers.open()


@pytest.fixture
def site(make_redis_site: MakeSite, server: RedisServer) -> RedisSite:
    return make_redis_site(server.url, timeout=1, heartbeat=0.3)


def send(site: RedisSite, group: str, body: str) -> None:
    site.publisher.publish(Envelope(group, body))


def send_until_it_works(site: RedisSite, group: str, body: str) -> None:
    """Send a message that Redis takes."""

    def is_sent() -> bool:
        try:
            send(site, group, body)
        except GroupsUnavailable:
            return False
        return True

    wait_until(is_sent, "a message that can be sent")


def wait_for_return(member: Member, site: RedisSite, group: str) -> None:
    """Wait until messages reach a member again."""

    def has_received() -> bool:
        send_until_it_works(site, group, "again")
        return "again" in member.received

    wait_until(has_received, "a message that arrives")


class Sender:
    """A thread that sends numbers to a group for as long as a ``with`` block lasts."""

    def __init__(self, site: RedisSite, group: str) -> None:
        self._site = site
        self._group = group
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent: list[str] = []
        self.failed: list[str] = []

    def __enter__(self) -> Sender:
        self._thread.start()
        wait_until(lambda: len(self.sent) > 20, "messages")
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._is_over.is_set():
            try:
                send(self._site, self._group, str(number))
            except GroupsUnavailable:
                self.failed.append(str(number))
            else:
                self.sent.append(str(number))
            number += 1
            time.sleep(0.001)

    def wait_for_more(self) -> None:
        """Wait until it has sent some more."""
        count = len(self.sent)
        wait_until(lambda: len(self.sent) > count + 20, "more messages")


def messages_of(member: Member) -> list[str]:
    """Give the messages of a member that wants positions."""
    fields = [json.loads(text) for text in member.received]
    return [each["message"] for each in fields if "message" in each]


def gaps_of(member: Member) -> int:
    return sum("gap" in json.loads(text) for text in member.received)


class TestLostConnection:
    def test_members_are_told_of_the_gap(self, site: RedisSite, server: RedisServer) -> None:
        members = [site.node().join(f"room.{number}", gap="gap") for number in range(3)]
        before = counts.reconnects
        server.client.client_kill_filter(_type="pubsub")
        for number, member in enumerate(members):
            wait_until(lambda member=member: member.received == ["gap"], "the gap")
            send(site, f"room.{number}", "x")
            member.has_received("gap", "x")
        assert counts.reconnects == before + 3

    def test_history_fills_the_gap(self, site: RedisSite, server: RedisServer) -> None:
        member = site.node().join("kept.room", positions=True)
        with Sender(site, "kept.room") as sender:
            for _ in range(5):
                server.client.client_kill_filter(_type="pubsub")
                sender.wait_for_more()
        wait_until(lambda: len(messages_of(member)) >= len(sender.sent), "all messages")
        assert messages_of(member) == sender.sent
        assert sender.failed == []
        assert gaps_of(member) == 0

    def test_publishers_go_on_where_they_are_cut(
        self, site: RedisSite, server: RedisServer
    ) -> None:
        member = site.node().join("room")
        for number in range(5):
            send(site, "room", str(number))
            server.client.client_kill_filter(_type="normal", skipme=True)
        member.has_received(*"01234")

    def test_subscriber_that_is_too_slow_for_redis_comes_back(
        self, site: RedisSite, server: RedisServer
    ) -> None:
        member = site.node().join("kept.short", gap="gap", since=0)
        server.client.config_set("client-output-buffer-limit", "pubsub 300000 0 0")
        try:
            hold = threading.Event()
            member.node.loop.call_soon_threadsafe(hold.wait, 10)
            for _ in range(40):
                send(site, "kept.short", "x" * 400_000)
            hold.set()
            wait_until(lambda: "gap" in member.received, "the gap")
        finally:
            server.client.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
        wait_for_return(member, site, "kept.short")

    def test_thousand_groups_are_subscribed_again(
        self, site: RedisSite, server: RedisServer
    ) -> None:
        node = site.node()
        members = [node.join(f"room.{number}", gap="gap") for number in range(1000)]
        server.client.client_kill_filter(_type="pubsub")
        wait_until(lambda: all(each.received == ["gap"] for each in members), "all gaps")
        send(site, "room.999", "x")
        members[999].has_received("gap", "x")

    def test_orders_arrive_again(self, site: RedisSite, server: RedisServer) -> None:
        node = site.node()
        node.join("room", gap="gap")
        server.client.client_kill_filter(_type="pubsub")
        order = Closing(None, "1", 4000, "")

        def has_come() -> bool:
            site.publisher.publish(order)
            return order in node.closed_users

        wait_until(has_come, "the order")

    def test_joins_wait_while_it_is_made_anew(self, site: RedisSite, server: RedisServer) -> None:
        node = site.node()
        node.join("room")
        for number in range(10):
            server.client.client_kill_filter(_type="pubsub")
            member = node.join(f"room.{number}")
            send(site, f"room.{number}", "x")
            wait_until(lambda member=member: member.received == ["x"], "the message")


class TestRestart:
    def test_without_persistence(self, site: RedisSite, server: RedisServer) -> None:
        node = site.node()
        member, kept = node.join("room", gap="gap"), node.join("kept.room", positions=True)
        send(site, "kept.room", "1")
        wait_until(lambda: messages_of(kept) == ["1"], "the message")
        since = json.loads(kept.received[-1])["position"]
        server.kill()
        with pytest.raises(GroupsUnavailable):
            send(site, "room", "lost")
        wait_until(lambda: not may_join(node), "a refusal")
        server.start()
        wait_for_return(member, site, "room")
        assert member.received[0] == "gap"
        send_until_it_works(site, "kept.room", "2")
        wait_until(lambda: messages_of(kept) == ["1", "2"], "the message")
        assert gaps_of(kept) >= 1
        assert site.node().join("kept.room", since=since).joined.recovered is False
        wait_until(lambda: site.publisher.count("room") == 1, "the members")

    def test_with_persistence_positions_do_not_begin_anew(self, make_redis_site: MakeSite) -> None:
        server = redis_servers.open("--appendonly", "yes", "--appendfsync", "always")
        site = make_redis_site(server.url, timeout=1)
        member = site.node().join("kept.room", gap="gap", since=0)
        for number in range(3):
            send(site, "kept.room", str(number))
        member.has_received("0", "1", "2")
        server.restart()
        wait_until(lambda: "gap" in member.received, "the gap")
        # Redis cannot know whether it has kept all: the same offsets might be given twice.
        send_until_it_works(site, "kept.room", "3")
        wait_until(lambda: member.received[-1] == "3", "the message")
        assert site.node().join("kept.room", since="0-1").joined.recovered is False
        server.stop()

    def test_in_the_middle_of_traffic_nothing_arrives_twice(
        self, site: RedisSite, server: RedisServer
    ) -> None:
        member = site.node().join("kept.room", positions=True)
        with Sender(site, "kept.room") as sender:
            server.kill()
            wait_until(lambda: sender.failed, "a failure")
            server.start()
            sender.wait_for_more()
        send(site, "kept.room", "end")
        wait_until(lambda: "end" in messages_of(member), "the last message")
        received = messages_of(member)
        assert len(set(received)) == len(received)
        lost = set(sender.sent) - set(received)
        assert not lost or gaps_of(member) > 0


class TestSilence:
    def test_publishers_do_not_wait_for_ever(
        self, make_redis_site: MakeSite, server: RedisServer
    ) -> None:
        site = make_redis_site(server.url, timeout=0.5)
        node = site.node()
        node.join("room")
        sleeper = threading.Thread(
            target=lambda: server.client.execute_command("DEBUG", "SLEEP", "2")
        )
        sleeper.start()
        wait_until(lambda: not is_answering(site), "the silence")
        began = time.monotonic()
        failures = 0
        for _ in range(50):
            try:
                send(site, "room", "x")
            except GroupsUnavailable:
                failures += 1
        # One or two of them have tried and waited for half a second; the others have not.
        assert failures == 50
        assert time.monotonic() - began < 10
        sleeper.join()
        send_until_it_works(site, "room", "x")

    def test_subscribers_notice_it(
        self, site: RedisSite, server: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        member = site.node().join("room", gap="gap")
        reconnects = counts.reconnects
        server.pause()
        try:
            text = f"No messages to groups come from Redis: 127.0.0.1:{server.port} does not answer"
            wait_until(lambda: text in caplog.text, "the report")
            assert not may_join(member.node)
        finally:
            server.resume()
        wait_for_return(member, site, "room")
        assert counts.reconnects > reconnects
        assert caplog.text.count("No messages to groups come") == 1
        assert "Messages to groups come from Redis again" in caplog.text

    def test_backlog_is_no_silence(self, make_redis_site: MakeSite, server: RedisServer) -> None:
        site = make_redis_site(server.url, timeout=0.5, heartbeat=0.1)
        node = site.node()
        member = node.join("room")
        is_over = threading.Event()

        def hold_up() -> None:
            if not is_over.is_set():
                time.sleep(0.05)
                node.loop.call_soon(hold_up)

        reconnects = counts.reconnects
        node.loop.call_soon_threadsafe(hold_up)
        messages = [str(number).ljust(500) for number in range(1000)]
        for message in messages:
            send(site, "room", message)
        wait_until(lambda: len(member.received) == len(messages), "all messages")
        is_over.set()
        assert member.received == messages
        assert counts.reconnects == reconnects

    def test_event_loop_that_was_held_up_blames_nobody(
        self, make_redis_site: MakeSite, server: RedisServer
    ) -> None:
        site = make_redis_site(server.url, timeout=0.3, heartbeat=0.01)
        node = site.node()
        member = node.join("room", gap="gap")
        for _ in range(3):
            node.call(lambda: time.sleep(0.5))
        send(site, "room", "x")
        member.has_received("x")


def may_join(node: Node) -> bool:
    try:
        node.join("other").disconnect()
    except GroupsUnavailable:
        return False
    return True


def is_answering(site: RedisSite) -> bool:
    try:
        send(site, "room", "x")
    except GroupsUnavailable:
        return False
    return True


class TestQueue:
    def test_messages_wait_for_redis(self, make_redis_site: MakeSite, server: RedisServer) -> None:
        site = make_redis_site(server.url, queue=10, timeout=1)
        member = site.node().join("room")
        send(site, "room", "0")
        member.has_received("0")
        server.kill()
        try:
            for number in range(1, 11):
                send(site, "room", str(number))
            with pytest.raises(GroupsUnavailable, match="10 messages wait for Redis"):
                send(site, "room", "11")
        finally:
            server.start()
        late = site.node()
        wait_until(lambda: is_answering(site), "room in the queue")
        member = late.join("room")
        send(site, "room", "last")
        wait_until(lambda: "last" in member.received, "the last message")

    def test_they_arrive_in_order(self, make_redis_site: MakeSite, server: RedisServer) -> None:
        site = make_redis_site(server.url, queue=1000, timeout=1)
        send(site, "kept.room", "0")
        server.kill()
        for number in range(1, 100):
            send(site, "kept.room", str(number))
        server.start()
        member = site.node().join("kept.room", since=0)
        member.has_received(*(str(number) for number in range(1, 100)))

    def test_process_that_ends_says_what_it_takes_along(self, tmp_path: Path) -> None:
        code = f"""if True:
            from django.conf import settings
            where = {{"BACKEND": "{redis_servers.make().url}", "OPTIONS": {{"queue": 5}}}}
            settings.configure(SECRET_KEY="x", WEBSOCKET_GROUPS=where)
            from adwebsocket import groups
            groups.send("room", "x")
        """
        result = run(["-W", "error", "-c", code], cwd=tmp_path)
        assert result.returncode == 0
        assert "Messages to groups that waited for Redis are lost: 1" in result.stdout

    def test_what_is_given_up_is_counted(
        self,
        make_redis_site: MakeSite,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        site = make_redis_site(redis_servers.make().url, queue=10)
        before = counts.unpublished["discarded"]
        for _ in range(3):
            send(site, "room", "x")
        site.publisher.close()
        assert counts.unpublished["discarded"] == before + 3
        assert "Messages to groups that waited for Redis are lost: 3" in caplog.text


@pytest.fixture
def sentinels() -> Iterator[tuple[list[RedisServer], Sentinel]]:
    first = redis_servers.open()
    second = redis_servers.open("--replicaof", f"127.0.0.1 {first.port}")
    third = redis_servers.open("--replicaof", f"127.0.0.1 {first.port}")
    sentinel = redis_servers.make(kind=Sentinel)
    sentinel.watch(first, 1)
    sentinel.start()
    servers = [first, second, third]
    wait_until(lambda: len(sentinel.client.sentinel_slaves("here")) == 2, "the replicas")
    yield servers, sentinel
    for server in [sentinel, *servers]:
        server.stop()


class TestSentinel:
    def test_failover_is_followed(
        self, make_redis_site: MakeSite, sentinels: tuple[list[RedisServer], Sentinel]
    ) -> None:
        servers, sentinel = sentinels
        gone = f"redis://127.0.0.1:{redis_servers.make().port}"
        site = make_redis_site(
            [gone, sentinel.url], sentinel="here", timeout=1, heartbeat=0.3, max_delay=0.2
        )
        member = site.node().join("room", gap="gap")
        send(site, "room", "1")
        member.has_received("1")
        servers[0].kill()
        wait_until(lambda: sentinel.primary != servers[0].port, "the failover")
        wait_for_return(member, site, "room")
        assert member.received[1] == "gap"

    def test_switch_while_both_are_well_is_followed(
        self, make_redis_site: MakeSite, sentinels: tuple[list[RedisServer], Sentinel]
    ) -> None:
        _, sentinel = sentinels
        site = make_redis_site([sentinel.url], sentinel="here", timeout=1, heartbeat=0.3)
        member = site.node().join("kept.room", gap="gap")
        before = sentinel.primary
        wait_until(lambda: try_failover(sentinel), "a replica that may lead")
        wait_until(lambda: sentinel.primary != before, "the switch")
        wait_for_return(member, site, "kept.room")


def try_failover(sentinel: Sentinel) -> bool:
    import redis

    try:
        sentinel.client.execute_command("SENTINEL", "FAILOVER", "here")
    except redis.RedisError:
        return False
    return True


class TestCluster:
    def test_slot_that_moves_is_followed(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site(
            [redis_servers.cluster[0].url], cluster=True, timeout=1, heartbeat=0.3
        )
        groups = ["room", "kept.room", "other"]
        members = {group: site.node().join(group, gap="gap") for group in groups}
        for group in groups:
            send(site, group, "1")
            members[group].has_received("1")
            move_slot(f"{{{group}}}")
        for group in groups:
            wait_for_return(members[group], site, group)
            assert site.node().join(group).node.hub.groups() == [group]

    def test_histories_go_on_while_their_slot_moves(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site([redis_servers.cluster[0].url], cluster=True, timeout=1)
        before = site.node().join("kept.old")
        send(site, "kept.old", "1")
        with moving_slot("{kept.old}"):
            # What exists is still there, so that server has it.
            send(site, "kept.old", "2")
            before.has_received("1", "2")
        # What does not exist yet is on neither server for a moment.
        sender = threading.Thread(target=send, args=[site, "kept.new", "1"])
        with moving_slot("{kept.new}"):
            sender.start()
            sender.join(0.3)
        sender.join()
        member = site.node().join("kept.new", since=0)
        assert member.joined.recovered is True
        member.has_received("1")

    def test_groups_on_all_servers_come_over_one_connection_to_each(
        self, make_redis_site: MakeSite
    ) -> None:
        site = make_redis_site([redis_servers.cluster[1].url], cluster=True)
        node = site.node()
        members = [node.join(f"room.{number}") for number in range(60)]
        for number, member in enumerate(members):
            send(site, f"room.{number}", "x")
            member.has_received("x")
        for server in redis_servers.cluster:
            clients = server.client.client_list()
            assert sum("ssub" in each and int(each["ssub"]) > 0 for each in clients) == 1


def move_slot(key: str) -> None:
    """Give the slot of a key to another server, with what is in it."""
    with moving_slot(key):
        pass


@contextlib.contextmanager
def moving_slot(key: str) -> Iterator[None]:
    """Give the slot of a key to another server at the end of a ``with`` block."""
    servers = redis_servers.cluster
    clients = {each.client.execute_command("CLUSTER", "MYID").decode(): each for each in servers}
    slot = servers[0].client.execute_command("CLUSTER", "KEYSLOT", key)
    owner = next(name for name, each in clients.items() if has_slot(each, slot))
    target = next(name for name in clients if name != owner)
    old, new = clients[owner].client, clients[target].client
    new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", owner)
    old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target)
    yield
    keys: list[Any] = old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
    if keys:
        command = ["MIGRATE", "127.0.0.1", clients[target].port, "", 0, 5000, "KEYS", *keys]
        old.execute_command(*command)
    for client in (new, old):
        client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target)


def has_slot(server: RedisServer, slot: int) -> bool:
    port = server.port
    slots = server.client.execute_command("CLUSTER", "SLOTS")
    ranges = slots if isinstance(slots, list) else [[*k, v["primary"]] for k, v in slots.items()]
    return any(int(a) <= slot <= int(b) and int(node[1]) == port for a, b, node, *_ in ranges)
