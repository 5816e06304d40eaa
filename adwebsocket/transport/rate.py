"""How many messages a second a peer may send.

A channel has a meter where ``Limits.rate_limit`` is set. It counts, and knows neither messages nor
what becomes of a peer that sends too many.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RateMeter:
    """Tell how many of the messages of one peer are within its rate.

    What a peer does not send it saves, up to one second's worth and one message: with that one,
    whoever keeps to the rate may be late once and in time again.

    Time in which nothing is read counts in full. What waits in the system meanwhile comes at once
    when reading goes on, and that is not the peer's fault.

    Arguments:
        rate: messages a second.
        clock: gives the time in seconds.

    Attributes:
        rate: messages a second.
    """

    __slots__ = ("_clock", "_looked_at", "_paused_at", "_saved", "_spare", "rate")

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._looked_at = clock()
        self._paused_at: float | None = None
        self._saved = rate + 1
        # What may come besides, however late.
        self._spare = 0.0

    @property
    def reason(self) -> str:
        """What a peer is told that has sent more, in a close frame."""
        return f"more than {self.rate:g} messages a second"

    def admit(self, count: int) -> int:
        """Give how many of so many messages, which have just come, are within the rate."""
        self._save_up(self._clock())
        admitted = min(count, int(self._saved + self._spare))
        self._saved -= admitted
        if self._saved < 0:
            self._spare += self._saved
            self._saved = 0.0
        return admitted

    def allow(self, count: float) -> None:
        """Let so many messages come besides: they have been asked for."""
        self._spare += count

    def pause(self) -> None:
        """Take note that nothing is read from now on."""
        if self._paused_at is None:
            self._paused_at = self._clock()

    def resume(self) -> None:
        """Take note that reading goes on."""
        if self._paused_at is not None:
            # What was under way may have come behind the pause.
            self._save_up(max(self._paused_at, self._looked_at))
            now = self._clock()
            self.allow((now - self._looked_at) * self.rate)
            self._looked_at, self._paused_at = now, None

    def _save_up(self, now: float) -> None:
        earned = (now - self._looked_at) * self.rate
        self._saved = min(self._saved + earned, self.rate + 1)
        self._looked_at = now
