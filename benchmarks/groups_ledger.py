"""What a member of a group must have got, kept beside what it did get.

The soak has a ledger for each member. It must not know how messages come, nor of which server.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Published:
    """The messages of a publisher, which are the numbers from 1 on.

    ``newest`` is the last one that it has begun to send, ``refused`` those of which it was told
    that they may not have gone out.
    """

    newest: int = 0
    refused: set[int] = field(default_factory=set)

    def count_sent(self, numbers: range) -> int:
        """Count those that went out."""
        return sum(number not in self.refused for number in numbers)


class Ledger:
    """What one member got, over all times that it was in the group.

    Attributes:
        received: messages.
        repeated: messages that came twice, or behind a later one.
        gaps: times that it was told that it may have missed some.
    """

    def __init__(self, published: Published) -> None:
        self.received = 0
        self.repeated = 0
        self.gaps = 0
        self._published = published
        self._seen = 0
        # The last message before those that must all come; None until there is one again.
        self._due: int | None = None
        self._told_behind: int | None = None
        self._lost: list[range] = []
        self._told: list[range] = []

    def join(self, recovered: bool | None) -> None:
        """Take note that the member is in, with all that it had missed, without, or anew."""
        if recovered:
            return
        if recovered is False:
            self.tell_of_gap()
        self._due = self._published.newest

    def tell_of_gap(self) -> None:
        """Take note that the member was told that it may have missed messages."""
        self.gaps += 1
        self._told_behind = max(self._seen, self._due or 0)
        self._due = None

    def receive(self, number: int) -> None:
        """Take note of a message."""
        if number <= self._seen:
            self.repeated += 1
            return
        self.received += 1
        if self._told_behind is not None:
            end = number if self._due is None else min(number, self._due + 1)
            self._told.append(range(self._told_behind + 1, end))
            self._told_behind = None
        if self._due is not None and number > self._due + 1:
            self._lost.append(range(self._due + 1, number))
        self._seen = number
        self._due = max(number, self._due or 0)

    @property
    def lacks(self) -> int:
        """How many messages must still come."""
        if self._due is None:
            return 0
        return self._published.count_sent(range(self._due + 1, self._published.newest + 1))

    def settle(self) -> None:
        """Give up on what has not come."""
        if self.lacks:
            assert self._due is not None
            self._lost.append(range(self._due + 1, self._published.newest + 1))
        self._due = None

    def count_lost(self) -> int:
        """Count the messages that did not come, and of which nobody told."""
        return sum(map(self._published.count_sent, self._lost))

    def count_told(self) -> int:
        """Count the messages that did not come, with a word about it."""
        return sum(map(self._published.count_sent, self._told))
