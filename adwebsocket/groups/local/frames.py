"""What processes of one machine say to each other about groups, as bytes on a stream.

Each frame is a length, a kind and what belongs to it. Both ends of the sockets of ``local`` use it,
and nothing here knows of sockets.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

from ..messages import ForeignEnvelopeError

if TYPE_CHECKING:
    from ..options import GroupsConfig

# An envelope, or an order to close, as ``messages.encode`` gives it.
MESSAGE: Final = b"m"
# The names of groups of which this process has missed messages, null for all groups.
MISSED: Final = b"g"
# ``["count", group]`` or ``["members", group]``: the only frame on its connection.
QUESTION: Final = b"q"
# The answer to it, the only frame the other way.
ANSWER: Final = b"a"

_LENGTH: Final = struct.Struct(">I")
# For all that is not the body: names, a key, a position.
_ROOM_FOR_HEADER: Final = 64 * 1024
_MOST_BYTES_OF_A_CHARACTER: Final = 4
# However small messages are: for orders and notices to a process that has not listened for long.
_LEAST_ROOM: Final = 4 * 1024 * 1024


def longest_frame(config: GroupsConfig) -> int:
    """Give how many bytes a frame may have: more than any message of this project needs."""
    sizes = [each.max_message_size for _, each in config.patterns]
    usual = config.options_of("").max_message_size
    return max(_MOST_BYTES_OF_A_CHARACTER * max([usual, *sizes]) + _ROOM_FOR_HEADER, _LEAST_ROOM)


def pack(kind: bytes, payload: bytes) -> bytes:
    """Make a frame."""
    return b"%b%b%b" % (_LENGTH.pack(len(payload) + 1), kind, payload)


def pack_json(kind: bytes, tag: bytes, value: Any) -> bytes:
    """Make a frame of JSON, behind the tag of the deployment."""
    return pack(kind, tag + json.dumps(value).encode())


def read_json(payload: bytes, tag: bytes) -> Any:
    """Read what ``pack_json`` made.

    Raises:
        ForeignEnvelopeError: it is of another project, or no JSON.
    """
    if not payload.startswith(tag):
        raise ForeignEnvelopeError("it is of a project with another SECRET_KEY")
    try:
        return json.loads(payload[len(tag) :])
    except (ValueError, RecursionError) as error:
        raise ForeignEnvelopeError(f"it cannot be read: {error!r}") from error


class FrameReader:
    """Take frames out of a stream of bytes.

    Arguments:
        most: the bytes that a frame may have.
    """

    __slots__ = ("_buffer", "_most", "_start")

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = bytearray()
        self._start = 0

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self._buffer += data

    def next_frame(self) -> tuple[bytes, bytes] | None:
        """Give the kind and the payload of the next frame, None where it is not here yet.

        Raises:
            ForeignEnvelopeError: no frame of ours begins like this.
        """
        buffer, start = self._buffer, self._start
        if len(buffer) - start < _LENGTH.size:
            self._forget_taken()
            return None
        (length,) = _LENGTH.unpack_from(buffer, start)
        if not 0 < length <= self._most:
            raise ForeignEnvelopeError(f"a frame has 1 to {self._most} bytes, not {length}")
        start += _LENGTH.size
        if len(buffer) - start < length:
            self._forget_taken()
            return None
        self._start = start + length
        return bytes(buffer[start : start + 1]), bytes(buffer[start + 1 : self._start])

    def _forget_taken(self) -> None:
        del self._buffer[: self._start]
        self._start = 0
