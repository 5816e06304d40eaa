"""Messages of a history that arrive in another order than they were sent.

With several senders they may, on connections of their own; the hub puts them right.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from adwebsocket.groups import Envelope, GroupsConfig, GroupsUnavailable, Position, Recovery
from adwebsocket.groups.counts import counts
from adwebsocket.groups.memory import MemoryBackend, MemorySubscriptions
from adwebsocket.groups.options import GroupOptions
from tests.groups.nodes import Member, Node, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adwebsocket.groups import Hub

GROUP = "kept"
EPOCH = "epoch"


class ScriptedBackend(MemoryBackend):
    """A back-end whose history is what a test says.

    Attributes:
        known: the bodies of the messages that the history holds.
        asked: since when it was read.
        may_answer: reading it waits for this.
    """

    def __init__(self) -> None:
        super().__init__(GroupsConfig(patterns=((GROUP, GroupOptions(history=100)),)))
        self.known: list[str] | None = []
        self.asked: list[object] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def connect(self, hub: Hub) -> ScriptedSubscriptions:
        return ScriptedSubscriptions(self, hub)


class ScriptedSubscriptions(MemorySubscriptions):
    """Reads the history of the script."""

    _backend: ScriptedBackend

    async def recover(self, group: str, since: Position | int | None) -> Recovery:
        known = self._backend.known
        self._backend.asked.append(since)
        await self._backend.may_answer.wait()
        if known is None:
            raise GroupsUnavailable("it is away")
        start = since.offset if isinstance(since, Position) else len(known)
        envelopes = [message(number) for number in range(start + 1, len(known) + 1)]
        return Recovery(envelopes, Position(EPOCH, len(known)), None if since is None else True)


def message(number: int) -> Envelope:
    return Envelope(GROUP, str(number), position=Position(EPOCH, number))


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node(ScriptedBackend())
    yield node
    node.stop()


@pytest.fixture
def backend(node: Node) -> ScriptedBackend:
    assert isinstance(node.backend, ScriptedBackend)
    return node.backend


def receive(node: Node, *numbers: int) -> None:
    for number in numbers:
        node.hub.receive(message(number))


def test_messages_that_overtook_each_other_are_put_in_order(
    node: Node, backend: ScriptedBackend
) -> None:
    member = node.join(GROUP)
    receive(node, 2, 1, 4, 3, 5)
    member.has_received(*"12345")
    assert backend.asked == [None]


def test_what_is_missing_is_read(node: Node, backend: ScriptedBackend) -> None:
    member = node.join(GROUP)
    backend.known = ["1", "2"]
    receive(node, 3, 1)
    member.has_received(*"123")
    assert backend.asked == [None, Position(EPOCH, 0)]


def test_messages_that_overtake_each_other_while_it_is_read_are_put_in_order(
    node: Node, backend: ScriptedBackend
) -> None:
    member = node.join(GROUP)
    backend.known = ["1", "2"]
    node.call(backend.may_answer.clear)
    receive(node, 2)
    wait_until(lambda: len(backend.asked) == 2, "the question")
    receive(node, 4, 3)
    node.call(backend.may_answer.set)
    member.has_received(*"1234")


def test_messages_that_overtake_each_other_while_the_first_member_joins_are_put_in_order(
    node: Node, backend: ScriptedBackend
) -> None:
    node.call(backend.may_answer.clear)
    member = Member(node)
    joining = threading.Thread(target=member.join, args=[GROUP])
    joining.start()
    wait_until(lambda: backend.asked, "the question")
    receive(node, 2, 1)
    node.call(backend.may_answer.set)
    joining.join()
    assert member.joined.position == Position(EPOCH, 0)
    member.has_received("1", "2")


def test_history_that_cannot_be_read_holds_nobody_for_ever(
    node: Node, backend: ScriptedBackend
) -> None:
    member = node.join(GROUP, gap="gap")
    backend.known = None
    before = counts.gaps
    receive(node, 3, 4)
    member.has_received("gap", "3", "4")
    receive(node, 5)
    member.has_received("gap", "3", "4", "5")
    assert counts.gaps == before + 1


def test_position_in_a_group_without_history_here_is_no_matter(node: Node) -> None:
    member = node.join("room")
    for number in (1, 5, 2):
        node.hub.receive(message(number)._replace(group="room"))
    member.has_received(*"152")
