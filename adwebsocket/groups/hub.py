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
from .base import GroupsUnavailable, Recovery
from .counts import counts
from .membership import Membership, is_behind
from .messages import Closing, check_name, read_since
from .options import check_slow
from .roster import Roster

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..transport.channel import Channel
    from .base import Backend, Subscriptions
    from .messages import Body, Envelope, Position

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
        known = read_since(since)
        if channel.is_settled:
            raise closed(channel)
        roster = self._rosters.get(group) or self._open(group)
        membership = roster.members.get(channel)
        if membership is None:
            membership = Membership(roster, channel, presence, slow, gap, wants_positions=positions)
            membership.hold()
            roster.add(membership)
        else:
            membership.change(presence, slow, gap, wants_positions=positions)
            self.roster_changed(roster)
            if known is None and not membership.is_held:
                membership.tell_position(roster.position, None)
                return Joined(roster.position, None)
            membership.hold()
        try:
            recovery = await self._find_beginning(roster, membership, known)
        except BaseException:
            membership.give_up()
            raise
        if channel.is_settled:
            raise closed(channel)
        # Unless it has left meanwhile.
        if roster.members.get(channel) is membership:
            if roster.begins_at(recovery.position):
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
        else:
            self._take_with_position(roster, item)

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

    async def _find_beginning(
        self, roster: Roster, membership: Membership, since: Position | int | None
    ) -> Recovery:
        """Wait until the messages of a group come, and read those before them that were missed."""
        subscription = roster.subscription
        if not subscription.done():
            # Not awaited itself: others may wait for it, and its last member takes it along.
            await asyncio.wait([subscription])
        if not subscription.cancelled():
            subscription.result()
            return await self._recover(roster, since)
        if roster.members.get(membership.channel) is membership:
            raise GroupsUnavailable("the event loop is about to end")
        return Recovery([], None, None if since is None else False)

    async def _recover(self, roster: Roster, since: Position | int | None) -> Recovery:
        if not roster.options.history:
            return Recovery([], None, None if since is None else False)
        return await self._subscriptions.recover(roster.group, since)

    def _take_with_position(self, roster: Roster, envelope: Envelope) -> None:
        if roster.held is not None:
            roster.held.append(envelope)
        else:
            self._deliver_in_order(roster, envelope)

    def _deliver_in_order(self, roster: Roster, envelope: Envelope) -> None:
        """Deliver a message of a history once, and look for those that are missing before it."""
        last, position = roster.position, envelope.position
        assert position is not None
        if not is_behind(position, last):
            return
        if last is not None and (
            position.epoch != last.epoch or position.offset != last.offset + 1
        ):
            self._find_missed(roster, position)
            assert roster.held is not None
            roster.held.append(envelope)
            return
        roster.position = position
        roster.deliver(envelope)

    def _find_missed(self, roster: Roster, until: Position | None = None) -> None:
        """Look in the history for what was missed, while new messages wait behind it.

        Arguments:
            until: that of the message before which others are missing, if that is how it is known.
        """
        if not roster.options.history or roster.position is None:
            self._report_gap(roster)
        elif roster.held is None:
            roster.held = []
            self._spawn(self._fill_gap(roster, roster.position, until))
        else:
            roster.is_stale = True

    async def _fill_gap(self, roster: Roster, since: Position, until: Position | None) -> None:
        # What two senders sent may overtake each other on its way here.
        await asyncio.sleep(_PATIENCE)
        if not _is_gapless(since, roster.held or []):
            recovery = await self._read_missed(roster.group, since)
            for envelope in recovery.envelopes:
                if is_behind(envelope.position, roster.position):
                    roster.position = envelope.position
                    roster.deliver(envelope)
            held = [each for each in roster.held or [] if is_behind(each.position, roster.position)]
            if not _is_all(recovery, until) and not _is_gapless(roster.position, held):
                self._report_gap(roster)
                roster.held, roster.position = held, None
        self._release(roster)

    async def _read_missed(self, group: str, since: Position) -> Recovery:
        try:
            return await self._subscriptions.recover(group, since)
        except GroupsUnavailable as error:
            logger.warning("What the group %s has missed cannot be read: %s", group, error)
        except Exception:
            # With all that comes held for ever, the group would be dead.
            logger.exception("What the group %s has missed cannot be read", group)
        return Recovery([], None, False)

    def _release(self, roster: Roster) -> None:
        """Deliver what was held, as far as nothing is missing in between."""
        held, roster.held = roster.held or [], None
        if roster.is_stale:
            roster.is_stale = False
            self._find_missed(roster)
        for envelope in _sorted(held):
            self._take_with_position(roster, envelope)

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


def _sorted(envelopes: list[Envelope]) -> list[Envelope]:
    """Put messages of a history in order, those of another epoch where its first one came."""
    epochs: dict[str, int] = {}

    def place(envelope: Envelope) -> tuple[int, int]:
        position = envelope.position
        assert position is not None
        return epochs.setdefault(position.epoch, len(epochs)), position.offset

    return sorted(envelopes, key=place)


def _is_all(recovery: Recovery, until: Position | None) -> bool:
    """Tell whether a history has given all that was before a message that has come."""
    if not recovery.recovered or until is None:
        return recovery.recovered is True
    position = recovery.position
    # One that knows less than has come here cannot tell.
    return position is not None and not is_behind(until, position)


def _is_gapless(since: Position | None, envelopes: list[Envelope]) -> bool:
    """Tell whether messages are all that follow a position, in whichever order."""
    positions = {each.position for each in envelopes if each.position is not None}
    numbers = sorted(position.offset for position in positions)
    return (
        since is not None
        and bool(numbers)
        and {position.epoch for position in positions} == {since.epoch}
        and numbers == list(range(since.offset + 1, numbers[-1] + 1))
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
