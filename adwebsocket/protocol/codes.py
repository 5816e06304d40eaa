"""Opcodes and close codes, as the RFC and its registry number them.

Used by every layer that names a frame or a reason to close. It holds numbers and their rules only.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Opcode(IntEnum):
    """What a frame is (RFC 6455 section 5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(IntEnum):
    """Why a connection was closed (RFC 6455 section 7.4.1 and the IANA registry)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RECEIVED = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_PAYLOAD_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014


# RFC 6455 section 7.4.2: these stand for the absence of a close frame or of a code in it.
_NEVER_ON_THE_WIRE: Final = frozenset({CloseCode.NO_STATUS_RECEIVED, CloseCode.ABNORMAL_CLOSURE})
_REGISTERED: Final = frozenset(CloseCode) - _NEVER_ON_THE_WIRE


def is_close_code_for_wire(code: int) -> bool:
    """Tell whether ``code`` may stand in a close frame, sent or received.

    That is a registered code, or one of the ranges for libraries (3000 to 3999) and applications
    (4000 to 4999), see RFC 6455 section 7.4.2.
    """
    return code in _REGISTERED or 3000 <= code <= 4999
