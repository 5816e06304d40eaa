"""What a client writes, byte by byte, and strategies for whole streams of it.

Written from RFC 6455 alone and shared by the tests of the protocol package. It takes nothing from
the code under test but the names of events, so that a fault there cannot hide a fault here.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from adwebsocket.protocol.events import Close, Ping, Pong

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adwebsocket.protocol.events import Event

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"
# Larger than what any strategy here makes, except where a test is about the limit itself.
MAX_MESSAGE_SIZE = 200_000
# The lengths where the form of the header changes (section 5.2), and the shortest ones.
NOTABLE_LENGTHS = (0, 1, 2, 3, 124, 125, 126, 127, 128, 65535, 65536, 65537)


def mask_payload(payload: bytes, mask: bytes) -> bytes:
    """Mask as section 5.3 says; as one large number, so that megabytes take no time."""
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return masked.to_bytes(len(payload), "big")


def client_frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes | None = MASK
) -> bytes:
    """Write one frame; without a mask it is one that only a server may send."""
    first = (0x80 if fin else 0) | opcode
    masked = 0 if mask is None else 0x80
    length = len(payload)
    if length < 126:
        header = bytes((first, masked | length))
    elif length < 65536:
        header = bytes((first, masked | 126)) + length.to_bytes(2, "big")
    else:
        header = bytes((first, masked | 127)) + length.to_bytes(8, "big")
    if mask is None:
        return header + payload
    return header + mask + mask_payload(payload, mask)


def close_payload(code: int, reason: str = "") -> bytes:
    """Write what a close frame holds."""
    return code.to_bytes(2, "big") + reason.encode()


def server_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Read what a server wrote, all of it, as opcodes and payloads of final unmasked frames."""
    frames = []
    while data:
        assert data[0] & 0xF0 == 0x80, "a server sends whole messages without extensions"
        assert data[1] < 128, "a server must not mask"
        if data[1] < 126:
            start, length = 2, data[1]
        elif data[1] == 126:
            start, length = 4, int.from_bytes(data[2:4], "big")
            assert length >= 126
        else:
            start, length = 10, int.from_bytes(data[2:10], "big")
            assert length >= 65536
        assert len(data) >= start + length, "a frame was cut off"
        frames.append((data[0] & 0x0F, data[start : start + length]))
        data = data[start + length :]
    return frames


def sent_close_codes(output: bytes) -> list[int | None]:
    """Give the codes of the close frames that a server wrote, None where there was none in it."""
    return [
        int.from_bytes(payload[:2], "big") if payload else None
        for opcode, payload in server_frames(output)
        if opcode == CLOSE
    ]


def typed(events: Iterable[Event]) -> list[tuple[type, Event]]:
    """Make events comparable: as tuples, a ping and a pong with one payload would be equal."""
    return [(type(event), event) for event in events]


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut a stream into the pieces between the given positions; empty ones may be among them."""
    positions = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(positions)]


@dataclass
class Stream:
    """Bytes of a client, and what a server must make of them."""

    data: bytes = b""
    events: list[Event] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)  # where each frame begins

    def add(self, frame: bytes, event: Event | None = None) -> None:
        self.frames.append(len(self.data))
        self.data += frame
        if event is not None:
            self.events.append(event)

    @property
    def messages(self) -> list[str | bytes]:
        return [event for event in self.events if isinstance(event, (str, bytes))]


masks = st.one_of(st.binary(min_size=4, max_size=4), st.sampled_from([MASK, b"\0\0\0\0"]))
texts = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="aé€𝄞", max_size=40),
    st.sampled_from(NOTABLE_LENGTHS).map(lambda length: "x" * length),
    st.sampled_from(NOTABLE_LENGTHS).map(lambda length: "é" * (length // 2) + "x" * (length % 2)),
)
binaries = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(NOTABLE_LENGTHS).map(lambda length: b"\xfe" * length),
)
messages = st.one_of(texts, binaries)
control_payloads = st.one_of(st.binary(max_size=20), st.just(b"\x81" * 125))
close_codes = st.one_of(
    st.sampled_from([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]),
    st.integers(3000, 4999),
)
close_reasons = st.one_of(st.text(max_size=30), st.just("€" * 41))


@st.composite
def fragments(draw: st.DrawFn, payload: bytes) -> list[bytes]:
    """Cut a payload anywhere, within a character or into nothing as well."""
    cuts = draw(st.lists(st.integers(0, len(payload)), max_size=4))
    return split(payload, cuts)


@st.composite
def valid_streams(draw: st.DrawFn, *, may_close: bool = True) -> Stream:
    """Make messages, some in fragments, with control frames anywhere and a close frame at last."""
    stream = Stream()
    for message in draw(st.lists(messages, max_size=6)):
        opcode = TEXT if isinstance(message, str) else BINARY
        payload = message.encode() if isinstance(message, str) else message
        parts = draw(st.one_of(st.just([payload]), fragments(payload)))
        for index, part in enumerate(parts):
            for control in draw(st.lists(st.sampled_from([PING, PONG]), max_size=1)):
                body = draw(control_payloads)
                event = Ping(body) if control == PING else Pong(body)
                stream.add(client_frame(control, body, mask=draw(masks)), event)
            final = index == len(parts) - 1
            stream.add(
                client_frame(opcode if index == 0 else 0, part, fin=final, mask=draw(masks)),
                message if final else None,
            )
    if may_close and draw(st.booleans()):
        if draw(st.booleans()):
            code, reason = draw(close_codes), draw(close_reasons)
            frame = client_frame(CLOSE, close_payload(code, reason), mask=draw(masks))
            stream.add(frame, Close(code, reason))
        else:
            stream.add(client_frame(CLOSE, mask=draw(masks)), Close(1005, ""))
    return stream


@dataclass(frozen=True)
class Fault:
    """A frame that breaks the protocol, and the close code that says so."""

    name: str
    frames: bytes
    code: int = 1002


def length_form(first: int, length: int, size: int) -> bytes:
    """Write a frame header with a length in ``size`` bytes, minimal or not."""
    marker = {2: 126, 8: 127}[size]
    return bytes((first, 0x80 | marker)) + length.to_bytes(size, "big") + MASK


# Each breaks one rule and is complete, so that whoever reads it frame by frame must see the fault.
FAULTS = [
    *(
        Fault(f"reserved bit {bit:#x}", bytes((0x80 | bit | TEXT, 0x80)) + MASK)
        for bit in (0x40, 0x20, 0x10)
    ),
    *(
        Fault(f"reserved opcode {opcode:#x}", client_frame(opcode))
        for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF)
    ),
    Fault("unmasked text", client_frame(TEXT, b"Hello", mask=None)),
    Fault("unmasked empty ping", client_frame(PING, mask=None)),
    *(
        Fault(f"fragmented control frame {opcode:#x}", client_frame(opcode, fin=False))
        for opcode in (CLOSE, PING, PONG)
    ),
    *(
        Fault(f"control frame {opcode:#x} of 126 bytes", client_frame(opcode, b"\x03\xe8" * 63))
        for opcode in (CLOSE, PING, PONG)
    ),
    Fault("continuation of nothing", client_frame(CONTINUATION, b"x")),
    Fault("unfinished continuation of nothing", client_frame(CONTINUATION, b"x", fin=False)),
    *(
        Fault(
            f"message {second} within message {first}",
            client_frame(first, b"x", fin=False) + client_frame(second, b"y"),
        )
        for first in (TEXT, BINARY)
        for second in (TEXT, BINARY)
    ),
    Fault("close frame with half a code", client_frame(CLOSE, b"\x03")),
    *(
        Fault(f"close code {code}", client_frame(CLOSE, close_payload(code)))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
    Fault("close reason not UTF-8", client_frame(CLOSE, b"\x03\xe8\xff"), 1007),
    *(
        Fault(f"text not UTF-8: {payload.hex()}", client_frame(TEXT, payload), 1007)
        for payload in (
            b"\xff",
            b"abc\x80defgh",
            b"\xc0\xaf",  # not the shortest form
            b"\xed\xa0\x80",  # a surrogate
            b"\xf4\x90\x80\x80",  # beyond Unicode
            b"\xe2\x82",  # cut off
        )
    ),
    Fault(
        "text cut off in its last fragment",
        client_frame(TEXT, b"\xe2\x82", fin=False) + client_frame(CONTINUATION),
        1007,
    ),
]

# What only a strict reader refuses: websockets does not look at the form of a length.
LENGTH_FAULTS = [
    Fault("16 bit length of 125", length_form(0x82, 125, 2) + bytes(125)),
    Fault("16 bit length of 0", length_form(0x81, 0, 2)),
    Fault("64 bit length of 65535", length_form(0x82, 65535, 8) + bytes(65535)),
    Fault("64 bit length of 5", length_form(0x82, 5, 8) + bytes(5)),
    Fault("64 bit length with its highest bit set", length_form(0x82, (1 << 63) + 5, 8)),
    Fault("64 bit length with no bit but its highest", length_form(0x82, 1 << 63, 8)),
]


@st.composite
def faulty_streams(draw: st.DrawFn, faults: list[Fault]) -> tuple[Stream, Fault]:
    """Make a valid stream, a fault behind it, and anything behind that."""
    stream = draw(valid_streams(may_close=False))
    fault = draw(st.sampled_from(faults))
    stream.add(fault.frames)
    stream.data += draw(st.binary(max_size=30))
    return stream, fault


@st.composite
def mutated_streams(draw: st.DrawFn) -> bytes:
    """Make a stream that was valid before some of its bytes changed, went or doubled."""
    stream = draw(valid_streams())
    data = bytearray(stream.data)
    for _ in range(draw(st.integers(1, 4))):
        # Half of the time near the beginning of a frame, where a byte means most.
        begin = draw(st.sampled_from(stream.frames or [0]))
        position = draw(st.one_of(st.integers(begin, begin + 8), st.integers(0, len(data))))
        change = draw(st.sampled_from(["set", "remove", "insert"]))
        if change == "insert":
            data[position:position] = draw(st.binary(min_size=1, max_size=3))
        elif change == "remove":
            del data[position : position + draw(st.integers(1, 3))]
        elif position < len(data):
            data[position] = draw(st.integers(0, 255))
    return bytes(data)


# Random bytes seldom get past two header bytes; these often do.
headers = st.builds(
    lambda first, second, rest: bytes((first, second)) + rest,
    st.sampled_from([0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A, 0x09, 0xC1]),
    st.one_of(st.integers(0x80, 0x90), st.sampled_from([0x00, 0x7E, 0xFD, 0xFE, 0xFF])),
    st.binary(max_size=24),
)
random_bytes = st.one_of(st.binary(max_size=200), st.lists(headers, max_size=8).map(b"".join))
