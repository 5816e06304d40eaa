"""What must hold for any bytes: one function for each target, which raises where it does not.

The fuzzer and the test of the corpus call them. Each takes its choices from the first bytes, so
that a fuzzer can change them as everything else, and the rest is what a peer sends.
"""

from __future__ import annotations

import base64
import itertools
import tracemalloc
from io import BytesIO
from typing import TYPE_CHECKING

from adwebsocket.exceptions import HandshakeError, ProtocolError
from adwebsocket.protocol.codes import is_close_code_for_wire
from adwebsocket.protocol.connection import Connection
from adwebsocket.protocol.deflate import Deflate, DeflateOptions, negotiate
from adwebsocket.protocol.events import Close, Ping, Pong
from adwebsocket.protocol.frames import check_close
from adwebsocket.protocol.handshake import (
    check_upgrade,
    encode_accept,
    encode_refusal,
    offered_subprotocols,
    parse_request,
    wants_websocket,
)
from adwebsocket.protocol.messages import IncomingMessage, MessageLimits
from adwebsocket.protocol.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from adwebsocket.protocol.events import Event

# Small, so that a fuzzer finds its way past them.
MESSAGE_SIZES = (0, 16, 125, 1000, 65536)
MAX_FRAME_SIZE = 100
MAX_FRAGMENTS = 8
MAX_HEADER_SIZE = 400
# What a connection holds beside a message: a frame header, the payload of a control frame, a mask.
BESIDE_MESSAGE = 14 + 125 + 4
# Its state and window, and blocks of output before they are joined.
MEMORY_OF_ZLIB = 128 * 1024
CLOSE, PONG = 8, 10
# A compressed message may be too long and not UTF-8 and no deflate data at once. Which of them is
# met first depends on how much of it zlib is given at a time.
CODES_OF_COMPRESSED = {1002, 1007, 1009}


# The connection


def fuzz_connection(data: bytes) -> None:
    """Read a stream whole, in pieces and byte by byte: nothing raises, all see the same."""
    if len(data) < 2:
        return
    choices, count = data[0], data[1] % 8
    cuts, stream = data[2 : 2 + count], data[2 + count :]
    whole = read([stream], choices)
    is_compressed = bool(choices & 1)
    compare(read(split(stream, cuts), choices), whole, is_compressed)
    if len(stream) <= 200:
        compare(read((bytes((byte,)) for byte in stream), choices), whole, is_compressed)


def split(stream: bytes, lengths: Iterable[int]) -> list[bytes]:
    """Cut pieces of these lengths off a stream, and give them and the rest."""
    ends = [min(end, len(stream)) for end in itertools.accumulate(lengths, initial=0)]
    return [stream[begin:end] for begin, end in itertools.pairwise([*ends, len(stream)])]


def message_size(choices: int) -> int:
    return MESSAGE_SIZES[(choices >> 3 & 7) % len(MESSAGE_SIZES)]


def make_connection(choices: int) -> Connection:
    """Open a connection: the choices say with which limits and compression, and how far along."""
    connection = Connection(
        MessageLimits(
            max_message_size=message_size(choices),
            max_frame_size=MAX_FRAME_SIZE if choices & 64 else None,
            max_fragments=MAX_FRAGMENTS if choices & 128 else None,
        )
    )
    if choices & 1:
        # The largest window. With a smaller one zlib refuses references behind it only where they
        # leave the piece that it is given, and so the outcome would depend on the pieces.
        keeps = bool(choices & 2)
        connection.deflate = make_deflate(DeflateOptions(minimum_size=0), 15, keeps)
    connection.accept()
    if choices & 4:
        connection.send_close()
    return connection


def make_deflate(options: DeflateOptions, bits: int, keeps: bool) -> Deflate:
    return Deflate(
        options, keeps_received=keeps, keeps_sent=keeps, received_bits=bits, sent_bits=bits
    )


def read(pieces: Iterable[bytes], choices: int) -> list[Event]:
    """Give the pieces to a new connection and check it after each; return all events."""
    connection = make_connection(choices)
    events: list[Event] = []
    output = b""
    for piece in pieces:
        was_over = connection.is_over()
        new = connection.receive_data(piece)
        assert not (was_over and new), "events came behind the close"
        events += new
        output += connection.data_to_send()
        check_memory(connection, message_size(choices))
    output += connection.data_to_send()
    assert connection.is_over() == any(isinstance(event, Close) for event in events)
    events += connection.receive_eof()
    assert connection.state is State.CLOSED
    assert connection.receive_data(b"\x89\x80\0\0\0\0") == []
    assert connection.receive_eof() == []
    assert connection.data_to_send() == b""
    check_events(events, message_size(choices))
    check_output(output, events, closing=bool(choices & 4))
    return events


def check_memory(connection: Connection, max_message_size: int) -> None:
    held = held_bytes(connection)
    assert held <= max_message_size + BESIDE_MESSAGE, f"{held} bytes are held"


def held_bytes(value: object) -> int:
    """Count the bytes that something holds, be it bytes itself or made of such."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, (bytes, bytearray)):
        return len(value)
    if isinstance(value, BytesIO):
        return value.getbuffer().nbytes
    if isinstance(value, list):
        return sum(map(held_bytes, value))
    if isinstance(value, (Connection, IncomingMessage)):
        return sum(held_bytes(getattr(value, name)) for name in value.__slots__)
    return 0


def check_events(events: list[Event], max_message_size: int) -> None:
    """Check that they are documented ones, bounded, with one close at the end."""
    assert [isinstance(event, Close) for event in events] == [False] * (len(events) - 1) + [True]
    for event in events:
        if isinstance(event, (Ping, Pong)):
            assert len(event.payload) <= 125
        elif isinstance(event, Close):
            assert is_close_code_for_wire(event.code) or event.code in (1005, 1006)
        else:
            payload = event.encode() if isinstance(event, str) else event
            assert type(payload) is bytes
            assert len(payload) <= max_message_size


def check_output(output: bytes, events: list[Event], *, closing: bool) -> None:
    """Check that a server may have written it: a pong for each ping, and one close frame."""
    *pings, close = [event for event in events if isinstance(event, (Ping, Close))]
    pongs = [(PONG, ping.payload) for ping in pings if isinstance(ping, Ping)]
    frames = server_frames(output)
    if closing:
        assert frames == [(CLOSE, b"\x03\xe8"), *pongs]
    elif close == (1006, ""):
        assert frames == pongs
    else:
        *before, (opcode, payload) = frames
        assert before == pongs
        assert opcode == CLOSE
        assert isinstance(close, Close)
        # A close frame without a code is answered with 1000.
        assert int.from_bytes(payload[:2], "big") == (1000 if close.code == 1005 else close.code)
        assert payload[2:].decode() == close.reason


def server_frames(data: bytes) -> list[tuple[int, bytes]]:
    """Read what a connection wrote by itself: final, unmasked control frames."""
    frames = []
    while data:
        assert data[0] & 0xF0 == 0x80
        assert len(data) >= 2
        assert data[1] <= 125
        assert len(data) >= 2 + data[1], "a frame was cut off"
        frames.append((data[0] & 0x0F, data[2 : 2 + data[1]]))
        data = data[2 + data[1] :]
    return frames


def compare(events: list[Event], whole: list[Event], is_compressed: bool) -> None:
    """Check that a split stream gave the same events as the whole one."""
    *others, close = events
    *expected, expected_close = whole
    assert typed(others) == typed(expected)
    assert isinstance(close, Close)
    assert isinstance(expected_close, Close)
    if close != expected_close:
        assert is_compressed
        assert {close.code, expected_close.code} <= CODES_OF_COMPRESSED


def typed(events: Iterable[Event]) -> list[tuple[type, Event]]:
    """Make events comparable: as tuples, a ping and a pong with one payload would be equal."""
    return [(type(event), event) for event in events]


# The handshake


def fuzz_handshake(data: bytes) -> None:
    """Read the head of a request: it is refused with a sentence, or can be answered."""
    if not data:
        return
    choices, head = data[0], data[1:]
    options = DeflateOptions(window_bits=9 + choices % 7, context_takeover=bool(choices & 8))
    try:
        request = parse_request(head, MAX_HEADER_SIZE if choices & 16 else None)
        subprotocols = offered_subprotocols(request.headers)
        agreed = negotiate(request.headers, options)
        key = check_upgrade(request.method, request.http_version, request.headers)
    except HandshakeError as error:
        answer = encode_refusal(error.status, error.headers, f"{error.message}\n".encode())
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 426 ", b"HTTP/1.1 431 "))
        return
    assert len(base64.b64decode(key)) == 16
    assert wants_websocket(request.headers)
    assert all(name == name.lower() for name, _ in request.headers)
    headers = []
    if agreed is not None:
        headers.append((b"Sec-WebSocket-Extensions", agreed[0].encode()))
        # One message only: it is for the other end to keep what was agreed on for this direction.
        check_round_trip(agreed[1], [b"a message"])
    for subprotocol in [None, *subprotocols]:
        check_answer(encode_accept(key, subprotocol, headers))


def check_answer(answer: bytes) -> None:
    """Check that an answer is a head of one line each, with nothing behind it."""
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    head, end, behind = answer.partition(b"\r\n\r\n")
    assert (end, behind) == (b"\r\n\r\n", b"")
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b": ")
        assert name
        assert colon
        assert not any(byte < 32 and byte != 9 for byte in value)


# Compression


def fuzz_deflate(data: bytes) -> None:
    """Inflate anything in pieces, and compress anything and inflate it again."""
    if len(data) < 4:
        return
    bits, level, keeps = 9 + data[0] % 7, 1 + data[1] % 9, bool(data[0] & 0x80)
    options = DeflateOptions(window_bits=bits, level=level, memory_level=1 + data[1] // 9 % 9)
    room, length = data[2] * 16, 1 + data[3]
    pieces = [data[begin : begin + length] for begin in range(4, len(data), length)]
    check_inflating(make_deflate(options, bits, keeps), pieces, room)
    check_round_trip(make_deflate(options, bits, keeps), pieces)


def check_inflating(deflate: Deflate, pieces: list[bytes], room: int) -> None:
    """Check that a message never inflates to more than there is room for, not even in between."""
    most = 2 * room + MEMORY_OF_ZLIB
    tracemalloc.start()
    try:
        for index, piece in enumerate(pieces):
            inflated = deflate.inflate(piece, final=index == len(pieces) - 1, room=room)
            assert len(inflated) <= room
            room -= len(inflated)
    except ProtocolError as error:
        check_close(error.code, error.reason)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak <= most, f"{peak} bytes were used"


def check_round_trip(deflate: Deflate, messages: Iterable[bytes]) -> None:
    for message in messages:
        compressed = deflate.compress(message)
        assert not compressed.endswith(b"\0\0\xff\xff")
        middle = len(compressed) // 2
        inflated = deflate.inflate(compressed[:middle], final=False, room=len(message))
        room = len(message) - len(inflated)
        inflated += deflate.inflate(compressed[middle:], final=True, room=room)
        assert inflated == message


TARGETS: dict[str, Callable[[bytes], None]] = {
    "connection": fuzz_connection,
    "handshake": fuzz_handshake,
    "deflate": fuzz_deflate,
}
