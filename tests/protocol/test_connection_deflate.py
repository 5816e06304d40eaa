"""The connection with permessage-deflate agreed on: RFC 7692 sections 6 to 8."""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING

import pytest
from client_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    MAX_MESSAGE_SIZE,
    PING,
    PONG,
    TEXT,
    client_frame,
    fragments,
    messages,
    sent_close_codes,
    split,
    typed,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.uri import parse_uri

from adwebsocket.protocol.connection import Connection
from adwebsocket.protocol.deflate import DeflateOptions, negotiate
from adwebsocket.protocol.events import Close, Ping
from adwebsocket.protocol.handshake import check_upgrade, encode_accept, parse_request
from adwebsocket.protocol.messages import MessageLimits

if TYPE_CHECKING:
    from adwebsocket.protocol.events import Event

PROPERTY = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
COMPRESSED = 0x40
HELLO = bytes.fromhex("f2 48 cd c9 c9 07 00")


def open_connection(
    max_message_size: int = MAX_MESSAGE_SIZE, *, takeover: bool = False, minimum_size: int = 0
) -> Connection:
    options = DeflateOptions(context_takeover=takeover, minimum_size=minimum_size)
    agreed = negotiate([(b"sec-websocket-extensions", b"permessage-deflate")], options)
    assert agreed is not None
    connection = Connection(MessageLimits(max_message_size))
    connection.deflate = agreed[1]
    connection.accept()
    return connection


def compress(payload: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(b"\x00\x00\xff\xff")


def compressed_frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Write a frame of a compressed message, its first one unless it is a continuation."""
    bit = 0 if opcode == CONTINUATION else COMPRESSED
    return client_frame(opcode | bit, payload, fin=fin)


def codes(events: list[Event]) -> list[int]:
    return [event.code for event in events if isinstance(event, Close)]


# Receiving


def test_example_of_section_7_2_3_1_is_received() -> None:
    frame = client_frame(TEXT | COMPRESSED, HELLO)
    assert frame[:2] == b"\xc1\x87"

    assert typed(open_connection().receive_data(frame)) == typed(["Hello"])


def test_example_in_fragments_is_received_with_a_ping_between() -> None:
    data = (
        compressed_frame(TEXT, HELLO[:3], fin=False)
        + client_frame(PING, b"?")
        + compressed_frame(CONTINUATION, HELLO[3:])
    )

    assert typed(open_connection().receive_data(data)) == typed([Ping(b"?"), "Hello"])


def test_messages_that_are_not_compressed_are_received_too() -> None:
    data = (
        client_frame(TEXT, b"plain")
        + compressed_frame(BINARY, compress(b"compressed"))
        + client_frame(TEXT, b"pl", fin=False)
        + client_frame(CONTINUATION, b"ain")
    )

    events = open_connection().receive_data(data)

    assert typed(events) == typed(["plain", b"compressed", "plain"])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            compressed_frame(TEXT, HELLO[:3], fin=False)
            + client_frame(CONTINUATION | COMPRESSED, HELLO[3:]),
            id="on a continuation",
        ),
        pytest.param(client_frame(PING | COMPRESSED), id="on a ping"),
        pytest.param(client_frame(CLOSE | COMPRESSED), id="on a close frame"),
        pytest.param(client_frame(TEXT | 0x20), id="the second"),
        pytest.param(client_frame(TEXT | 0x10), id="the third"),
        pytest.param(client_frame(TEXT | 0x60, HELLO), id="the second beside the first"),
    ],
)
def test_reserved_bit_where_it_means_nothing_is_1002(data: bytes) -> None:
    assert codes(open_connection().receive_data(data)) == [1002]


def test_reserved_bit_without_the_agreement_is_1002() -> None:
    connection = Connection(MessageLimits(100))
    connection.accept()

    assert codes(connection.receive_data(compressed_frame(TEXT, HELLO))) == [1002]


def test_what_cannot_be_inflated_is_1002() -> None:
    connection = open_connection()

    assert codes(connection.receive_data(compressed_frame(BINARY, b"\xff" * 9))) == [1002]
    assert sent_close_codes(connection.data_to_send()) == [1002]


def test_text_that_is_not_utf_8_once_inflated_is_1007() -> None:
    frame = compressed_frame(TEXT, compress(b"abc\xff"))

    assert codes(open_connection().receive_data(frame)) == [1007]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [1, 1000, 65536])
def test_limit_holds_for_the_inflated_message(opcode: int, size: int) -> None:
    frame = compressed_frame(opcode, compress(b"x" * size))

    (message,) = open_connection(size).receive_data(frame)
    assert len(message) == size
    assert codes(open_connection(size - 1).receive_data(frame)) == [1009]


def test_limit_holds_for_fragments_together() -> None:
    payload = compress(b"x" * 1000)
    data = b"".join(
        [
            compressed_frame(BINARY, payload[:5], fin=False),
            *(
                compressed_frame(CONTINUATION, payload[i : i + 1], fin=False)
                for i in range(5, len(payload))
            ),
            compressed_frame(CONTINUATION, b""),
        ]
    )

    assert open_connection(1000).receive_data(data) == [b"x" * 1000]
    assert codes(open_connection(999).receive_data(data)) == [1009]


@pytest.mark.parametrize("memory_level", [1, 4, 5, 8, 9])
@pytest.mark.parametrize("window_bits", [9, 12, 15])
@pytest.mark.parametrize("size", [100, 5000, 1024 * 1024])
def test_noise_of_the_greatest_size_is_received_however_it_is_compressed(
    size: int, window_bits: int, memory_level: int
) -> None:
    noise = random.Random(size).randbytes(size)
    deflater = zlib.compressobj(6, zlib.DEFLATED, -window_bits, memory_level)
    payload = deflater.compress(noise) + deflater.flush(zlib.Z_SYNC_FLUSH)
    frame = compressed_frame(BINARY, payload.removesuffix(b"\x00\x00\xff\xff"))

    assert open_connection(size).receive_data(frame) == [noise]


@pytest.mark.parametrize("size", [100, 5000, 1024 * 1024])
def test_message_of_the_greatest_size_that_does_not_compress_is_received(size: int) -> None:
    deflater = zlib.compressobj(0, wbits=-15)  # stored blocks, larger than what they hold
    stored = deflater.compress(b"x" * size) + deflater.flush(zlib.Z_SYNC_FLUSH)
    frame = compressed_frame(BINARY, stored.removesuffix(b"\x00\x00\xff\xff"))
    assert len(frame) > size

    assert open_connection(size).receive_data(frame) == [b"x" * size]


def test_message_far_too_long_on_the_wire_fails_at_its_header() -> None:
    header = bytes((0x80 | COMPRESSED | BINARY, 0xFF)) + (1 << 40).to_bytes(8, "big") + MASK

    assert codes(open_connection().receive_data(header)) == [1009]


def test_empty_fragments_without_end_are_kept_small() -> None:
    connection = open_connection(100)
    connection.receive_data(compressed_frame(BINARY, b"", fin=False))
    flood = compressed_frame(CONTINUATION, b"", fin=False) * 10_000

    assert connection.receive_data(flood) == []
    assert connection.receive_data(compressed_frame(CONTINUATION, b"\x00")) == [b""]


@PROPERTY
@given(data=st.data(), takeover=st.booleans(), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_any_messages_in_any_fragments_and_pieces_are_received(
    data: st.DataObject, takeover: bool, cuts: list[int]
) -> None:
    deflater = zlib.compressobj(wbits=-15)
    sent, stream = data.draw(st.lists(messages, max_size=4)), b""
    for message in sent:
        if not takeover:
            deflater = zlib.compressobj(wbits=-15)
        opcode = TEXT if isinstance(message, str) else BINARY
        payload = message.encode() if isinstance(message, str) else message
        payload = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
        *before, last = data.draw(fragments(payload.removesuffix(b"\x00\x00\xff\xff")))
        for part in before:
            stream += compressed_frame(opcode, part, fin=False)
            opcode = CONTINUATION
        stream += compressed_frame(opcode, last)
    connection = open_connection(takeover=takeover)

    events = [event for piece in split(stream, cuts) for event in connection.receive_data(piece)]

    assert typed(events) == typed(sent)


@PROPERTY
@given(
    payload=st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(compress)),
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3),
    opcode=st.sampled_from([TEXT, BINARY]),
    max_size=st.sampled_from([0, 10, 1000]),
)
def test_any_split_of_any_payload_fails_or_succeeds_alike(
    payload: bytes, changes: list[tuple[int, int]], opcode: int, max_size: int
) -> None:
    mutated = bytearray(payload)
    for position, value in changes:
        if position < len(mutated):
            mutated[position] = value
    frame = compressed_frame(opcode, bytes(mutated))
    whole, by_bytes = open_connection(max_size), open_connection(max_size)
    expected = whole.receive_data(frame)
    events = [event for byte in frame for event in by_bytes.receive_data(bytes((byte,)))]

    # A payload may be broken in two ways, too long and not UTF-8, say. Which one is met first
    # depends on how much of it zlib is given at once.
    if codes(expected):
        assert len(codes(events)) == 1
        assert {*codes(expected), *codes(events)} <= {1002, 1007, 1009}
    else:
        assert typed(events) == typed(expected)
    assert whole.state is by_bytes.state


# Sending


def test_long_message_is_sent_compressed_and_short_one_as_it_is() -> None:
    connection = open_connection(minimum_size=100)

    assert connection.prepare("short") == b"\x81\x05short"
    long = connection.prepare("long" * 25)
    assert isinstance(long, bytes)
    assert long[0] == 0x80 | COMPRESSED | TEXT
    assert len(long) < 30


def test_without_the_agreement_messages_are_sent_as_they_are() -> None:
    connection = Connection(MessageLimits(100))

    assert connection.prepare(b"x" * 100) == b"\x82\x64" + b"x" * 100


def test_control_frames_are_never_compressed() -> None:
    connection = open_connection()
    connection.receive_data(client_frame(PING, b"x" * 125))
    connection.send_close(1000, "y" * 123)

    output = connection.data_to_send()
    assert output[0] == 0x80 | PONG
    assert output[127] == 0x80 | CLOSE


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("message", [5, None])
def test_message_of_another_type_raises_when_it_is_prepared(
    message: object, takeover: bool
) -> None:
    with pytest.raises(TypeError, match="must be str"):
        open_connection(takeover=takeover).prepare(message)  # type: ignore[arg-type]


def test_message_of_shared_context_is_compressed_in_the_order_of_sending() -> None:
    connection = open_connection(takeover=True)
    text = "a message that comes again and again"
    second, first = connection.prepare(text), connection.prepare(text)
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)

    frames = [connection.finish(first), connection.finish(second)]

    inflater = zlib.decompressobj(-12)
    for frame in frames:
        assert inflater.decompress(frame[2:] + b"\x00\x00\xff\xff").decode() == text
    assert len(frames[1]) < len(frames[0])


# From handshake to messages, with the client of websockets


@pytest.mark.parametrize("takeover", [True, False])
@PROPERTY
@given(sent=st.lists(messages, max_size=4))
def test_client_of_websockets_and_the_connection_understand_each_other(
    takeover: bool, sent: list[str | bytes]
) -> None:
    client = ClientProtocol(
        parse_uri("ws://example.com/"),
        extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)],
        max_size=None,
    )
    client.send_request(client.connect())
    request = parse_request(b"".join(client.data_to_send()))
    key = check_upgrade(request.method, request.http_version, request.headers)
    agreed = negotiate(request.headers, DeflateOptions(context_takeover=takeover, minimum_size=0))
    assert agreed is not None
    connection = Connection(MessageLimits(MAX_MESSAGE_SIZE))
    connection.deflate = agreed[1]
    connection.accept()
    extensions = [(b"Sec-WebSocket-Extensions", agreed[0].encode())]
    client.receive_data(encode_accept(key, None, extensions))
    assert client.handshake_exc is None
    client.events_received()

    for message in sent:
        if isinstance(message, str):
            client.send_text(message.encode())
        else:
            client.send_binary(message)
    echoed = connection.receive_data(b"".join(client.data_to_send()))
    for message in echoed:
        assert isinstance(message, (str, bytes))
        prepared = connection.prepare(message)
        client.receive_data(
            connection.finish(prepared) if isinstance(prepared, tuple) else prepared
        )

    assert typed(echoed) == typed(sent)
    assert [(frame.opcode, bytes(frame.data)) for frame in client.events_received()] == [
        (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        for message in sent
    ]
