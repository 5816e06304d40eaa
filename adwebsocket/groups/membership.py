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
    from collections.abc import Collection, Hashable

    from ..transport.channel import Channel
    from .base import Recovery
    from .messages import Body, Envelope, Position
    from .options import GroupOptions
    from .roster import Roster

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
        options: how much may wait, besides what the member has missed.

    Attributes:
        slow: as above; it may change.
    """

    __slots__ = ("_items", "_keys", "_options", "_owed", "_size", "slow")

    def __init__(self, slow: str, options: GroupOptions) -> None:
        self.slow = slow
        self._options = options
        # How many of the first items the member has missed.
        self._owed = 0
        # By key where only the newest of each waits, else by number; in the order of arrival.
        self._items: dict[Any, Delivery] = {}
        self._keys = itertools.count()
        self._size = 0

    def __len__(self) -> int:
        return len(self._items)

    def owe(self, delivery: Delivery) -> None:
        """Let a message wait that the member has missed, however many they are.

        They are bounded by the history, and the member has had no time to take them. Those before
        which nothing else waits count for no bound later on.
        """
        if self._owed == len(self._items):
            self._owed += 1
        else:
            self._size += len(delivery.envelope.body)
        self._items[next(self._keys)] = delivery

    def add(self, delivery: Delivery) -> bool:
        """Let a message wait; tell whether the member may stay."""
        key: Any = next(self._keys)
        if self.slow == "latest":
            key = delivery.envelope.key or ""
        size = len(delivery.envelope.body)
        outdated = self._items.get(key)
        if outdated is not None:
            # In the place of the one before, which has waited for its turn.
            size -= len(outdated.envelope.body)
            counts.dropped["outdated"] += 1
        elif self.slow == "disconnect" and not self._has_room_for(key, size):
            return False
        elif self.slow == "drop_newest" and not self._has_room_for(key, size):
            counts.dropped["newest"] += 1
            return True
        while not self._has_room_for(key, size):
            self._drop_oldest(key)
        self._items[key] = delivery
        self._size += size
        return True

    def take(self) -> Delivery:
        """Take the message that has waited for the longest time."""
        delivery = self._items.pop(next(iter(self._items)))
        if self._owed:
            self._owed -= 1
        else:
            self._size -= len(delivery.envelope.body)
        return delivery

    def _has_room_for(self, key: Any, size: int) -> bool:
        count = len(self._items) - self._owed + (key not in self._items)
        if count > self._options.backlog:
            return False
        # A message that is larger than all the room waits alone.
        return self._size + size <= self._options.backlog_bytes or count == 1

    def _drop_oldest(self, but: Any) -> None:
        waiting = itertools.islice(self._items, self._owed, None)
        oldest = next(key for key in waiting if key != but)
        self._size -= len(self._items.pop(oldest).envelope.body)
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
        "_bygone",
        "_gap",
        "_held",
        "_is_new",
        "_is_queued",
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
        self.number = next(_numbers)
        self.keeps_up = True
        self._backlog: Backlog | None = None
        self._held: list[Delivery] | None = None
        self._is_new = True
        self._is_queued = False
        self._seen: Position | None = None
        self._bygone: Collection[Position | None] = ()
        self.change(presence, slow, gap, wants_positions=wants_positions)

    def change(
        self, presence: Any, slow: str | None, gap: Body | None, *, wants_positions: bool
    ) -> None:
        """Set what the member wants. One that is in the group misses nothing by it."""
        self.presence = presence
        self.form = self.roster.share_form((self.channel.form, wants_positions))
        self._wants_positions = wants_positions
        self._gap = gap
        self._slow = slow or self.roster.options.slow
        if self._backlog is not None:
            self._backlog.slow = self._slow

    @property
    def address(self) -> str:
        """Name the member to all processes."""
        return f"{_token}.{self.number}"

    def prepare(self, envelope: Envelope) -> Any:
        """Give what the channel writes, for all members of this form."""
        return self.channel.prepare(wrap(envelope) if self._wants_positions else envelope.body)

    def deliver(self, delivery: Delivery) -> None:
        """Send a message, or let it wait if the peer is slow."""
        if self._held is not None:
            self._hold_back(self._held, delivery)
            return
        if self._seen is not None:
            position = delivery.envelope.position
            if position in self._bygone or not is_behind(position, self._seen):
                return
            self._seen = None
            self._bygone = ()
        if self._backlog is None and self.channel.writable:
            self.keeps_up = True
            self._send(delivery)
        else:
            self._put_off(delivery)

    @property
    def is_held(self) -> bool:
        """Whether messages wait until ``begin``."""
        return self._held is not None

    def hold(self) -> None:
        """Let messages wait until ``begin``, or ``give_up``."""
        if self._held is None:
            self._held = []
        self.keeps_up = False

    def begin(self, recovery: Recovery) -> None:
        """Deliver what the member has missed, and then what has come since ``hold``."""
        held, self._held = self._held or [], None
        self._is_new = False
        if recovery.recovered:
            # It is among what was missed.
            self._backlog = None
        self.tell_position(recovery.position, recovery.recovered)
        # Messages that the history held may still be on their way here; and so may those of one
        # that it has followed, which the roster holds while it looks for what is missing there.
        self._seen = recovery.position
        self._bygone = self.roster.held_elsewhere(recovery.position)
        for envelope in recovery.envelopes:
            self._owe(Delivery(envelope))
        for delivery in held:
            if is_behind(delivery.envelope.position, self._seen):
                self._owe(delivery)
        self.keeps_up = self._seen is None and self._backlog is None

    def give_up(self) -> None:
        """Go back to where it was before ``hold``: out of the group, or in it."""
        if self._is_new:
            self.leave()
            return
        held, self._held = self._held or [], None
        for delivery in held:
            self.deliver(delivery)
        self.keeps_up = self._seen is None and self._backlog is None

    def _send(self, delivery: Delivery) -> None:
        self.channel.write(delivery.prepare_for(self))
        counts.delivered += 1

    def _hold_back(self, held: list[Delivery], delivery: Delivery) -> None:
        held.append(delivery)
        options = self.roster.options
        if not options.history and len(held) > options.backlog:
            # What comes before join() has returned is owed to nobody. Of a history it may be: then
            # the back-end's limit of time bounds it.
            del held[0]
            counts.dropped["joining"] += 1

    def _owe(self, delivery: Delivery) -> None:
        if self._backlog is None and self.channel.writable:
            self._send(delivery)
        else:
            self._open_backlog().owe(delivery)

    def _open_backlog(self) -> Backlog:
        if self._backlog is None:
            self._backlog = Backlog(self._slow, self.roster.options)
            self._queue()
        return self._backlog

    def _queue(self) -> None:
        """Ask to be told when the peer takes more, once."""
        if not self._is_queued:
            self._is_queued = True
            self.channel.senders.append(self._flush)

    def _put_off(self, delivery: Delivery) -> None:
        self.keeps_up = False
        backlog = self._open_backlog()
        if not backlog.add(delivery):
            counts.dropped["disconnected"] += 1 + len(backlog)
            self._backlog = None
            reason = f"too slow for the group {self.roster.group}"[:123]
            self.channel.close(CloseCode.TRY_AGAIN_LATER, reason)

    def tell_position(self, position: Position | None, recovered: bool | None) -> None:
        """Tell the member, if it asked for positions, where it begins."""
        if self._wants_positions:
            fields = describe_position(self.roster.group, position)
            self._write({**fields, "recovered": recovered})

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
        if self._backlog is not None:
            counts.dropped["left"] += len(self._backlog)
        self._backlog = self._held = None
        if self._is_queued:
            self.channel.senders.withdraw(self._flush)
        self.keeps_up = False
        self.roster.remove(self)

    def count_waiting(self) -> int:
        """Count the messages that wait for this member. From any thread."""
        backlog = self._backlog
        return 0 if backlog is None else len(backlog)

    def _flush(self, _: None) -> None:
        """Send what waits, as far as the peer takes it. Called when it takes more."""
        self._is_queued = False
        backlog = self._backlog
        while backlog and self.channel.writable and not self.channel.ended:
            self._send(backlog.take())
        if not backlog:
            self._backlog = None
            self.keeps_up = self._seen is None and self._held is None
        elif not self.channel.ended:
            self._queue()


def is_behind(position: Position | None, other: Position | None) -> bool:
    """Tell whether a message comes behind a position, or cannot be compared with it."""
    if position is None or other is None or position.epoch != other.epoch:
        return True
    return position.offset > other.offset
