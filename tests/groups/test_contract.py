"""What every back-end of groups must do, run over all of them."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from adwebsocket.groups import Closing, Envelope
from tests.groups.nodes import Member, Node, wait_until

if TYPE_CHECKING:
    from tests.groups.conftest import Site


def send(site: Site, group: str, body: str | bytes, **options: Any) -> None:
    site.publisher.publish(Envelope(group, body, **options))


class TestDelivery:
    def test_message_reaches_the_members_of_all_nodes(self, site: Site) -> None:
        members = [node.join("room") for node in (site.node(), site.node()) for _ in range(3)]
        send(site, "room", "text é\n")
        send(site, "room", b"\0binary\n\xff")
        for member in members:
            member.has_received("text é\n", b"\0binary\n\xff")

    def test_message_reaches_no_other_group(self, site: Site) -> None:
        node = site.node()
        other = node.join("room.2")
        member = node.join("room")
        send(site, "room", "x")
        member.has_received("x")
        send(site, "room.2", "y")
        other.has_received("y")

    def test_socket_may_be_in_several_groups(self, site: Site) -> None:
        member = site.node().join("one")
        member.join("two")
        send(site, "one", "1")
        member.has_received("1")
        member.leave("one")
        send(site, "one", "lost")
        send(site, "two", "2")
        member.has_received("1", "2")

    def test_order_of_one_sender_is_kept_on_all_nodes(self, site: Site) -> None:
        members = [site.node().join("room"), site.node().join("room")]
        messages = [str(number) for number in range(500)]
        for message in messages:
            send(site, "room", message)
        for member in members:
            member.has_received(*messages)

    def test_threads_that_send_at_once_lose_nothing(self, site: Site) -> None:
        member = site.node().join("room")

        def send_all(name: str) -> None:
            for number in range(100):
                send(site, "room", f"{name}{number}")

        threads = [threading.Thread(target=send_all, args=[name]) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(member.received) == 400, "400 messages")
        for name in "abcd":
            own = [message for message in member.received if str(message).startswith(name)]
            assert own == [f"{name}{number}" for number in range(100)]

    def test_excluded_member_gets_nothing(self, site: Site) -> None:
        first, second = site.node(), site.node()
        sender, other, elsewhere = first.join("room"), first.join("room"), second.join("room")
        send(site, "room", "x", exclude=sender.address_in("room"))
        send(site, "room", "y")
        other.has_received("x", "y")
        elsewhere.has_received("x", "y")
        sender.has_received("y")

    def test_large_message_arrives_whole(self, site: Site) -> None:
        member = site.node().join("room")
        body = bytes(range(256)) * 4000
        send(site, "room", body)
        member.has_received(body)

    def test_async_code_publishes(self, site: Site) -> None:
        first, second = site.node(), site.node()
        member = second.join("room")

        async def publish() -> None:
            for number in range(10):
                await first.backend.apublish(Envelope("room", str(number)))

        first.run(publish())
        member.has_received(*[str(number) for number in range(10)])


class TestMembership:
    def test_connection_that_ends_has_left(self, site: Site) -> None:
        node = site.node()
        member = node.join("room")
        stays = node.join("room")
        member.disconnect()
        wait_until(lambda: site.publisher.count("room") == 1, "one member")
        stays.disconnect()
        wait_until(lambda: site.publisher.count("room") == 0, "no member")
        assert node.hub.groups() == []

    def test_members_of_all_nodes_are_counted(self, site: Site) -> None:
        first, second = site.node(), site.node()
        for node, name in ((first, "Ann"), (first, "Bob"), (second, "Cid")):
            node.join("room", presence={"name": name})
        wait_until(lambda: site.publisher.count("room") == 3, "three members")
        names = sorted(presence["name"] for presence in site.publisher.members("room"))
        assert names == ["Ann", "Bob", "Cid"]
        assert site.publisher.count("empty") == 0
        assert site.publisher.members("empty") == []

    def test_async_code_asks_for_members(self, site: Site) -> None:
        node = site.node()
        node.join("room", presence="Ann")
        wait_until(lambda: node.run(node.backend.acount("room")) == 1, "one member")
        assert node.run(node.backend.amembers("room")) == ["Ann"]

    def test_joining_again_changes_the_presence(self, site: Site) -> None:
        member = site.node().join("room", presence="away")
        member.join("room", presence="here")
        wait_until(lambda: site.publisher.members("room") == ["here"], "the new presence")
        send(site, "room", "x")
        member.has_received("x")

    def test_group_is_subscribed_again_after_it_was_empty(self, site: Site) -> None:
        node = site.node()
        for number in range(20):
            member = node.join("room")
            send(site, "room", str(number))
            member.has_received(str(number))
            member.leave("room")

    def test_connection_that_is_over_cannot_join(self, site: Site) -> None:
        from adwebsocket import ConnectionClosed

        node = site.node()
        member = Member(node)
        member.disconnect()
        with pytest.raises(ConnectionClosed):
            member.join("room")
        assert node.hub.groups() == []

    def test_members_of_a_group_are_closed_everywhere(self, site: Site) -> None:
        first, second = site.node(), site.node()
        members = [first.join("room"), second.join("room")]
        other = first.join("other")
        site.publisher.publish(Closing("room", None, 4000, "over"))
        for member in members:
            wait_until(lambda member=member: member.channel.ended, "the end")
            assert member.channel.closes == [(4000, "over")]
        assert not other.channel.ended

    def test_order_to_close_a_user_reaches_all_nodes(self, site: Site) -> None:
        nodes = [site.node(), site.node()]
        for node in nodes:  # so that both are there
            node.join("room")
        order = Closing(None, "17", 4401, "logged out")
        site.publisher.publish(order)
        for node in nodes:
            wait_until(lambda node=node: node.closed_users == [order], "the order")


class TestHistory:
    def test_what_was_missed_is_delivered_first(self, site: Site) -> None:
        node = site.node()
        before = node.join("kept.room")
        send(site, "kept.room", "1")
        before.has_received("1")
        since = str(before.joined.position)
        send(site, "kept.room", "2")
        after = site.node().join("kept.room", since=since)
        assert after.joined.recovered is True
        send(site, "kept.room", "3")
        after.has_received("1", "2", "3")
        before.has_received("1", "2", "3")

    def test_offset_alone_will_do(self, site: Site) -> None:
        for number in range(5):
            send(site, "kept.room", str(number))
        member = site.node().join("kept.room", since=3)
        assert member.joined.recovered is True
        member.has_received("3", "4")

    def test_without_since_nothing_old_comes(self, site: Site) -> None:
        send(site, "kept.room", "old")
        member = site.node().join("kept.room")
        assert member.joined.recovered is None
        assert member.joined.position is not None
        assert member.joined.position.offset == 1
        send(site, "kept.room", "new")
        member.has_received("new")

    @pytest.mark.parametrize("since", ["elsewhere-1", "nonsense", "", 7])
    def test_unknown_position_is_not_recovered(self, site: Site, since: str | int) -> None:
        send(site, "kept.room", "1")
        member = site.node().join("kept.room", since=since)
        assert member.joined.recovered is False
        send(site, "kept.room", "2")
        member.has_received("2")

    def test_history_is_bounded(self, site: Site) -> None:
        for number in range(10):
            send(site, "kept.short", str(number))
        node = site.node()
        assert node.join("kept.short", since=6).joined.recovered is False
        member = node.join("kept.short", since=7)
        assert member.joined.recovered is True
        member.has_received("7", "8", "9")

    def test_group_without_history_says_so(self, site: Site) -> None:
        member = site.node().join("room", since="a-1")
        assert member.joined == (None, False)

    def test_positions_come_with_the_messages(self, site: Site) -> None:
        send(site, "kept.room", "1")
        member = site.node().join("kept.room", since=0, positions=True)
        send(site, "kept.room", b"\0")
        wait_until(lambda: len(member.received) == 3, "three messages")
        position = member.joined.position
        assert position is not None
        epoch = position.epoch
        assert [json.loads(message) for message in member.received] == [
            {"group": "kept.room", "position": f"{epoch}-1", "recovered": True},
            {"group": "kept.room", "position": f"{epoch}-1", "message": "1"},
            {"group": "kept.room", "position": f"{epoch}-2", "base64": "AA=="},
        ]

    def test_messages_of_all_senders_have_one_order_on_all_nodes(self, site: Site) -> None:
        nodes = [site.node() for _ in range(3)]
        members = [node.join("kept.room") for node in nodes]

        def send_all(node: Node) -> None:
            for number in range(100):
                node.backend.publish(Envelope("kept.room", f"{nodes.index(node)} {number}"))

        threads = [threading.Thread(target=send_all, args=[node]) for node in nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for member in members:
            wait_until(lambda member=member: len(member.received) == 300, "300 messages")
        assert members[0].received == members[1].received == members[2].received
        assert len(set(members[0].received)) == 300

    def test_nothing_is_lost_or_twice_while_members_come_and_go(self, site: Site) -> None:
        nodes = [site.node(), site.node()]
        total = 400
        thread = threading.Thread(
            target=lambda: [send(site, "kept.busy", str(number)) for number in range(total)]
        )
        thread.start()
        seen = [follow(node, total) for node in nodes]
        thread.join()
        assert seen == [[str(number) for number in range(total)]] * 2


def follow(node: Node, total: int) -> list[str]:
    """Join and leave all the time, from position to position, until everything has come."""
    messages: list[str] = []
    since: str | int = 0
    while len(messages) < total:
        member = node.join("kept.busy", since=since, positions=True)
        assert member.joined.recovered is True
        wait_until(lambda member=member: member.received, "the position")
        member.disconnect()
        for text in member.received:
            fields = json.loads(text)
            if "message" in fields:
                messages.append(fields["message"])
                since = fields["position"]
    return messages
