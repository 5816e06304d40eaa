"""The groups of one event loop: who is in them here, and what reaches whom.

Sockets join and leave through the facades; the back-end brings what was sent, from wherever. One
pass over the members hands a message to all their transports, without a task for any of them.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..exceptions import ConnectionClosed
from ..protocol.codes import CloseCode
from ..transport.bridge import get_bridge
from .base import Recovery
from .counts import counts
from .membership import Delivery, Membership, is_behind, number_of
from .messages import Closing, Position, check_name
from .options import check_slow

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ..transport.channel import Channel
    from .base import Backend, Subscriptions
    from .messages import Body, Envelope
    from .options import GroupOptions

logger = logging.getLogger("adwebsocket.groups")

# Seconds for messages that others have overtaken.
_PATIENCE: Final = 0.01


class Joined(NamedTuple):
    """What a socket that has joined a group is told.

    Attributes:
        position: where the group's history stands, None for a group without one.
        recovered: whether all that was sent behind ``since`` has been delivered; None where there
            was no ``since``.
    """

    position: Position | None
    recovered: bool | None


class Roster:
    """The members of one group on one event loop.

    Attributes:
        group: the name of the group.
        options: what the group wants.
        members: by their channels.
        subscription: done when the back-end brings the group's messages.
        position: that of the last message of the history that was delivered here.
        held: what came since a message was found to be missing, while that is looked for.
    """

    __slots__ = (
        "_forms",
        "_hub",
        "group",
        "held",
        "members",
        "options",
        "position",
        "subscription",
    )

    def __init__(self, hub: Hub, group: str, options: GroupOptions) -> None:
        self._hub = hub
        self.group = group
        self.options = options
        self.members: dict[Channel, Membership] = {}
        self._forms: dict[Hashable, Hashable] = {}
        self.position: Position | None = None
        # Until the first member knows where the history stands.
        self.held: list[Envelope] | None = [] if options.history else None
        self.subscription: asyncio.Future[None]

    def share_form(self, form: Hashable) -> Hashable:
        """Give the one object that all members of an equal form have."""
        return self._forms.setdefault(form, form)

    def add(self, membership: Membership) -> None:
        """Let a member in."""
        channel = membership.channel
        # Not leave() for one that was in already, with which the subscription might end.
        self.members[channel] = membership
        if channel.memberships is None:
            channel.memberships = {}
        channel.memberships[self.group] = membership
        self._hub.roster_changed(self)

    def remove(self, membership: Membership) -> None:
        """Let a member go; does nothing if it has gone, or joined once more."""
        channel = membership.channel
        if self.members.get(channel) is membership:
            del self.members[channel]
            assert channel.memberships is not None
            del channel.memberships[self.group]
            self._hub.roster_changed(self)

    def deliver(self, envelope: Envelope) -> None:
        """Hand a message to all members, in one pass."""
        delivery = Delivery(envelope)
        excluded = number_of(envelope.exclude)
        form: Hashable = None
        prepared = None
        written = 0
        # A copy: a member that is cut for being slow leaves on the spot.
        for membership in list(self.members.values()):
            if membership.number == excluded:
                continue
            channel = membership.channel
            # What Membership.deliver() does, for those who keep up: without a call for each.
            if membership.keeps_up and channel.writable:
                if membership.form is not form:
                    form = membership.form
                    prepared = delivery.prepare_for(membership)
                channel.write(prepared)
                written += 1
            else:
                membership.deliver(delivery)
        counts.delivered += written


class Hub:
    """The groups of one event loop. On that loop only, unless a method says otherwise.

    Arguments:
        backend: what carries messages between hubs.
        close_user: closes the sockets that a user has in this process.
    """

    def __init__(self, backend: Backend, close_user: Callable[[Closing], None]) -> None:
        self.backend = backend
        self._close_user = close_user
        self.bridge = get_bridge()
        self._rosters: dict[str, Roster] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._subscriptions: Subscriptions = backend.connect(self)

    def start(self) -> None:
        """Begin to receive what is meant for all processes."""
        self._subscriptions.start()

    async def stop(self) -> None:
        """Let go of the back-end. Members that are left receive nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._subscriptions.stop()

    # What the facades call

    async def join(
        self,
        channel: Channel,
        group: str,
        *,
        presence: Any = None,
        since: str | int | None = None,
        slow: str | None = None,
        gap: Body | None = None,
        positions: bool = False,
    ) -> Joined:
        """Let a connection into a group; see ``WebSocket.join`` for the arguments.

        Raises:
            ConnectionClosed: the connection is over.
            GroupsUnavailable: the back-end cannot be reached.
        """
        check_name(group)
        if slow is not None:
            check_slow(slow)
        known = _read_position(since)
        if channel.is_settled:
            raise closed(channel)
        roster = self._rosters.get(group) or self._open(group)
        membership = Membership(roster, channel, presence, slow, gap, wants_positions=positions)
        membership.hold()
        roster.add(membership)
        try:
            # Shielded: others may wait for the same subscription.
            await asyncio.shield(roster.subscription)
            recovery = await self._recover(roster, known)
        except BaseException:
            membership.leave()
            raise
        if channel.is_settled:
            raise closed(channel)
        if roster.position is None:
            roster.position = recovery.position
            self._release(roster)
        membership.begin(recovery)
        return Joined(recovery.position, recovery.recovered)

    async def leave(self, channel: Channel, group: str) -> None:
        """Let a connection out of a group; does nothing where it is not in it."""
        membership = (channel.memberships or {}).get(group)
        if membership is not None:
            membership.leave()

    # What the back-end calls

    def receive(self, item: Envelope | Closing) -> None:
        """Take a message for a group, or the order to close sockets. From any thread."""
        self.bridge.call(partial(self.receive_now, item))

    def receive_now(self, item: Envelope | Closing) -> None:
        """Take a message for a group, or the order to close sockets, and deliver it on the spot."""
        if isinstance(item, Closing):
            self._close(item)
            return
        roster = self._rosters.get(item.group)
        if roster is None:
            return
        counts.received += 1
        if item.position is None or not roster.options.history:
            roster.deliver(item)
        elif roster.held is not None:
            roster.held.append(item)
        else:
            self._deliver_in_order(roster, item)

    def resume(self, groups: list[str]) -> None:
        """Take note that messages of some groups may have been missed, and that is over now."""
        for group in groups:
            roster = self._rosters.get(group)
            if roster is not None:
                self._find_missed(roster)

    def is_member(self, group: str) -> bool:
        """Tell whether a group has members here. From any thread."""
        return group in self._rosters

    def presences(self, group: str) -> list[Any]:
        """Give what is known of the members here. From any thread."""
        roster = self._rosters.get(group)
        return [] if roster is None else [each.presence for each in list(roster.members.values())]

    def groups(self) -> list[str]:
        """Name the groups that have members here. From any thread."""
        return list(self._rosters)

    def count_members(self) -> int:
        """Count the memberships in all groups. From any thread."""
        return sum(len(roster.members) for roster in list(self._rosters.values()))

    def count_waiting(self) -> int:
        """Count the messages that wait for slow members. From any thread."""
        return sum(
            membership.count_waiting()
            for roster in list(self._rosters.values())
            for membership in list(roster.members.values())
            if not membership.keeps_up
        )

    def roster_changed(self, roster: Roster) -> None:
        """Take note that a member has come or gone; the last one takes the subscription along."""
        if not roster.members and self._rosters.get(roster.group) is roster:
            del self._rosters[roster.group]
            roster.subscription.cancel()
            self._subscriptions.unsubscribe(roster.group)
        self._subscriptions.roster_changed(roster.group)

    # Within

    def _open(self, group: str) -> Roster:
        roster = Roster(self, group, self.backend.config.options_of(group))
        roster.subscription = self._spawn(self._subscriptions.subscribe(group))
        roster.subscription.add_done_callback(_retrieve)
        self._rosters[group] = roster
        return roster

    def _spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _recover(self, roster: Roster, since: Position | int | None) -> Recovery:
        if not roster.options.history:
            return Recovery([], None, None if since is None else False)
        return await self._subscriptions.recover(roster.group, since)

    def _deliver_in_order(self, roster: Roster, envelope: Envelope) -> None:
        """Deliver a message of a history once, and look for those that are missing before it."""
        last, position = roster.position, envelope.position
        assert position is not None
        if not is_behind(position, last):
            return
        if last is not None and (
            position.epoch != last.epoch or position.offset != last.offset + 1
        ):
            self._find_missed(roster)
            assert roster.held is not None
            roster.held.append(envelope)
            return
        roster.position = position
        roster.deliver(envelope)

    def _find_missed(self, roster: Roster) -> None:
        """Look in the history for what was missed, while new messages wait behind it."""
        if not roster.options.history or roster.position is None:
            self._report_gap(roster)
        elif roster.held is None:
            roster.held = []
            self._spawn(self._fill_gap(roster, roster.position))

    async def _fill_gap(self, roster: Roster, since: Position) -> None:
        # What two senders sent may overtake each other on its way here.
        await asyncio.sleep(_PATIENCE)
        if not _is_gapless(since, roster.held or []):
            try:
                recovery = await self._subscriptions.recover(roster.group, since)
            except Exception as error:  # whatever it is, those who wait must not do so for ever
                logger.warning("What %s has missed cannot be read: %s", roster.group, error)
                recovery = Recovery([], None, False)
            if not recovery.recovered:
                self._report_gap(roster)
                roster.position = None
            for envelope in recovery.envelopes:
                if is_behind(envelope.position, roster.position):
                    roster.position = envelope.position
                    roster.deliver(envelope)
        self._release(roster)

    def _release(self, roster: Roster) -> None:
        """Deliver what was held, as far as nothing is missing in between."""
        held, roster.held = roster.held or [], None
        for envelope in sorted(held, key=_offset_of):
            if roster.held is None:
                self._deliver_in_order(roster, envelope)
            else:
                roster.held.append(envelope)

    def _report_gap(self, roster: Roster) -> None:
        counts.gaps += 1
        for membership in list(roster.members.values()):
            membership.tell_of_gap()

    def _close(self, order: Closing) -> None:
        if order.user is not None:
            self._close_user(order)
            return
        roster = self._rosters.get(order.group or "")
        for membership in list(roster.members.values()) if roster else ():
            membership.channel.close(order.code, order.reason)


def _offset_of(envelope: Envelope) -> int:
    return 0 if envelope.position is None else envelope.position.offset


def _is_gapless(since: Position, envelopes: list[Envelope]) -> bool:
    """Tell whether messages are all that follow a position, in whichever order."""
    numbers = sorted({_offset_of(envelope) for envelope in envelopes})
    return (
        bool(numbers)
        and {each.position.epoch for each in envelopes if each.position} == {since.epoch}
        and numbers == list(range(since.offset + 1, numbers[-1] + 1))
    )


def _read_position(since: str | int | None) -> Position | int | None:
    """Read what a view gives as a position, which mostly comes from a client."""
    if since is None or (isinstance(since, int) and since >= 0):
        return since
    if isinstance(since, str):
        # What is none cannot be recovered from, like one that is too old.
        return Position.parse(since) or Position("", 0)
    raise ValueError(
        f"since must be a position as the client knows it, or an offset, not {since!r}"
    )


def closed(channel: Channel) -> ConnectionClosed:
    """Say how a connection ended that was to join a group."""
    code = channel.close_code
    return ConnectionClosed(
        CloseCode.ABNORMAL_CLOSURE if code is None else code, channel.close_reason
    )


def _retrieve(future: asyncio.Future[None]) -> None:
    """Look at a subscription's failure, which its members see as well, unless they have gone."""
    if not future.cancelled():
        future.exception()
