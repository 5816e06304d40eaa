"""A hub on the event loop of a test, and a back-end that does what the test says.

For what goes wrong in an order of its own: a subscription that takes its time, a history that lies,
messages that come twice or not at all.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

from adwebsocket.groups import Backend, Envelope, GroupsConfig, Position, Recovery, Subscriptions
from adwebsocket.groups.hub import Hub
from adwebsocket.groups.options import GroupOptions
from tests.connections import RecordingChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    from adwebsocket.groups import Closing

    Answer = Recovery | Exception

EPOCH = "epoch"


class ScriptedSubscriptions(Subscriptions):
    """Bring nothing by itself.

    Attributes:
        calls: what was called, in order.
        subscribed: what ``subscribe`` waits for; an exception in it is what it raises.
        recover_answers: what ``recover`` gives, one after the other: also a future of it.
    """

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.subscribed: asyncio.Future[None] | None = None
        self.recover_answers: list[Answer | asyncio.Future[Recovery]] = []

    def start(self) -> None:
        self.calls.append("start")

    async def subscribe(self, group: str) -> None:
        self.calls.append(f"subscribe {group}")
        if self.subscribed is not None:
            # Shielded: one future may stand for several subscriptions.
            await asyncio.shield(self.subscribed)

    def unsubscribe(self, group: str) -> None:
        self.calls.append(f"unsubscribe {group}")

    async def recover(self, group: str, since: Position | int | None) -> Recovery:
        self.calls.append(("recover", since))
        answer = self.recover_answers.pop(0)
        if isinstance(answer, asyncio.Future):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def stop(self) -> None:
        self.calls.append("stop")


class ScriptedBackend(Backend):
    """Publish nothing, know nobody."""

    def __init__(self, options: GroupOptions) -> None:
        super().__init__(GroupsConfig(patterns=(("*", options),)))
        self.subscriptions = ScriptedSubscriptions()

    def publish(self, item: Envelope | Closing) -> None:
        raise NotImplementedError

    def count(self, group: str) -> int:
        raise NotImplementedError

    def members(self, group: str) -> list[Any]:
        raise NotImplementedError

    def connect(self, hub: Hub) -> ScriptedSubscriptions:
        return self.subscriptions


class Stage:
    """A hub on the running loop. The group is always ``room``.

    Arguments:
        options: what the group wants, see ``GroupOptions``.

    Attributes:
        hub: the hub.
        script: what its back-end does.
    """

    def __init__(self, **options: Any) -> None:
        backend = ScriptedBackend(GroupOptions(**options))
        self.script = backend.subscriptions
        self.hub = Hub(backend, lambda order: None)
        self.hub.start()

    def channel(self, *, writable: bool = True) -> RecordingChannel:
        """Make a connection."""
        channel = RecordingChannel(asyncio.get_running_loop())
        channel.accept()
        channel.writable = writable
        return channel

    async def join(self, *, writable: bool = True, **options: Any) -> RecordingChannel:
        """Let a new connection join."""
        channel = self.channel(writable=writable)
        await self.hub.join(channel, "room", **options)
        return channel

    def joining(self, channel: RecordingChannel, **options: Any) -> asyncio.Task[Any]:
        """Let a connection begin to join."""
        return asyncio.create_task(self.hub.join(channel, "room", **options))

    async def receive(self, *items: Envelope | Closing | str) -> None:
        """Let messages come from the back-end, and all be done that they cause."""
        for item in items:
            self.hub.receive(Envelope("room", item) if isinstance(item, str) else item)
        await settle()

    def begin_history(self, offset: int) -> None:
        """Let the next ``recover`` say that the history stands at an offset."""
        self.script.recover_answers.append(Recovery([], Position(EPOCH, offset), None))


async def settle() -> None:
    """Let everything happen that is due without input."""
    for _ in range(10):
        await asyncio.sleep(0)


async def until(condition: Callable[[], Any]) -> None:
    """Let the loop go round until something holds; the test's deadline bounds it."""
    while not condition():  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.001)


def count_alive(*kinds: type) -> int:
    """Count the objects of some types that anything holds."""
    # Twice: what only a weak dictionary has kept goes after its key.
    gc.collect()
    gc.collect()
    return sum(type(each) in kinds for each in gc.get_objects())


def kept(offset: int, epoch: str = EPOCH) -> Envelope:
    """Make a message of a history; its body is its offset."""
    return Envelope("room", str(offset), position=Position(epoch, offset))


def missed(first: int, last: int, head: int | None = None) -> Recovery:
    """Make the answer that these messages were missed, of a history that stands at ``head``."""
    envelopes = [kept(offset) for offset in range(first, last + 1)]
    return Recovery(envelopes, Position(EPOCH, last if head is None else head), True)


LOST = Recovery([], Position(EPOCH, 100), False)
