"""The bounds of one connection, as plain numbers.

Channels read them; the Django layers fill them from settings. Every buffer between the two ends
of a connection has its bound here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..protocol.deflate import DeflateOptions


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may use.

    Attributes:
        max_message_size: bytes of one received message; a longer one closes with 1009.
        inbox_messages: received messages that wait for the view before reading pauses.
        inbox_bytes: the same in bytes (for text: characters).
        outbox_bytes: bytes on their way to a slow peer before ``send()`` waits.
        compression: how to compress where the client offers to, None for not at all.
        close_timeout: seconds that the peer has to answer a close frame, and to take what is
            still in the write buffer.
    """

    max_message_size: int = 1024 * 1024
    inbox_messages: int = 64
    inbox_bytes: int = 256 * 1024
    outbox_bytes: int = 64 * 1024
    compression: DeflateOptions | None = None
    close_timeout: float = 10.0
