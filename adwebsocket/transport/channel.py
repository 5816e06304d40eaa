"""The seam: what a WebSocket object needs from a connection, whoever carries its bytes.

The facades talk to a channel and to nothing below it; tests may give them another one. The
protocol class for uvicorn is a channel, and so is the adapter to any other ASGI server.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from ..protocol.codes import CloseCode
from .inbox import Inbox
from .rate import RateMeter
from .stall import StallWatch
from .tally import tally
from .waiting import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ..groups.membership import Membership
    from ..protocol.frames import Message
    from ..protocol.handshake import Headers
    from .limits import Limits
    from .pings import Ping
    from .tally import Closer


class Channel(ABC):
    """One connection, seen from above.

    Everything here is called on the event loop, except ``prepare`` and the attributes, which any
    thread may read. No method waits: what takes time is told by ``inbox``, ``writable`` and
    ``senders``.

    Attributes:
        loop: the event loop that owns the connection.
        limits: its bounds; ``configure`` changes them until the handshake is answered.
        inbox: received messages, and the end behind them.
        accepted: the handshake was answered with 101.
        refused: the handshake was answered with something else.
        subprotocol: what the handshake settled on, or None.
        writable: False while the peer is slower than ``limits.outbox_bytes`` allow.
        senders: who waits until it is True again, or until the end; always woken together.
        ended: nothing more can be sent or received.
        memberships: the groups that it is in, by name, None where it has never been in any.
        close_code, close_reason: how it ended, None and "" before.
        meter: counts what the peer sends, None where it may send any number of messages.
        can_ping: whether ``ping`` works here.
        prepare: turns a message into what ``write`` takes, from any thread; raises ``TypeError``
            for a type that cannot be sent, ``UnicodeEncodeError`` for text with surrogates.
    """

    prepare: Callable[[Message], Any]
    can_ping: ClassVar[bool] = False

    __slots__ = (
        "_is_settled",
        "_stall",
        "accepted",
        "close_code",
        "close_reason",
        "inbox",
        "limits",
        "loop",
        "memberships",
        "meter",
        "refused",
        "senders",
        "subprotocol",
        "writable",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.loop = loop
        self.limits = limits
        self.inbox = Inbox(self, limits)
        self.accepted = False
        self.refused = False
        self.subprotocol: str | None = None
        self.writable = True
        self.senders = WaitQueue()
        self.close_code: int | None = None
        self.close_reason = ""
        self.memberships: dict[str, Membership] | None = None
        self.meter: RateMeter | None = None
        self._is_settled = False
        self._stall: StallWatch | None = None

    @property
    def ended(self) -> bool:
        """Tell whether the connection is over."""
        return self.inbox.ended

    @property
    def is_settled(self) -> bool:
        """Tell whether ``end`` has run, with which a connection leaves its groups for good."""
        return self._is_settled

    @property
    def form(self) -> Hashable:
        """Give what is equal for channels that take what ``prepare`` of any of them gives."""
        return type(self)

    def configure(self, limits: Limits) -> None:
        """Set the bounds, before the handshake is answered."""
        self.limits = limits
        self.inbox.set_limits(limits)

    @abstractmethod
    def accept(self, subprotocol: str | None = None, headers: Headers = ()) -> None:
        """Answer the handshake with 101; nothing happens if the peer has gone meanwhile."""

    @abstractmethod
    def refuse(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer the handshake with an ordinary HTTP response, where the server can."""

    @abstractmethod
    def write(self, prepared: Any) -> None:
        """Send what ``prepare`` gave; it is dropped when the connection is over."""

    @abstractmethod
    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Begin the closing handshake, once; the inbox ends at once."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Stop reading from the peer: the inbox is full."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Go on reading, if the inbox has room again."""

    @abstractmethod
    def measure_progress(self) -> int:
        """Give a number that is larger than before if the peer has taken something meanwhile."""

    def ping(self, ping: Ping) -> None:
        """Send a ping and finish it when its pong comes, where ``can_ping``."""
        raise NotImplementedError

    def withdraw_ping(self, ping: Ping) -> None:
        """Forget a ping that nobody waits for any more. From any thread."""
        raise NotImplementedError

    def start_meter(self) -> None:
        """Begin to count what the peer sends, if that is limited. The handshake is accepted."""
        if self.limits.rate_limit is not None:
            self.meter = RateMeter(self.limits.rate_limit)

    def check_unanswered(self) -> None:
        """Raise ``RuntimeError`` where the handshake has been accepted or refused."""
        if self.accepted or self.refused:
            raise RuntimeError("the handshake has been answered already")

    def count_unsent(self) -> int:
        """Give the bytes that wait in this process for the peer to take them. From any thread."""
        return 0

    def end(self, code: int, reason: str, closer: Closer = "server") -> None:
        """Settle how the connection ended, and wake everybody who waits for it."""
        if not self._is_settled:
            if self.accepted:
                tally.closes[closer].count(str(int(code)))
            self._is_settled = True
            self.close_code = code
            self.close_reason = reason
            self.inbox.finish()
            self.senders.wake_all()
            self._stop_stall_watch()
            for membership in list((self.memberships or {}).values()):
                membership.leave()

    def set_writable(self, writable: bool) -> None:
        """Take note that the peer keeps up, or does not; who takes nothing for long is cut."""
        self.writable = writable
        if writable:
            self.senders.wake_all()
        if writable or self._is_settled:
            self._stop_stall_watch()
        elif self._stall is None and self.limits.send_timeout is not None:
            self._stall = StallWatch(
                self.loop, self.limits.send_timeout, self.measure_progress, self._cut_stuck_peer
            )

    def _cut_stuck_peer(self) -> None:
        seconds = self.limits.send_timeout
        reason = f"nothing that was sent has been taken for {seconds:g} seconds"
        self.close(CloseCode.TRY_AGAIN_LATER, reason)

    def _stop_stall_watch(self) -> None:
        if self._stall is not None:
            self._stall.stop()
            self._stall = None

    async def drain(self) -> None:
        """Wait until the channel is writable again, or over."""
        while not self.writable and not self.inbox.ended:
            await self._wait_for_change()

    async def wait_ended(self) -> None:
        """Wait until the connection is over."""
        while not self.inbox.ended:
            await self._wait_for_change()

    async def _wait_for_change(self) -> None:
        future: asyncio.Future[None] = self.loop.create_future()
        self.senders.append(future.set_result)
        try:
            await future
        except asyncio.CancelledError:
            self.senders.withdraw(future.set_result)
            raise
