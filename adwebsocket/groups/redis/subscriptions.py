"""What brings messages from Redis to one hub, and tells Redis who is in the groups there.

It knows which channel comes over which connection, and reads what comes. On the hub's event loop
only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from ..base import GroupsUnavailable, Subscriptions
from ..counts import counts
from ..messages import ForeignEnvelopeError
from .errors import Reporter, logger
from .links import Channel, Link
from .presence import Presence

if TYPE_CHECKING:
    from ..base import Recovery
    from ..hub import Hub
    from ..messages import Position
    from .backend import RedisBackend
    from .settings import Address

# Seconds until the same foreign messages are written to the log again.
_SKIPPED_AGAIN: Final = 60.0
# Seconds before a history is read again, which did not work. Publishers may have found Redis away a
# moment before the subscriber finds it back.
_RECOVERY_DELAYS: Final = (0.1, 0.5, 1.0)
# Seconds until it is looked for where a slot has gone, which servers learn one by one.
_MOVE_DELAY: Final = 0.05


class RedisSubscriptions(Subscriptions):
    """The channels of a hub.

    Arguments:
        backend: how Redis is reached.
        hub: who gets the messages.
    """

    def __init__(self, backend: RedisBackend, hub: Hub) -> None:
        self._backend = backend
        self._hub = hub
        self.settings = backend.settings
        self.locator = backend.client.locator
        verb = "S" if self.settings.is_cluster else ""
        self.subscribe_command = f"{verb}SUBSCRIBE"
        self.unsubscribe_command = f"{verb}UNSUBSCRIBE"
        self._links: dict[Address | str, Link] = {}
        self._channels: dict[str, Channel] = {}
        self._presence = Presence(backend, hub)
        self._failures = Reporter(float("inf"))
        self._skipped = Reporter(_SKIPPED_AGAIN)
        self._is_rearranging = False

    # What the hub calls

    def start(self) -> None:
        """Connect, and hear orders for all processes from then on."""
        self._open(Channel(self._backend.names.control, None))
        self._presence.start()

    async def subscribe(self, group: str) -> None:
        """Receive the messages of a group, as soon as Redis has confirmed that."""
        name = self._backend.names.channel(group)
        link = self._link(name)
        if link.failure is not None:
            raise GroupsUnavailable(link.failure)
        channel = Channel(name, group)
        self._open(channel)
        try:
            # A little longer than connecting may take, which then tells why it does not work.
            async with asyncio.timeout(1.2 * self.settings.timeout):
                await channel.ready
        except TimeoutError:
            self._close(channel)
            raise GroupsUnavailable("Redis does not confirm the subscription") from None
        except BaseException:
            self._close(channel)
            raise

    def unsubscribe(self, group: str) -> None:
        """Receive the messages of a group no more."""
        channel = self._channels.get(self._backend.names.channel(group))
        if channel is not None:
            self._close(channel)

    async def recover(self, group: str, since: Position | int | None) -> Recovery:
        """Read the history of a group, and be patient: what cannot be read counts as lost."""
        for delay in _RECOVERY_DELAYS:
            try:
                return await self._backend.run_aside(self._backend.recover, group, since)
            except GroupsUnavailable:
                await asyncio.sleep(delay)
        return await self._backend.run_aside(self._backend.recover, group, since)

    def roster_changed(self, group: str) -> None:
        """Let Redis know, soon."""
        self._presence.note(group)

    async def stop(self) -> None:
        """Close all connections."""
        links = list(self._links.values())
        self._links.clear()
        self._channels.clear()
        await asyncio.gather(*(link.stop() for link in links))
        await self._presence.stop()

    # What links call

    def receive(self, channel: Channel, data: bytes) -> None:
        """Give a message to the hub, if it is one of ours."""
        try:
            item = self._backend.read(data)
            if item.group != channel.group:
                raise ForeignEnvelopeError("it is for another group than its channel")
        except ForeignEnvelopeError as error:
            reason = str(error).partition(":")[0]
            counts.skipped[reason] += 1
            self._skipped.report(reason, "Skipped what came over %s: %s", channel.name, error)
            return
        self._hub.receive(item)

    def report(self, kind: str, text: str) -> None:
        """Say why no messages come, once."""
        self._failures.report(kind, "No messages to groups come from Redis: %s", text)

    def resume(self, groups: list[str], *, is_new: bool) -> None:
        """Take note that channels work again."""
        if not is_new:
            counts.reconnects += 1
            self._presence.repeat()
        if self._failures.forget():
            logger.warning("Messages to groups come from Redis again")
        if groups:
            self._hub.resume(groups)

    def rearrange(self) -> None:
        """Move channels to the servers that have them now."""
        self._is_rearranging = False
        for link in list(self._links.values()):
            for name in list(link.channels):
                if self.locator.shard_of(name) != link.shard:
                    channel = link.give_away(name)
                    self._link(name).add(channel)

    def rearrange_soon(self) -> None:
        """Do so in a moment, once for many reasons."""
        if not self._is_rearranging:
            self._is_rearranging = True
            asyncio.get_running_loop().call_later(_MOVE_DELAY, self.rearrange)

    def drop(self, link: Link) -> None:
        """Forget a link that has ended for want of channels."""
        if self._links.get(link.shard) is link:
            del self._links[link.shard]

    # Within

    def _open(self, channel: Channel) -> None:
        self._channels[channel.name] = channel
        self._link(channel.name).add(channel)

    def _close(self, channel: Channel) -> None:
        if self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            for link in self._links.values():
                if link.channels.get(channel.name) is channel:
                    link.remove(channel.name)

    def _link(self, name: str) -> Link:
        shard = self.locator.shard_of(name)
        link = self._links.get(shard)
        if link is None:
            link = self._links[shard] = Link(self, shard)
        return link
