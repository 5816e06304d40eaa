"""What is left of a connection for a socket that outlives it.

Projects keep sockets in lists that nobody cleans. A facade that is done takes one of these in place
of its channel, and with that lets go of the transport, the event loop and whatever was queued.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from ..protocol.frames import encode_message
from .inbox import Inbox
from .limits import Limits
from .waiting import WaitQueue

if TYPE_CHECKING:
    from .channel import Channel
    from .pings import Ping


class EndedChannel:
    """How a connection ended, and as much of a channel as is asked for after that.

    Attributes:
        close_code, close_reason: those of the channel that was.
    """

    __slots__ = ("close_code", "close_reason")

    ended: Final = True
    writable: Final = True
    can_ping: Final = True
    memberships: Final = None
    senders: Final = WaitQueue()
    prepare = staticmethod(encode_message)
    inbox: Inbox

    def __init__(self, close_code: int | None, close_reason: str) -> None:
        self.close_code = close_code
        self.close_reason = close_reason

    # What other threads may be about to call while the facade lets go of the real one.

    def write(self, prepared: Any) -> None:
        """Drop it."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Do nothing."""

    def ping(self, ping: Ping) -> None:
        """Finish it without a pong."""
        ping.wake(None)

    def withdraw_ping(self, ping: Ping) -> None:
        """Do nothing."""


def _make_ended_inbox() -> Inbox:
    inbox = Inbox(cast("Channel", None), Limits())
    inbox.finish()
    inbox.take()
    return inbox


# One for all: nothing is queued in it, and nothing ever will be.
EndedChannel.inbox = _make_ended_inbox()
