"""Frames as bytes: RFC 6455 section 5.7, and what another implementation reads in them."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import websockets.frames
import websockets.utils
from client_frames import (
    NOTABLE_LENGTHS,
    binaries,
    close_codes,
    close_reasons,
    control_payloads,
    mask_payload,
    masks,
    messages,
    server_frames,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from adwebsocket.protocol import frames
from adwebsocket.protocol.codes import Opcode
from adwebsocket.protocol.frames import (
    LARGE_PAYLOAD,
    apply_mask,
    check_close,
    encode_close,
    encode_frame,
    encode_message,
    encode_parts,
)

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True)


def read_with_websockets(data: bytes) -> list[websockets.frames.Frame]:
    """Read a server's bytes with the client of ``websockets``."""
    client = ClientProtocol(
        parse_uri("ws://example.com/"), state=websockets.protocol.OPEN, max_size=None
    )
    client.receive_data(data)
    assert client.parser_exc is None
    return client.events_received()


# RFC 6455 section 5.7: what a server may send of it, byte for byte


def test_example_single_frame_unmasked_text_message() -> None:
    assert encode_message("Hello") == bytes.fromhex("81 05 48 65 6c 6c 6f")


def test_example_unmasked_ping() -> None:
    assert encode_frame(Opcode.PING, b"Hello") == bytes.fromhex("89 05 48 65 6c 6c 6f")


def test_example_256_bytes_binary_message_in_a_single_unmasked_frame() -> None:
    payload = bytes(range(256))

    assert encode_message(payload) == bytes.fromhex("82 7e 01 00") + payload


def test_example_64_kib_binary_message_in_a_single_unmasked_frame() -> None:
    payload = bytes(range(256)) * 256

    assert encode_message(payload) == bytes.fromhex("82 7f 00 00 00 00 00 01 00 00") + payload


# encode_message


@pytest.mark.parametrize("length", NOTABLE_LENGTHS)
def test_length_takes_its_shortest_form(length: int) -> None:
    # server_frames() checks the form.
    assert server_frames(encode_message(b"x" * length)) == [(Opcode.BINARY, b"x" * length)]
    assert server_frames(encode_message("x" * length)) == [(Opcode.TEXT, b"x" * length)]


def test_length_of_text_is_counted_in_bytes() -> None:
    assert encode_message("é" * 63)[:4] == bytes.fromhex("81 7e 00 7e")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(bytearray(b"abcd"), id="bytearray"),
        pytest.param(memoryview(b"abcd"), id="memoryview"),
        pytest.param(memoryview(b"a_b_c_d_")[::2], id="memoryview with gaps"),
        pytest.param(memoryview(b"abcd").cast("H"), id="memoryview of 16 bit numbers"),
    ],
)
def test_bytes_like_message_is_sent_as_binary(message: bytearray | memoryview) -> None:
    assert encode_message(message) == b"\x82\x04abcd"


def test_mutable_message_is_copied() -> None:
    message = bytearray(b"before")
    frame = encode_message(message)
    message[:] = b"after!"

    assert frame == b"\x82\x06before"


@pytest.mark.parametrize("message", [b"x", "x"], ids=["binary", "text"])
def test_large_message_is_two_parts_for_who_can_write_them_at_once(message: str | bytes) -> None:
    large = message * LARGE_PAYLOAD
    header, payload = encode_parts(large)

    assert payload == b"x" * LARGE_PAYLOAD
    assert encode_message(large) == b"".join([header, payload])


def test_large_binary_message_is_not_copied() -> None:
    message = bytes(LARGE_PAYLOAD)

    assert encode_parts(message)[1] is message


def test_large_mutable_message_is_copied() -> None:
    message = bytearray(LARGE_PAYLOAD)
    parts = encode_parts(message)
    message[:] = b"x" * LARGE_PAYLOAD

    assert parts[1] == bytes(LARGE_PAYLOAD)


@pytest.mark.parametrize("length", [0, 125, 126, LARGE_PAYLOAD - 1])
def test_message_that_is_not_large_is_one_part(length: int) -> None:
    assert encode_parts(b"x" * length) == encode_message(b"x" * length)
    assert encode_parts("x" * length) == encode_message("x" * length)


def test_subclass_of_str_is_sent_as_text() -> None:
    class Markup(str):
        """As django.utils.safestring.SafeString is one."""

        __slots__ = ()

    assert encode_message(Markup("Hello")) == b"\x81\x05Hello"


@pytest.mark.parametrize("message", [None, 5, 1.5, ["a"], OrderedDict(), object])
def test_message_of_another_type_raises_and_says_what_was_expected(message: object) -> None:
    with pytest.raises(TypeError, match="must be str") as caught:
        encode_message(message)  # type: ignore[arg-type]

    assert type(message).__name__ in str(caught.value)
    assert ("send_json()" in str(caught.value)) is isinstance(message, (dict, list))


def test_text_with_a_surrogate_raises() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_message("\ud800")


@PROPERTY
@given(sent=st.lists(messages, max_size=5))
def test_websockets_reads_the_messages_that_were_encoded(sent: list[str | bytes]) -> None:
    received = read_with_websockets(b"".join(map(encode_message, sent)))

    assert [(frame.opcode, bytes(frame.data), frame.fin) for frame in received] == [
        (1, message.encode(), True) if isinstance(message, str) else (2, message, True)
        for message in sent
    ]


@PROPERTY
@given(opcode=st.sampled_from([Opcode.PING, Opcode.PONG]), payload=control_payloads)
def test_websockets_reads_control_frames(opcode: Opcode, payload: bytes) -> None:
    (frame,) = read_with_websockets(encode_frame(opcode, payload))

    assert (frame.opcode, bytes(frame.data)) == (opcode, payload)


@PROPERTY
@given(code=close_codes, reason=close_reasons)
def test_websockets_reads_close_frames(code: int, reason: str) -> None:
    check_close(code, reason)
    (frame,) = read_with_websockets(encode_close(code, reason))

    assert websockets.frames.Close.parse(frame.data) == websockets.frames.Close(code, reason)


# Close frames


def test_close_without_a_code_is_empty() -> None:
    assert encode_close(1005) == b"\x88\x00"


def test_close_with_a_code_has_it_in_network_byte_order() -> None:
    assert encode_close(1000) == b"\x88\x02\x03\xe8"
    assert encode_close(1001, "bye") == b"\x88\x05\x03\xe9bye"


def test_reason_of_123_bytes_may_be_sent() -> None:
    check_close(1000, "x" * 123)
    check_close(1000, "é" * 61 + "x")

    assert server_frames(encode_close(1000, "é" * 61 + "x"))[0][1][2:].decode() == "é" * 61 + "x"


@pytest.mark.parametrize("reason", ["x" * 124, "é" * 62, "€" * 42])
def test_reason_that_does_not_fit_raises(reason: str) -> None:
    with pytest.raises(ValueError, match="123 bytes"):
        check_close(1000, reason)


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 70000])
def test_code_that_must_not_be_sent_raises_naming_it(code: int) -> None:
    with pytest.raises(ValueError, match=f"got {code}$"):
        check_close(code, "")


@pytest.mark.parametrize("code", ["1000", 1000.0, None, True])
def test_code_that_is_no_integer_raises(code: object) -> None:
    with pytest.raises(TypeError, match="close code must be an int"):
        check_close(code, "")  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", [b"bye", None, 5])
def test_reason_that_is_no_text_raises(reason: object) -> None:
    with pytest.raises(TypeError, match="close reason must be a str"):
        check_close(1000, reason)  # type: ignore[arg-type]


def test_reason_with_a_surrogate_raises() -> None:
    with pytest.raises(UnicodeEncodeError):
        check_close(1000, "\ud800")


# The mask (section 5.3), in C and in Python


@pytest.mark.parametrize(
    "function", [apply_mask, websockets.utils.apply_mask], ids=["in use", "in Python"]
)
@PROPERTY
@given(payload=binaries, mask=masks)
def test_mask_is_an_exclusive_or_with_four_bytes_over_and_over(
    function: type(frames.apply_mask), payload: bytes, mask: bytes
) -> None:
    expected = mask_payload(payload, mask)

    assert function(payload, mask) == expected
    assert function(memoryview(payload), mask) == expected
    assert bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload[:8])) == expected[:8]
