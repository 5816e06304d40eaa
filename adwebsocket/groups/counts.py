"""What happened to the messages of groups in this process, for ``adwebsocket.stats()``.

Counted where it happens, on event loops and in the threads that publish; nothing is ever lost
without a number here that is larger for it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counts:
    """Numbers that only grow.

    Attributes:
        published: messages that this process has sent to groups.
        unpublished: messages that could not be handed to the back-end, or to one of the processes
            behind it, by reason.
        received: messages that came from the back-end and had members here.
        delivered: messages handed to members.
        dropped: messages that members did not get, by reason.
        skipped: what came from the back-end and was no message of ours, by reason.
        gaps: times that the members of a group may have missed messages.
        reconnects: times that the connection to the back-end was lost and made again.
    """

    published: int = 0
    unpublished: Counter[str] = field(default_factory=Counter)
    received: int = 0
    delivered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    reconnects: int = 0


counts = Counts()
