"""Groups over a Redis that is well: strangers on its channels, presence, processes, the end."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adwebsocket.groups import Closing, Envelope, GroupsUnavailable
from adwebsocket.groups.counts import counts
from adwebsocket.groups.messages import encode
from tests.groups.nodes import wait_until
from tests.groups.redis_servers import redis_servers
from tests.processes import environment, write_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.certificates import Certificate
    from tests.groups.conftest import RedisSite

    MakeSite = Callable[..., RedisSite]


def send(site: RedisSite, group: str, body: str, **options: Any) -> None:
    site.publisher.publish(Envelope(group, body, **options))


class TestStrangers:
    def channel(self, site: RedisSite, group: str) -> str:
        return f"{site.options['prefix']}:0:{{{group}}}"

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"hello", "it is no message of adwebsocket, or of another version"),
            (b"@", "its position cannot be read"),
            (b"@\xff-\xff\n", "its position cannot be read"),
            (b"@abc-1\nhello", "it is no message of adwebsocket, or of another version"),
            (b"", "it is no message of adwebsocket, or of another version"),
        ],
    )
    def test_foreign_message_is_skipped_and_counted(
        self, make_redis_site: MakeSite, data: bytes, reason: str
    ) -> None:
        site = make_redis_site()
        member = site.node().join("room")
        before = counts.skipped[reason]
        redis_servers.single.client.publish(self.channel(site, "room"), data)
        send(site, "room", "x")
        member.has_received("x")
        assert counts.skipped[reason] == before + 1

    def test_they_are_logged_once_a_minute(
        self, make_redis_site: MakeSite, caplog: pytest.LogCaptureFixture
    ) -> None:
        site = make_redis_site()
        member = site.node().join("room")
        for _ in range(20):
            redis_servers.single.client.publish(self.channel(site, "room"), "hello")
        send(site, "room", "x")
        member.has_received("x")
        (record,) = [each for each in caplog.records if "Skipped" in each.message]
        assert self.channel(site, "room") in record.message

    def test_two_projects_with_one_prefix_do_not_disturb_each_other(
        self, make_redis_site: MakeSite, settings_secret: Callable[[str], None]
    ) -> None:
        site = make_redis_site()
        members = [site.node().join("kept.room", presence="me")]
        later = site.node()
        settings_secret("another")
        other = make_redis_site(prefix=site.options["prefix"])
        members.append(other.node().join("kept.room", presence="me"))
        send(other, "kept.room", "theirs")
        send(site, "kept.room", "ours")
        members[0].has_received("ours")
        members[1].has_received("theirs")
        wait_until(lambda: site.publisher.count("kept.room") == 1, "one member")
        late = later.join("kept.room", since=0)
        assert late.joined.recovered is True
        late.has_received("ours")

    def test_message_for_another_group_is_skipped(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site()
        member = site.node().join("room")
        tag = site.publisher._tag  # type: ignore[attr-defined]
        data = encode(Envelope("other", "x"), tag)
        redis_servers.single.client.publish(self.channel(site, "room"), data)
        send(site, "room", "y")
        member.has_received("y")

    def test_databases_of_one_server_are_apart(self, make_redis_site: MakeSite) -> None:
        url = redis_servers.single.url
        site = make_redis_site(f"{url}/1")
        other = make_redis_site(f"{url}/2", prefix=site.options["prefix"])
        members = [each.node().join("room") for each in (site, other)]
        send(other, "room", "theirs")
        send(site, "room", "ours")
        members[0].has_received("ours")
        members[1].has_received("theirs")


class TestServersThatRefuse:
    def expect_refusal(self, site: RedisSite, text: str, caplog: pytest.LogCaptureFixture) -> None:
        """Publishers and members get the reason, and so does the log, once."""
        node = site.node()
        for _ in range(2):
            with pytest.raises(GroupsUnavailable, match=text):
                node.join("room")
            with pytest.raises(GroupsUnavailable, match=text):
                send(site, "room", "x")
            with pytest.raises(GroupsUnavailable, match=text):
                site.publisher.count("room")
        time.sleep(0.1)
        reports = [each.message for each in caplog.records if "No messages to gr" in each.message]
        assert len(reports) == 1
        assert re.search(text, reports[0])

    def test_wrong_password(
        self, make_redis_site: MakeSite, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = redis_servers.secret.url
        site = make_redis_site(url, password="wrong")
        self.expect_refusal(site, "Redis refuses the username or password", caplog)

    def test_no_password(self, make_redis_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
        site = make_redis_site(redis_servers.secret.url)
        self.expect_refusal(site, "Redis refuses the username or password", caplog)

    def test_right_password_and_certificate(
        self, make_redis_site: MakeSite, certificate: Certificate
    ) -> None:
        server = redis_servers.encrypted(certificate)
        site = make_redis_site(server.url, password="secret", ssl_ca_certs=str(certificate.file))
        member = site.node().join("kept.room")
        send(site, "kept.room", "x")
        member.has_received("x")

    def test_user_that_may_do_no_more_than_it_takes(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site(f"{redis_servers.single.url}/1", username="shop", password="x")
        prefix = site.options["prefix"]
        text = (Path(__file__).parent.parent.parent / "docs" / "groups-redis.md").read_text()
        (commands,) = re.findall(r"commands: `(publish [^`]*)`", text)
        rules = [f"~{prefix}:*", f"&{prefix}:*", *(f"+{name}" for name in commands.split())]
        client = redis_servers.single.client
        client.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">x", *rules)
        member = site.node().join("kept.room")
        send(site, "kept.room", "1")
        member.has_received("1")
        assert site.node().join("kept.room", since=0).joined.recovered is True
        wait_until(lambda: site.publisher.count("kept.room") == 2, "both members")
        client.execute_command("ACL", "DELUSER", "shop")

    def test_certificate_that_nobody_knows(
        self,
        make_redis_site: MakeSite,
        certificate: Certificate,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        site = make_redis_site(redis_servers.encrypted(certificate).url, password="secret")
        self.expect_refusal(site, "TLS with Redis fails", caplog)

    def test_server_without_tls(
        self, make_redis_site: MakeSite, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = redis_servers.single.url.replace("redis:", "rediss:")
        site = make_redis_site(url, timeout=0.3)
        self.expect_refusal(site, "does not answer|Timeout connecting", caplog)

    def test_server_that_knows_no_streams(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site(redis_servers.old.url)
        member = site.node().join("room")
        with pytest.raises(GroupsUnavailable, match="this server is too old"):
            send(site, "kept.room", "x")
        send(site, "room", "x")
        member.has_received("x")

    def test_cluster_that_knows_no_sharded_channels(
        self, make_redis_site: MakeSite, caplog: pytest.LogCaptureFixture
    ) -> None:
        older = ["--rename-command", "SSUBSCRIBE", "", "--rename-command", "SPUBLISH", ""]
        (server,) = redis_servers.open_cluster([0, 16384], *older)
        site = make_redis_site([server.url], cluster=True)
        node = site.node()
        for _ in range(2):
            with pytest.raises(GroupsUnavailable, match="this server is too old"):
                node.join("room")
            with pytest.raises(GroupsUnavailable, match="this server is too old"):
                send(site, "room", "x")
        assert caplog.text.count("No messages to groups come from Redis: this server is") == 1

    def test_server_that_is_no_cluster(
        self, make_redis_site: MakeSite, caplog: pytest.LogCaptureFixture
    ) -> None:
        site = make_redis_site([redis_servers.single.url], cluster=True)
        self.expect_refusal(site, "cluster support disabled", caplog)

    def test_cluster_that_is_taken_for_one_server(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site(redis_servers.cluster[0].url)
        with pytest.raises(GroupsUnavailable, match="set the option cluster"):
            [send(site, f"kept.{number}", "x") for number in range(9)]

    def test_nobody_there(
        self, make_redis_site: MakeSite, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = redis_servers.make().url
        self.expect_refusal(make_redis_site(url), "Error 111", caplog)

    def test_sentinel_that_knows_no_such_servers(
        self, make_redis_site: MakeSite, caplog: pytest.LogCaptureFixture
    ) -> None:
        site = make_redis_site([redis_servers.single.url], sentinel="here")
        self.expect_refusal(site, "this server is too old", caplog)


class TestPresence:
    def test_thousand_groups_are_written_together(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site()
        node = site.node()
        members = [node.join(f"room.{number}", presence=number) for number in range(1000)]
        wait_until(lambda: site.publisher.members("room.999") == [999], "the last")
        assert site.publisher.members("room.7") == [7]
        for member in members:
            member.disconnect()
        wait_until(lambda: site.publisher.count("room.999") == 0, "the last")

    def test_presence_that_is_no_json_is_none(
        self, make_redis_site: MakeSite, caplog: pytest.LogCaptureFixture
    ) -> None:
        site = make_redis_site()
        node = site.node()
        node.join("room", presence=object())
        node.join("room", presence="Ann")
        wait_until(lambda: site.publisher.count("room") == 2, "two members")
        assert sorted(map(str, site.publisher.members("room"))) == ["Ann", "None"]
        assert "is no JSON" in caplog.text

    def test_node_that_stops_takes_its_members_along(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site()
        node = site.node()
        node.join("room")
        wait_until(lambda: site.publisher.count("room") == 1, "the member")
        node.run(node.hub.stop())
        assert site.publisher.count("room") == 0
        prefix = site.options["prefix"]
        assert redis_servers.single.client.keys(f"{prefix}:*:process:*") == []

    def test_members_come_back_after_redis_has_lost_them(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site(presence_ttl=1)
        site.node().join("room")
        wait_until(lambda: site.publisher.count("room") == 1, "the member")
        for key in redis_servers.single.client.keys(f"{site.options['prefix']}:*"):
            redis_servers.single.client.delete(key)
        wait_until(lambda: site.publisher.count("room") == 1, "the member")


# What a process runs that knows nothing of requests and event loops.
TASKS = """
import os
import sys
import threading

from django.conf import settings

settings.configure(
    SECRET_KEY="for tests",
    WEBSOCKET_GROUPS={"BACKEND": sys.argv[1], "OPTIONS": {"prefix": sys.argv[2]}},
)

import django

django.setup()

from adwebsocket import groups

groups.send("room", "parent 0")
children = []
for number in range(3):
    child = os.fork()
    if not child:
        threads = [
            threading.Thread(
                target=lambda name: [groups.send("room", f"{name} {n}") for n in range(50)],
                args=[f"child {number}.{thread}"],
            )
            for thread in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    children.append(child)
for number in range(1, 50):
    groups.send("room", f"parent {number}")
for child in children:
    assert os.waitpid(child, 0)[1] == 0
assert groups.count("room") == 1, groups.count("room")
"""

MEMBER = """
import asyncio
import sys

from django.conf import settings

settings.configure(
    SECRET_KEY="for tests",
    WEBSOCKET_GROUPS={
        "BACKEND": sys.argv[1], "OPTIONS": {"prefix": sys.argv[2], "presence_ttl": 1.0}
    },
)

from adwebsocket.groups.registry import get_hub
from tests.connections import RecordingChannel


async def main():
    channel = RecordingChannel(asyncio.get_running_loop())
    channel.accept()
    await get_hub().join(channel, "room", presence="ghost")
    await asyncio.sleep(60)


asyncio.run(main())
"""


class TestProcesses:
    def test_process_that_forks_sends_without_a_request(
        self, make_redis_site: MakeSite, tmp_path: Path
    ) -> None:
        site = make_redis_site()
        member = site.node().join("room")
        wait_until(lambda: site.publisher.count("room") == 1, "the member")
        write_files(tmp_path, {"tasks.py": TASKS})
        arguments = ["tasks.py", redis_servers.single.url, site.options["prefix"]]
        subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", *arguments],
            cwd=tmp_path,
            env=environment(None),
            timeout=60,
            check=True,
        )
        senders = ["parent", *[f"child {n}.{thread}" for n in range(3) for thread in range(2)]]
        wait_until(lambda: len(member.received) == 350, "all messages")
        for sender in senders:
            own = [text for text in member.received if str(text).startswith(f"{sender} ")]
            assert own == [f"{sender} {number}" for number in range(50)]

    def test_member_of_a_process_that_was_killed_is_gone_soon(
        self, make_redis_site: MakeSite, tmp_path: Path
    ) -> None:
        site = make_redis_site()
        write_files(tmp_path, {"member.py": MEMBER})
        path = os.pathsep.join(each for each in sys.path if each)
        process = subprocess.Popen(
            [sys.executable, "member.py", redis_servers.single.url, site.options["prefix"]],
            cwd=tmp_path,
            env=environment({"PYTHONPATH": path}),
        )
        try:
            wait_until(lambda: site.publisher.members("room") == ["ghost"], "the member")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        wait_until(lambda: site.publisher.count("room") == 0, "the end of the ghost")
        assert redis_servers.single.client.keys(f"{site.options['prefix']}:*:members:*") == []


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestEnd:
    def test_nothing_is_left(self, make_redis_site: MakeSite) -> None:
        client = redis_servers.single.client
        client.ping()
        gc.collect()
        before = threading.active_count(), count_descriptors()
        connections = len(client.client_list())
        site = make_redis_site()
        nodes = [site.node() for _ in range(3)]
        members = [node.join("kept.room") for node in nodes]
        for node in nodes:
            node.run(node.backend.apublish(Envelope("kept.room", "x")))
            node.run(node.backend.acount("kept.room"))
        site.publisher.publish(Closing("kept.room", None, 4000, ""))
        for member in members:
            wait_until(lambda member=member: member.channel.ended, "the end")
        site.close()
        site.forget()
        del nodes, members, node, member
        gc.collect()
        assert (threading.active_count(), count_descriptors()) == before
        wait_until(lambda: len(client.client_list()) == connections, "no connection")

    def test_tasks_end_with_the_hub(self, make_redis_site: MakeSite) -> None:
        import asyncio

        node = make_redis_site().node()
        node.join("room")
        node.run(node.hub.stop())
        assert len(node.call(asyncio.all_tasks)) == 1

    def test_backend_may_be_used_after_it_was_closed(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site()
        member = site.node().join("room")
        send(site, "room", "1")
        site.publisher.close()
        send(site, "room", "2")
        member.has_received("1", "2")


class TestHistory:
    def test_it_is_shared_by_all_and_expires(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site()
        send(site, "kept.room", "1")
        client, prefix = redis_servers.single.client, site.options["prefix"]
        (stream,) = client.keys(f"{prefix}:*:history:*")
        (state,) = client.keys(f"{prefix}:*:state:*")
        assert 290 <= client.ttl(stream) <= 300
        assert client.ttl(state) > 3600

    def test_silent_group_keeps_its_place(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site()
        member = site.node().join("kept.room", positions=True)
        send(site, "kept.room", "1")
        client, prefix = redis_servers.single.client, site.options["prefix"]
        (stream,) = client.keys(f"{prefix}:*:history:*")
        client.delete(stream)  # as after ttl
        send(site, "kept.room", "2")
        wait_until(lambda: len(member.received) == 3, "both")
        assert [json.loads(each).get("message") for each in member.received] == [None, "1", "2"]
        assert site.node().join("kept.room", since=0).joined.recovered is False
        assert site.node().join("kept.room", since=1).joined.recovered is True

    def test_server_that_was_flushed_begins_a_new_epoch(self, make_redis_site: MakeSite) -> None:
        site = make_redis_site()
        node = site.node()
        send(site, "kept.room", "1")
        member = node.join("kept.room", since=0, gap="gap")
        since = str(member.joined.position)
        client = redis_servers.single.client
        client.delete(*client.keys(f"{site.options['prefix']}:*:{{kept.room}}"))
        send(site, "kept.room", "2")
        member.has_received("1", "gap", "2")
        assert site.node().join("kept.room", since=since).joined.recovered is False

    def test_scripts_are_sent_again_after_they_were_forgotten(
        self, make_redis_site: MakeSite
    ) -> None:
        site = make_redis_site()
        member = site.node().join("kept.room")
        send(site, "kept.room", "1")
        redis_servers.single.client.script_flush()
        send(site, "kept.room", "2")
        member.has_received("1", "2")
