"""Frames of RFC 6455 section 5 as bytes: what a server writes, and the parts of what it reads.

Used by the connection, and by whoever prepares a message before the connection is at hand. A
function here looks at one frame only and remembers nothing.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

try:
    from websockets.speedups import apply_mask
except ImportError:  # the wheel for this platform has no C extension
    from websockets.utils import apply_mask

from ..exceptions import ProtocolError
from .codes import CloseCode, Opcode, is_close_code_for_wire

if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = [
    "COMPRESSED",
    "FINAL",
    "LARGE_PAYLOAD",
    "MASKED",
    "MAX_CONTROL_PAYLOAD",
    "Message",
    "apply_mask",
    "check_close",
    "check_message",
    "encode_close",
    "encode_frame",
    "encode_message",
    "encode_parts",
    "header_size",
    "parse_close",
    "payload_length",
]

Message: TypeAlias = "str | bytes | bytearray | memoryview"

FINAL: Final = 0x80
MASKED: Final = 0x80
# RFC 7692 section 6: the first reserved bit marks the first frame of a compressed message.
COMPRESSED: Final = 0x40
# RFC 6455 section 5.5
MAX_CONTROL_PAYLOAD: Final = 125

# From so many bytes on a payload is worth not copying. Two parts in one system call, rather than a
# frame that is joined first, take 3.5 us in place of 5.0 with 64 KB, 1.5 in place of 1.8 with 16 KB
# and the same with 8 KB.
LARGE_PAYLOAD: Final = 16 * 1024

_FINAL_TEXT: Final = FINAL | Opcode.TEXT
_FINAL_BINARY: Final = FINAL | Opcode.BINARY
_pack_16_bit: Final = Struct("!BBH").pack
_pack_64_bit: Final = Struct("!BBQ").pack

# The two bytes before a short payload, ready made: one look-up in place of a conversion.
_SHORT_TEXT: Final = tuple(bytes((_FINAL_TEXT, length)) for length in range(126))
_SHORT_BINARY: Final = tuple(bytes((_FINAL_BINARY, length)) for length in range(126))


def encode_message(message: Message) -> bytes:
    """Encode a whole message as one frame, ``str`` as text and anything bytes-like as binary.

    May be called from any thread.

    Raises:
        TypeError: the message is neither.
        UnicodeEncodeError: the text has surrogates, which UTF-8 cannot carry.
    """
    frame = encode_parts(message)
    return b"".join(frame) if isinstance(frame, list) else frame


def encode_parts(message: Message) -> bytes | list[bytes]:
    """Do what ``encode_message`` does, but give a large frame as its header and its payload.

    For who can write both at once, so that nobody copies the payload.
    """
    if type(message) is str or isinstance(message, str):
        payload = message.encode()
        if len(payload) < 126:
            return _SHORT_TEXT[len(payload)] + payload
        header = _encode_header(_FINAL_TEXT, len(payload))
    else:
        _, payload = check_message(message)
        if len(payload) < 126:
            return _SHORT_BINARY[len(payload)] + payload
        header = _encode_header(_FINAL_BINARY, len(payload))
    return header + payload if len(payload) < LARGE_PAYLOAD else [header, payload]


def check_message(message: Message) -> tuple[Opcode, bytes]:
    """Give the opcode and the payload of a message; see ``encode_message`` for what it raises."""
    if isinstance(message, str):
        return Opcode.TEXT, message.encode()
    if isinstance(message, (bytes, bytearray, memoryview)):
        return Opcode.BINARY, bytes(message)
    advice = "; send_json() sends it as JSON" if isinstance(message, (dict, list)) else ""
    raise TypeError(
        "a WebSocket message must be str (sent as text) or bytes, bytearray or memoryview "
        f"(sent as binary), not {type(message).__name__}{advice}"
    )


def encode_frame(opcode: Opcode, payload: bytes, *, compressed: bool = False) -> bytes:
    """Encode one final, unmasked frame (a server never masks, RFC 6455 section 5.1)."""
    first_byte = FINAL | (COMPRESSED if compressed else 0) | opcode
    return _encode_header(first_byte, len(payload)) + payload


def _encode_header(first_byte: int, length: int) -> bytes:
    if length < 126:
        return bytes((first_byte, length))
    if length < 65536:
        return _pack_16_bit(first_byte, 126, length)
    return _pack_64_bit(first_byte, 127, length)


def check_close(code: int, reason: str) -> None:
    """Check what somebody wants to close a connection with, before anything is sent.

    Raises:
        TypeError: the code is no integer or the reason no string.
        ValueError: the code must not stand in a close frame, or the reason is too long.
    """
    if not isinstance(code, int) or isinstance(code, bool):
        raise TypeError(f"a close code must be an int, not {type(code).__name__}")
    if not isinstance(reason, str):
        raise TypeError(f"a close reason must be a str, not {type(reason).__name__}")
    if not is_close_code_for_wire(code):
        raise ValueError(
            f"a close code must be 1000 to 1003, 1007 to 1014 or 3000 to 4999, got {code}"
        )
    if len(reason.encode()) > MAX_CONTROL_PAYLOAD - 2:
        raise ValueError("a close reason must fit into 123 bytes of UTF-8")


def encode_close(code: int, reason: str = "") -> bytes:
    """Encode a close frame; 1005 stands for one without a code (RFC 6455 section 7.1.5)."""
    if code == CloseCode.NO_STATUS_RECEIVED:
        return encode_frame(Opcode.CLOSE, b"")
    return encode_frame(Opcode.CLOSE, code.to_bytes(2, "big") + reason.encode())


def header_size(header: bytes) -> int:
    """Give the size of a masked frame's header, as far as ``header`` tells."""
    if len(header) < 2:
        return 2
    length = header[1] & 0x7F
    mask_size = 4 if header[1] & MASKED else 0
    return 2 + mask_size + (8 if length == 127 else 2 if length == 126 else 0)


def payload_length(header: bytes) -> tuple[int, int]:
    """Read the payload length (section 5.2), and tell where the mask begins."""
    length = header[1] & 0x7F
    if length == 126:
        length = int.from_bytes(header[2:4], "big")
        if length < 126:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a length was not in its shortest form")
        return length, 4
    if length == 127:
        length = int.from_bytes(header[2:10], "big")
        if length < 65536:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a length was not in its shortest form")
        if length >= 1 << 63:
            raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a length had its highest bit set")
        return length, 10
    return length, 2


def parse_close(payload: bytes) -> tuple[int, str]:
    """Read the code and the reason of a close frame (section 5.5.1)."""
    if not payload:
        return CloseCode.NO_STATUS_RECEIVED, ""
    if len(payload) == 1:
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, "a close frame held half a code")
    code = int.from_bytes(payload[:2], "big")
    if not is_close_code_for_wire(code):
        raise ProtocolError(CloseCode.PROTOCOL_ERROR, f"close code {code} must not be sent")
    return code, payload[2:].decode()
