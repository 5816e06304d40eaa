"""What a connection tells its driver.

A data message is its own event: ``str`` for text and ``bytes`` for binary, since an object around
each would be the largest single cost of reading one. The rest are the small tuples below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import TypeAlias


class Ping(NamedTuple):
    """The peer pinged; the pong is already in the output."""

    payload: bytes


class Pong(NamedTuple):
    """The peer answered a ping, or sent a pong of its own accord."""

    payload: bytes


class Close(NamedTuple):
    """The conversation is over; no event follows.

    ``code`` is the peer's, or 1005 where its close frame had none, 1006 where the byte stream
    ended without one, or the code that this side failed the connection with.
    """

    code: int
    reason: str


Event: TypeAlias = "str | bytes | Ping | Pong | Close"
