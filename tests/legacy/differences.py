"""Where this package and the original differ on the wire or in a view, and why.

Each entry has the lines of the transcripts that differ: with a minus those of the original, with a
plus ours. Everything else must be the same; an entry whose lines are no longer these fails as well.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Difference(NamedTuple):
    """One difference: mended where the original was broken, different where it was not."""

    kind: Literal["mended", "different"]
    reason: str
    lines: tuple[str, ...]


AFTER_THE_CLOSE = (
    "The original wrote an HTTP response behind the close frame, the cause of most of its bug"
    " reports."
)
ANSWERED_AT_ONCE = (
    "The close frame is answered when it comes, not when the view gets to it; what is sent "
    "then has no way out. Browsers drop it, too."
)
WITHOUT_READING = "The original noticed the end of a connection only when the view read or wrote."

DIFFERENCES = {
    "wait_with_negative_timeout": Difference(
        "mended",
        "select() takes no negative time; the documentation says nothing, and -1 blocks here.",
        (
            "- noted: ValueError",
            "+ noted: b'at last'",
        ),
    ),
    "message_beside_the_handshake": Difference(
        "mended",
        "The WSGI server had read it with the request, so nobody ever saw it.",
        ("+ noted: b'early'",),
    ),
    "unsolicited_pong": Difference(
        "mended",
        "An unknown opcode to the original, which answered with 500; some clients send pongs "
        "as heartbeat.",
        ("+ noted: b'message'",),
    ),
    "fragments": Difference(
        "mended",
        "The original gave out the first fragment as a message and failed at the second.",
        (
            "- noted: b'one '",
            "+ noted: b'one two'",
            "+ noted: b'whole'",
        ),
    ),
    "broken_frame_unmasked": Difference(
        "different",
        "RFC 6455 section 5.1: fail the connection.",
        (
            "- nothing comes",
            "- noted: b'bare'",
            "+ CLOSE 1002 'frames of a client must be masked'",
            "+ noted: None",
        ),
    ),
    "broken_frame_no_utf_8": Difference(
        "different",
        "RFC 6455 section 8.1: fail the connection.",
        (
            "- nothing comes",
            "- noted: b'\\xff'",
            "+ CLOSE 1007 'a text message is not UTF-8'",
            "+ noted: None",
        ),
    ),
    "broken_frame_reserved_bit": Difference(
        "different",
        "RFC 6455 section 5.2: fail the connection.",
        (
            "- nothing comes",
            "- noted: b'marked'",
            "+ CLOSE 1002 'reserved bits must be 0'",
            "+ noted: None",
        ),
    ),
    "broken_frame_reserved_opcode": Difference(
        "different",
        "RFC 6455 section 5.2: fail the connection. To the view it is an end like any other.",
        (
            "- CLOSE 1000 ''",
            "+ CLOSE 1002 'opcode 0x3 is reserved'",
            "+ noted: None",
        ),
    ),
    "broken_frame_close_code_1005": Difference(
        "different",
        "RFC 6455 section 7.4.1: this code must not be sent, nor given back.",
        (
            "- CLOSE 1005 ''",
            "+ CLOSE 1002 'close code 1005 must not be sent'",
        ),
    ),
    "broken_frame_close_of_one_byte": Difference(
        "different",
        "RFC 6455 section 5.5.1: half a code is none.",
        (
            "- CLOSE 1000 ''",
            "+ CLOSE 1002 'a close frame held half a code'",
        ),
    ),
    "send_chinese_text": Difference(
        "mended",
        "The original wrote the number of characters where that of bytes belongs.",
        (
            '- TEXT b\'{"msg": "\\xe4\\xbd\\xa0\\xe5\'',
            '+ TEXT b\'{"msg": "\\xe4\\xbd\\xa0\\xe5\\xa5\\xbd"}\'',
            "- no frame of a server comes",
            "+ CLOSE 1000 ''",
        ),
    ),
    "send_bytes_that_are_no_text": Difference(
        "mended",
        "A text frame that is not UTF-8 ends the connection in every browser.",
        (
            "- TEXT b'\\x89PNG\\xff'",
            "+ BINARY b'\\x89PNG\\xff'",
        ),
    ),
    "send_with_flag": Difference(
        "mended",
        "The lower layer of the original knew the argument, its send() did not.",
        (
            "- noted: TypeError",
            "- noted: TypeError",
            "+ noted: None",
            "+ noted: None",
        ),
    ),
    "send_nonsense": Difference(
        "mended",
        "send(None) at the end of an echo loop was a 500 for every client that left.",
        (
            "- noted: TypeError",
            "- noted: TypeError",
            "+ noted: None",
            "+ noted: None",
        ),
    ),
    "send_after_the_end_by_close_frame": Difference(
        "different",
        "The original answered a close frame when the view read; here nobody waits for the view.",
        (
            "- nothing comes",
            "+ CLOSE 1001 ''",
        ),
    ),
    "close_from_another_view": Difference(
        "mended",
        "The view in wait() waited for ever.",
        ("+ noted: None",),
    ),
    "refused_plain_view": Difference(
        "different",
        "A view that knows nothing of WebSockets served the handshake as a GET; here it is "
        "refused, as with the middleware of the original.",
        (
            "- 200",
            "+ 400",
        ),
    ),
    "malformed_handshake_no_key": Difference(
        "mended",
        "The documentation promises 400.",
        (
            "- 500",
            "+ 400",
        ),
    ),
    "malformed_handshake_no_version": Difference(
        "mended",
        "The documentation promises 400.",
        (
            "- 500",
            "+ 400",
        ),
    ),
    "refused_inside": Difference(
        "mended",
        AFTER_THE_CLOSE,
        ("- and then: 403",),
    ),
    "view_returns_none": Difference(
        "mended",
        AFTER_THE_CLOSE,
        ("- and then: 200",),
    ),
    "view_returns_response": Difference(
        "mended",
        AFTER_THE_CLOSE,
        ("- and then: 200",),
    ),
    "view_returns_json": Difference(
        "mended",
        AFTER_THE_CLOSE,
        ("- and then: 200",),
    ),
    "view_returns_zero": Difference(
        "mended",
        AFTER_THE_CLOSE,
        ("- and then: 500",),
    ),
    "view_returns_false": Difference(
        "mended",
        AFTER_THE_CLOSE,
        ("- and then: 500",),
    ),
    "view_returns_after_the_end_none": Difference(
        "mended",
        AFTER_THE_CLOSE,
        ("- and then: 200",),
    ),
    "view_returns_after_the_end_response": Difference(
        "mended",
        AFTER_THE_CLOSE,
        ("- and then: 200",),
    ),
    "view_returns_after_the_end_zero": Difference(
        "mended",
        AFTER_THE_CLOSE,
        ("- and then: 500",),
    ),
    "view_raises": Difference(
        "mended",
        AFTER_THE_CLOSE,
        ("- and then: 500",),
    ),
    "view_closes": Difference(
        "mended",
        AFTER_THE_CLOSE,
        ("- and then: 200",),
    ),
    "peer_closes_with_code_and_reason": Difference(
        "different",
        ANSWERED_AT_ONCE,
        (
            "- TEXT b'one'",
            "+ the end comes",
        ),
    ),
    "peer_closes_with_code": Difference(
        "different",
        ANSWERED_AT_ONCE,
        (
            "- TEXT b'one'",
            "+ the end comes",
        ),
    ),
    "peer_closes_with_nothing": Difference(
        "different",
        ANSWERED_AT_ONCE,
        (
            "- TEXT b'one'",
            "+ the end comes",
        ),
    ),
    "is_closed_without_reading_by_close_frame": Difference(
        "mended",
        WITHOUT_READING,
        (
            "- nothing comes",
            "+ CLOSE 1001 ''",
            '+ noted: ["over", false, true]',
        ),
    ),
    "is_closed_without_reading_by_fin": Difference(
        "mended",
        WITHOUT_READING,
        ('+ noted: ["over", false, true]',),
    ),
    "is_closed_without_reading_by_reset": Difference(
        "mended",
        WITHOUT_READING,
        ('+ noted: ["over", false, true]',),
    ),
    "is_closed_with_messages_left": Difference(
        "different",
        "is_closed() knows of the end once the last message is taken, before the None, where "
        "the original had yet to read it.",
        ("- noted: None",),
    ),
}
