"""Pings that somebody waits for.

A facade makes a ``Ping`` and waits on it; the channel sends it, and matches the pongs that come.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_numbers: Final = itertools.count(1)


class Ping:
    """One ping and what came of it.

    Arguments:
        wake: called with None once the pong has come or the connection is over. On the loop.

    Attributes:
        payload: what tells its pong from others.
        latency: seconds between ping and pong, None if none came.
    """

    __slots__ = ("_sent_at", "latency", "payload", "wake")

    def __init__(self, wake: Callable[[None], object]) -> None:
        self.wake = wake
        self.payload = next(_numbers).to_bytes(8, "big")
        self.latency: float | None = None
        self._sent_at = 0.0

    def begin(self) -> None:
        """Take the time: the ping is written now."""
        self._sent_at = time.perf_counter()

    def finish(self) -> None:
        """Take the time again: the pong is here."""
        self.latency = time.perf_counter() - self._sent_at


class PingQueue:
    """The pings of one connection that have not been answered, in the order of sending.

    On the loop only, except ``withdraw``.
    """

    __slots__ = ("_pings",)

    def __init__(self) -> None:
        self._pings: dict[bytes, Ping] = {}

    def append(self, ping: Ping) -> None:
        """Remember a ping that is being sent."""
        ping.begin()
        self._pings[ping.payload] = ping

    def withdraw(self, ping: Ping) -> None:
        """Forget a ping that nobody waits for any more. From any thread."""
        self._pings.pop(ping.payload, None)

    def answer(self, payload: bytes) -> None:
        """Finish the ping with this payload, and those before it.

        A peer may answer only the last of several pings (RFC 6455 section 5.5.3). A pong that
        belongs to none was sent unasked, and means nothing.
        """
        if payload not in self._pings:
            return
        for ping in list(self._pings.values()):
            self.withdraw(ping)
            ping.finish()
            ping.wake(None)
            if ping.payload == payload:
                return

    def give_up(self) -> None:
        """Wake everybody: no pong will come."""
        pings, self._pings = self._pings, {}
        for ping in pings.values():
            ping.wake(None)
