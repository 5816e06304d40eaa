"""The members of one group on one event loop, and one pass over them.

The hub keeps one for each group that has members on its loop; nothing else knows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .counts import counts
from .membership import Delivery, number_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable

    from ..transport.channel import Channel
    from .hub import Hub
    from .membership import Membership
    from .messages import Envelope, Position
    from .options import GroupOptions


class Roster:
    """The members of one group on one event loop.

    Attributes:
        group: the name of the group.
        options: what the group wants.
        members: by their channels.
        subscription: done when the back-end brings the group's messages.
        position: that of the last message of the history that was delivered here.
        held: what came since a message was found to be missing, while that is looked for.
        is_stale: more may have been missed since then.
    """

    __slots__ = (
        "_forms",
        "_hub",
        "group",
        "held",
        "is_stale",
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
        self.is_stale = False
        self.subscription: asyncio.Future[None]

    def share_form(self, form: Hashable) -> Hashable:
        """Give the one object that all members of an equal form have."""
        return self._forms.setdefault(form, form)

    def add(self, membership: Membership) -> None:
        """Let a member in."""
        channel = membership.channel
        self.members[channel] = membership
        if channel.memberships is None:
            channel.memberships = {}
        channel.memberships[self.group] = membership
        self._hub.roster_changed(self)

    def remove(self, membership: Membership) -> None:
        """Let a member go; does nothing if it has gone."""
        channel = membership.channel
        if self.members.get(channel) is membership:
            del self.members[channel]
            assert channel.memberships is not None
            del channel.memberships[self.group]
            self._hub.roster_changed(self)

    def begins_at(self, position: Position | None) -> bool:
        """Take note where the history stands when the first member begins; tell whether it is."""
        # Others that are in may not have had all that came before.
        if self.position is not None or not all(each.is_held for each in self.members.values()):
            return False
        self.position = position
        return True

    def held_elsewhere(self, position: Position | None) -> set[Position | None]:
        """Give the positions of what is held and belongs to another history than a position."""
        if position is None:
            return set()
        positions = {envelope.position for envelope in self.held or ()}
        return {each for each in positions if each is not None and each.epoch != position.epoch}

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
