"""What has come, gone, been refused and been closed in this process, as numbers that only grow.

Channels count here while they work; ``adwebsocket.stats()`` reads it from any thread. It knows
neither connections nor why anybody wants to know.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from typing import TypeAlias

    Closer: TypeAlias = Literal["server", "client", "nobody"]

# Of what clients may choose, such as close codes; whatever is beyond them is counted together.
_MOST_KEYS: Final = 64
_OTHER: Final = "other"


class Table:
    """Numbers by key. From any thread."""

    __slots__ = ("_lock", "_numbers")

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def count(self, key: str) -> None:
        """Count one more of ``key``."""
        with self._lock:
            numbers = self._numbers
            if key not in numbers and len(numbers) >= _MOST_KEYS:
                key = _OTHER
            numbers[key] = numbers.get(key, 0) + 1

    def read(self) -> dict[str, int]:
        """Give a copy of the numbers."""
        with self._lock:
            return dict(self._numbers)


class Tally:
    """The numbers of one process, from its start.

    The first four are counted for each message, so they are plain attributes; adding to one is a
    single step to other threads as long as no call stands between reading and writing it. Messages
    are floats: adding 1.0 takes 15 ns and adding 1, beyond what fits into 30 bits, 26. They are
    exact up to 2**53.

    Attributes:
        messages_in, bytes_in: what was read from clients: messages, and bytes of all frames.
        messages_out, bytes_out: the same of what was written to them.
        accepted: handshakes that were answered with 101.
        refusals: handshakes that were answered with something else, by status.
        reasons: the same by what refused them.
        closes: accepted connections that are over, by code, for each who began to close.
    """

    __slots__ = (
        "accepted",
        "bytes_in",
        "bytes_out",
        "closes",
        "messages_in",
        "messages_out",
        "reasons",
        "refusals",
    )

    def __init__(self) -> None:
        self.messages_in = 0.0
        self.bytes_in = 0
        self.messages_out = 0.0
        self.bytes_out = 0
        self.accepted = 0
        self.refusals = Table()
        self.reasons = Table()
        self.closes: dict[Closer, Table] = {
            "server": Table(),
            "client": Table(),
            "nobody": Table(),
        }


tally: Final = Tally()
