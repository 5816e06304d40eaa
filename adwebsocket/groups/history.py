"""Histories in memory: the last messages of each group that wants one, for those who come back."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from .base import Recovery
from .messages import Position

if TYPE_CHECKING:
    from collections.abc import Callable

    from .messages import Envelope
    from .options import GroupOptions

# Groups whose history is kept; beyond it, that of the group that has been silent for longest goes.
_MOST_HISTORIES: Final = 10_000


class History:
    """The last messages of one group.

    Attributes:
        epoch: which history it is.
        offset: how many messages it had. Goes on when messages are forgotten: a group that was
            silent for long has not lost any.
        expires: the time at which the messages are forgotten, on the clock of the keeper.
    """

    __slots__ = ("envelopes", "epoch", "expires", "offset")

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)
        self.offset = 0
        self.envelopes: deque[Envelope] = deque()
        self.expires = 0.0

    @property
    def position(self) -> Position:
        """Where the history stands."""
        return Position(self.epoch, self.offset)

    def append(self, envelope: Envelope, options: GroupOptions) -> Envelope:
        """Give a message its position, and keep it."""
        self.offset += 1
        envelope = envelope._replace(position=self.position)
        self.envelopes.append(envelope)
        while len(self.envelopes) > options.history:
            self.envelopes.popleft()
        return envelope

    def since(self, since: Position | int | None) -> Recovery:
        """Give the messages behind a position, if all of them are still there."""
        if since is None:
            return Recovery([], self.position, None)
        if isinstance(since, int):
            since = Position(self.epoch, since)
        missed = self.offset - since.offset
        if since.epoch != self.epoch or not 0 <= missed <= len(self.envelopes):
            return Recovery([], self.position, False)
        envelopes = list(self.envelopes)[len(self.envelopes) - missed :]
        return Recovery(envelopes, self.position, True)


class Histories:
    """The histories of all groups. Not for several threads at once.

    Arguments:
        clock: gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The one that has been silent for longest first.
        self._histories: OrderedDict[str, History] = OrderedDict()
        self._until_sweep = 0

    def append(self, envelope: Envelope, options: GroupOptions) -> Envelope:
        """Give a message its position, and keep it for ``options.ttl`` seconds."""
        history = self.get(envelope.group)
        self._histories.move_to_end(envelope.group)
        history.expires = self._clock() + options.ttl
        envelope = history.append(envelope, options)
        self._until_sweep -= 1
        if self._until_sweep <= 0:
            self._sweep()
        return envelope

    def get(self, group: str) -> History:
        """Give the history of a group, a new one if it has none."""
        history = self._histories.get(group)
        if history is None:
            history = self._histories[group] = History()
            if len(self._histories) > _MOST_HISTORIES:
                self._histories.popitem(last=False)
        if history.expires <= self._clock():
            history.envelopes.clear()
        return history

    def _sweep(self) -> None:
        """Forget messages that are too old. Each history is looked at once in so many messages."""
        now = self._clock()
        for history in self._histories.values():
            if history.expires <= now:
                history.envelopes.clear()
        self._until_sweep = len(self._histories)
