"""The bounds of one connection, as plain numbers.

Channels read them; the Django layers fill them from settings. Every buffer between the two ends
of a connection has its bound here, and so has every wait for the peer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..protocol.messages import MessageLimits

if TYPE_CHECKING:
    from ..protocol.deflate import DeflateOptions


@dataclass(frozen=True, slots=True)
class Limits(MessageLimits):
    """What one connection may use, besides what one message may be.

    Attributes:
        max_header_size: bytes of the request line and the headers; more is refused with 431.
        handshake_timeout: seconds in which these must have come, None for any time.
        inbox_messages: received messages that wait for the view before reading pauses.
        inbox_bytes: the same in bytes (for text: characters).
        outbox_bytes: bytes on their way to a slow peer before ``send()`` waits.
        compression: how to compress where the client offers to, None for not at all.
        close_timeout: seconds that the peer has to answer a close frame, and to take what is
            still in the write buffer.
        send_timeout: seconds in which a peer that is slower than ``outbox_bytes`` allow must take
            at least something, None for any time; else it is cut with 1013.
        ping_interval: seconds of silence after which the peer is pinged, None for never.
        ping_timeout: seconds that it then has to send anything at all, None for any time; else
            it is taken for gone and the connection ends with 1011.
        rate_limit: messages a second that the peer may send, pings and pongs among them, None for
            any number; one that sends more is failed with 1008.
    """

    max_header_size: int = 64 * 1024
    handshake_timeout: float | None = 10.0
    inbox_messages: int = 64
    inbox_bytes: int = 256 * 1024
    outbox_bytes: int = 64 * 1024
    compression: DeflateOptions | None = None
    close_timeout: float = 10.0
    send_timeout: float | None = 60.0
    ping_interval: float | None = 20.0
    ping_timeout: float | None = 20.0
    rate_limit: float | None = None
