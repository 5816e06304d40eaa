"""Finding out that a peer has gone without a word, with one timer for all connections of a loop.

Connections register when they open. Nobody is cut for what is not its fault: any byte that came is
a sign of life, silence does not count while this side does not read or has not got its own data
through, and time stands still while the event loop does.
"""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING, Final, Protocol
from weakref import WeakKeyDictionary, ref

if TYPE_CHECKING:
    import asyncio

    from .limits import Limits

logger = logging.getLogger("adwebsocket")

# So many steps has the shorter of the two times: a peer is found silent that much too late.
_STEPS: Final = 32
_SHORTEST_STEP: Final = 0.05
_MOST_SLOTS: Final = 4096
# So many connections are looked at before the loop serves others.
_BATCH: Final = 256


class Peer(Protocol):
    """What a connection shows of itself.

    Attributes:
        heard_at: when it last sent anything, in steps of its keepalive.
        pinged_at: when it was pinged and has not been heard since, or None.
        keepalive_slot: where it is kept; for the keepalive alone.
    """

    heard_at: int
    pinged_at: int | None
    keepalive_slot: int

    def is_excused(self) -> bool:
        """Tell whether silence may be this side's fault. Asked at each visit."""

    def send_keepalive(self) -> None:
        """Ping the peer."""

    def take_for_gone(self) -> None:
        """End the connection: nothing came in answer."""


class Keepalive:
    """The keepalive of all connections on one loop that share interval and timeout.

    Time is counted in steps of one timer. A late timer makes a step longer, never two of them: so
    the lag of a busy loop, in which an answer may lie unread, is added to the peer's time. Each
    peer stands in the slot of the step at which it is looked at next.

    Arguments:
        loop: the event loop that owns the connections.
        interval: seconds of silence after which a peer is pinged.
        timeout: seconds that it then has to send anything, None for any time.

    Attributes:
        now: the number of steps so far; what a connection notes when it hears from its peer.
    """

    __slots__ = (
        "_interval",
        "_is_ticking",
        "_loop",
        "_members",
        "_slots",
        "_step",
        "_timeout",
        "now",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, interval: float, timeout: float | None
    ) -> None:
        times = (interval, timeout or interval)
        self._step = max(min(times) / _STEPS, _SHORTEST_STEP, max(times) / _MOST_SLOTS)
        self._interval = math.ceil(interval / self._step)
        self._timeout = None if timeout is None else math.ceil(timeout / self._step)
        longest = max(self._interval, self._timeout or 0)
        self._slots: list[set[Peer]] = [set() for _ in range(longest + 1)]
        self._members = 0
        # Weak, and no handle of the timer, or the dictionary below would keep each loop for ever.
        self._loop = ref(loop)
        self._is_ticking = False
        self.now = 0

    def add(self, peer: Peer) -> None:
        """Begin to look after a connection that has just opened."""
        # Crowds arrive together. Pinged together every 20 seconds, a hundred thousand would hold
        # up the loop each time, so their first silence is of different length.
        peer.heard_at = self.now - random.randrange(self._interval // 2 + 1)
        peer.pinged_at = None
        self._visit_in(peer, peer.heard_at + self._interval - self.now)
        if not self._is_ticking:
            self._is_ticking = True
            self._get_loop().call_later(self._step, self._tick)

    def discard(self, peer: Peer) -> None:
        """Forget a connection that is over; does nothing the second time."""
        slot = self._slots[peer.keepalive_slot]
        if peer in slot:
            slot.remove(peer)
            self._members -= 1

    def _visit_in(self, peer: Peer, steps: int) -> None:
        peer.keepalive_slot = (self.now + steps) % len(self._slots)
        self._slots[peer.keepalive_slot].add(peer)
        self._members += 1

    def _tick(self) -> None:
        self.now += 1
        self._visit_slot()

    def _visit_slot(self) -> None:
        slot = self._slots[self.now % len(self._slots)]
        for _ in range(min(len(slot), _BATCH)):
            peer = slot.pop()
            self._members -= 1
            try:
                self._visit(peer)
            except Exception:
                # Nobody may stop the timer of all.
                logger.exception("the keepalive of a connection failed")
        if slot:
            self._get_loop().call_soon(self._visit_slot)
        elif self._members:
            self._get_loop().call_later(self._step, self._tick)
        else:
            self._is_ticking = False

    def _get_loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop()
        assert loop is not None
        return loop

    def _visit(self, peer: Peer) -> None:
        """Look at a peer: ping it or take it for gone if it is time, else come again later."""
        now = self.now
        if peer.is_excused():
            peer.heard_at = now
        if peer.pinged_at is not None:
            if peer.heard_at < peer.pinged_at:
                peer.take_for_gone()
                return
            peer.pinged_at = None
        quiet = now - peer.heard_at
        if quiet < self._interval:
            self._visit_in(peer, self._interval - quiet)
            return
        peer.send_keepalive()
        if self._timeout is None:
            self._visit_in(peer, self._interval)
        else:
            peer.pinged_at = now
            self._visit_in(peer, self._timeout)


class NoKeepalive:
    """In place of a keepalive where none is wanted."""

    __slots__ = ()
    now: Final = 0

    def add(self, peer: Peer) -> None:
        """Do nothing."""

    def discard(self, peer: Peer) -> None:
        """Do nothing."""


NO_KEEPALIVE: Final = NoKeepalive()
_keepalives: WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[tuple[float, float | None], Keepalive]
] = WeakKeyDictionary()


def get_keepalive(loop: asyncio.AbstractEventLoop, limits: Limits) -> Keepalive | NoKeepalive:
    """Give the keepalive of these limits: one for all connections of the loop that share them."""
    if limits.ping_interval is None:
        return NO_KEEPALIVE
    of_loop = _keepalives.setdefault(loop, {})
    times = limits.ping_interval, limits.ping_timeout
    if times not in of_loop:
        of_loop[times] = Keepalive(loop, *times)
    return of_loop[times]
