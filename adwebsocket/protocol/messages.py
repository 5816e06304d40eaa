"""A data message while it arrives in more than one piece (RFC 6455 section 5.4).

The connection makes one when a message cannot be taken from a single read, and drops it with the
message's last piece: a connection between messages keeps none of this.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final

from ..exceptions import ProtocolError
from .codes import CloseCode, Opcode

if TYPE_CHECKING:
    from .deflate import Deflate

_new_utf8_decoder: Final = codecs.getincrementaldecoder("utf-8")
# Pieces of text are joined in passing up to here, so that text which comes byte by byte does not
# cost an object for each character.
_FEW_CHARACTERS: Final = 1024


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """What the peer may send in one message; more fails the connection with 1009.

    Each is enforced when a frame header announces too much, and for a compressed message also
    while it is inflated.

    Attributes:
        max_message_size: bytes of a whole message.
        max_frame_size: bytes of the payload of one frame, None for as many as a message may have.
        max_fragments: frames of one message, None for any number.
    """

    max_message_size: int = 1024 * 1024
    max_frame_size: int | None = None
    max_fragments: int | None = 32_768


class IncomingMessage:
    """A message of which more is to come.

    Arguments:
        opcode: of its first frame.
        limits: what it may be.
        deflate: what inflates it, None where it is not compressed.

    Attributes:
        opcode: text or binary.
    """

    __slots__ = (
        "_binary",
        "_decoder",
        "_deflate",
        "_fragments",
        "_limits",
        "_size",
        "_text",
        "_wire_size",
        "opcode",
    )

    def __init__(self, opcode: Opcode, limits: MessageLimits, deflate: Deflate | None) -> None:
        self.opcode = opcode
        self._limits = limits
        self._deflate = deflate
        self._fragments = 0
        self._wire_size = 0
        # What has come of the payload: its size, and the message so far.
        self._size = 0
        self._binary: BytesIO | None = None
        self._text = [""]
        self._decoder: codecs.IncrementalDecoder | None = None

    def begin_frame(self, length: int) -> None:
        """Take note that a frame of ``length`` bytes follows.

        Raises:
            ProtocolError: it is more than the limits allow.
        """
        limits = self._limits
        self._fragments += 1
        self._wire_size += length
        # What does not compress grows: by 5 % where zlib makes small blocks (memory level 4, window
        # of 512 bytes). What it inflates to has the true bound.
        allowance = 0 if self._deflate is None else limits.max_message_size // 16 + 64
        if self._wire_size > limits.max_message_size + allowance:
            raise _too_big("message", limits.max_message_size, "bytes", self._wire_size)
        if limits.max_frame_size is not None and length > limits.max_frame_size + allowance:
            raise _too_big("frame", limits.max_frame_size, "bytes", length)
        if limits.max_fragments is not None and self._fragments > limits.max_fragments:
            raise _too_big("message", limits.max_fragments, "fragments", self._fragments)

    def add(self, piece: bytes, *, final: bool) -> str | bytes | None:
        """Add unmasked payload, and give the whole message behind its last piece.

        Raises:
            ProtocolError: it inflates to more than is allowed, or not at all.
            UnicodeDecodeError: it is a text that is not UTF-8, found in its first wrong piece.
        """
        if self._deflate is not None:
            room = self._limits.max_message_size - self._size
            piece = self._deflate.inflate(piece, final=final, room=room)
        is_text = self.opcode is Opcode.TEXT
        if final and self._size == 0:
            return piece.decode() if is_text else piece
        self._size += len(piece)
        if is_text:
            self._add_text(piece, final)
            return "".join(self._text) if final else None
        # It grows in amortised linear time, so bytes that arrive one by one do too, and gives
        # its value without a copy.
        if self._binary is None:
            self._binary = BytesIO()
        self._binary.write(piece)
        return self._binary.getvalue() if final else None

    def _add_text(self, piece: bytes, final: bool) -> None:
        """Decode a piece, and so fail on the first one that cannot be UTF-8.

        Decoding the whole message at its end would do it all twice, and need several times its
        size meanwhile, since a decoder makes room for the widest characters.
        """
        if self._decoder is None:
            self._decoder = _new_utf8_decoder()
        text = self._decoder.decode(piece, final)
        if len(self._text[-1]) < _FEW_CHARACTERS:
            self._text[-1] += text
        else:
            self._text.append(text)


def _too_big(what: str, limit: int, unit: str, got: int) -> ProtocolError:
    return ProtocolError(CloseCode.MESSAGE_TOO_BIG, f"a {what} may have {limit} {unit}, got {got}")
