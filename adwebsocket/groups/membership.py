"""One connection in one group: what reaches it, and what happens when it is too slow.

The hub makes one when a socket joins, and delivers to it on the event loop. A member that keeps up
costs one write; only a slow one has a backlog, so it delays nobody.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import secrets
from typing import TYPE_CHECKING, Any, Final

from ..protocol.codes import CloseCode
from .counts import counts

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ..transport.channel import Channel
    from .base import Recovery
    from .hub import Roster
    from .messages import Body, Envelope, Position
    from .options import GroupOptions

# Names this process among all that share a back-end.
_token = secrets.token_hex(8)
_numbers: Final = itertools.count(1)


def _take_another_token() -> None:
    """Tell the members of a child process from those of its parent, which have the same numbers."""
    global _token
    _token = secrets.token_hex(8)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_take_another_token)


def number_of(address: str | None) -> int | None:
    """Give the number of a member of this process, None where it is of another one."""
    token, _, number = (address or "").partition(".")
    return int(number) if token == _token else None


class Delivery:
    """An envelope on its way to members, encoded once for all whose channels write alike."""

    __slots__ = ("_prepared", "envelope")

    def __init__(self, envelope: Envelope) -> None:
        self.envelope = envelope
        self._prepared: dict[Hashable, Any] = {}

    def prepare_for(self, membership: Membership) -> Any:
        """Give what the channel of a member writes."""
        prepared = self._prepared.get(membership.form)
        if prepared is None:
            prepared = self._prepared[membership.form] = membership.prepare(self.envelope)
        return prepared


def wrap(envelope: Envelope) -> str:
    """Write an envelope for a client that keeps its position, as JSON text."""
    fields = describe_position(envelope.group, envelope.position)
    if isinstance(envelope.body, str):
        fields["message"] = envelope.body
    else:
        fields["base64"] = base64.b64encode(envelope.body).decode()
    return _dump(fields)


def describe_position(group: str, position: Position | None) -> dict[str, Any]:
    """Begin a text for a client that keeps its position."""
    return {"group": group, "position": None if position is None else str(position)}


def _dump(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))


class Backlog:
    """Messages that wait for a slow member.

    Arguments:
        slow: what to do when it is full, see ``GroupOptions``.
        options: how much may wait.
    """

    __slots__ = ("_items", "_keys", "_options", "_size", "_slow")

    def __init__(self, slow: str, options: GroupOptions) -> None:
        self._slow = slow
        self._options = options
        # By key where only the newest of each waits, else by number; in the order of arrival.
        self._items: dict[Any, Delivery] = {}
        self._keys = itertools.count()
        self._size = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, delivery: Delivery) -> bool:
        """Let a message wait; tell whether the member may stay."""
        key: Any = next(self._keys)
        if self._slow == "latest":
            key = delivery.envelope.key or ""
            if key in self._items:
                # In the place of the one before, which has waited for its turn.
                self._size -= len(self._items[key].envelope.body)
                counts.dropped["outdated"] += 1
        size = len(delivery.envelope.body)
        if not self._has_room_for(key, size):
            if self._slow == "disconnect":
                return False
            if self._slow == "drop_newest":
                counts.dropped["newest"] += 1
                return True
            while self._items and not self._has_room_for(key, size):
                self._drop_oldest()
        self._items[key] = delivery
        self._size += size
        return True

    def take(self) -> Delivery:
        """Take the message that has waited for the longest time."""
        delivery = self._items.pop(next(iter(self._items)))
        self._size -= len(delivery.envelope.body)
        return delivery

    def _has_room_for(self, key: Any, size: int) -> bool:
        count = len(self._items) + (key not in self._items)
        if count > self._options.backlog:
            return False
        # A message that is larger than all the room waits alone.
        return self._size + size <= self._options.backlog_bytes or not self._items

    def _drop_oldest(self) -> None:
        self.take()
        counts.dropped["oldest"] += 1


class Membership:
    """A connection in a group. On its event loop only.

    Arguments:
        roster: the group's members on this loop.
        channel: the connection.
        presence: what others may know of it, None for nothing.
        slow: what happens when it is too slow, None for what the group says.
        gap: the message that tells it that messages may have been missed, None for none.
        wants_positions: every message is wrapped in JSON with the group and the position, see
            ``wrap``.

    Attributes:
        number: what names the member within this process.
        form: the same for members that are sent the same bytes.
        keeps_up: a message can be written at once, if the channel is writable.
    """

    __slots__ = (
        "_backlog",
        "_gap",
        "_is_held",
        "_seen",
        "_slow",
        "_wants_positions",
        "channel",
        "form",
        "keeps_up",
        "number",
        "presence",
        "roster",
    )

    def __init__(
        self,
        roster: Roster,
        channel: Channel,
        presence: Any,
        slow: str | None,
        gap: Body | None,
        *,
        wants_positions: bool,
    ) -> None:
        self.roster = roster
        self.channel = channel
        self.presence = presence
        self.number = next(_numbers)
        self.form = roster.share_form((channel.form, wants_positions))
        self.keeps_up = True
        self._wants_positions = wants_positions
        self._gap = gap
        self._slow = slow or roster.options.slow
        self._backlog: Backlog | None = None
        self._is_held = False
        self._seen: Position | None = None

    @property
    def address(self) -> str:
        """Name the member to all processes."""
        return f"{_token}.{self.number}"

    def prepare(self, envelope: Envelope) -> Any:
        """Give what the channel writes, for all members of this form."""
        return self.channel.prepare(wrap(envelope) if self._wants_positions else envelope.body)

    def deliver(self, delivery: Delivery) -> None:
        """Send a message, or let it wait if the peer is slow."""
        if not self._is_held:
            if self._seen is not None:
                if not is_behind(delivery.envelope.position, self._seen):
                    return
                self._seen = None
            if self._backlog is None and self.channel.writable:
                self.keeps_up = True
                self.channel.write(delivery.prepare_for(self))
                counts.delivered += 1
                return
        self._put_off(delivery)

    def hold(self) -> None:
        """Let messages wait until ``begin``."""
        self._is_held = True
        self.keeps_up = False

    def begin(self, recovery: Recovery) -> None:
        """Deliver what the member has missed, and then what has come since ``hold``."""
        backlog, self._backlog = self._backlog, None
        self._is_held = False
        self._tell_position(recovery)
        for envelope in recovery.envelopes:
            self.deliver(Delivery(envelope))
        # Messages that the history held may still be on their way here.
        self._seen = recovery.position
        while backlog:
            self.deliver(backlog.take())
        self.keeps_up = self._seen is None and self._backlog is None

    def _put_off(self, delivery: Delivery) -> None:
        self.keeps_up = False
        if self._backlog is None:
            self._backlog = Backlog(self._slow, self.roster.options)
            if not self._is_held:
                self.channel.senders.append(self._flush)
        if not self._backlog.add(delivery):
            counts.dropped["disconnected"] += 1 + len(self._backlog)
            self._backlog = None
            reason = f"too slow for the group {self.roster.group}"[:123]
            self.channel.close(CloseCode.TRY_AGAIN_LATER, reason)

    def _tell_position(self, recovery: Recovery) -> None:
        if self._wants_positions:
            fields = describe_position(self.roster.group, recovery.position)
            self._write({**fields, "recovered": recovery.recovered})

    def tell_of_gap(self) -> None:
        """Tell the member, if it asked for it, that it may have missed messages."""
        if self._wants_positions:
            fields = describe_position(self.roster.group, self.roster.position)
            self._write({**fields, "gap": True})
        elif self._gap is not None:
            self.channel.write(self.channel.prepare(self._gap))

    def _write(self, fields: dict[str, Any]) -> None:
        self.channel.write(self.channel.prepare(_dump(fields)))

    def leave(self) -> None:
        """End with the connection, or before it."""
        self._backlog = None
        self.keeps_up = False
        self.roster.remove(self)

    def count_waiting(self) -> int:
        """Count the messages that wait for this member."""
        return 0 if self._backlog is None else len(self._backlog)

    def _flush(self, _: None) -> None:
        """Send what waits, as far as the peer takes it. Called when it takes more."""
        backlog = self._backlog
        while backlog and self.channel.writable and not self.channel.ended:
            self.channel.write(backlog.take().prepare_for(self))
            counts.delivered += 1
        if not backlog:
            self._backlog = None
            self.keeps_up = self._seen is None and not self._is_held
        elif not self.channel.ended:
            self.channel.senders.append(self._flush)


def is_behind(position: Position | None, other: Position | None) -> bool:
    """Tell whether a message comes behind a position, or cannot be compared with it."""
    if position is None or other is None or position.epoch != other.epoch:
        return True
    return position.offset > other.offset
