"""The connection by example: RFC 6455 sections 5 to 7, one situation at a time."""

from __future__ import annotations

import pytest
import websockets.utils
from client_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FAULTS,
    LENGTH_FAULTS,
    MAX_MESSAGE_SIZE,
    PING,
    PONG,
    TEXT,
    Fault,
    client_frame,
    close_payload,
    length_form,
    sent_close_codes,
    server_frames,
    typed,
)

from adwebsocket.exceptions import IllegalTransition
from adwebsocket.protocol.connection import Connection
from adwebsocket.protocol.events import Close, Ping, Pong
from adwebsocket.protocol.messages import MessageLimits
from adwebsocket.protocol.state import State


def open_connection(max_message_size: int = MAX_MESSAGE_SIZE) -> Connection:
    connection = Connection(MessageLimits(max_message_size))
    connection.accept()
    return connection


# RFC 6455 section 5.7: what a client may send of it, byte for byte


def test_example_single_frame_masked_text_message() -> None:
    data = bytes.fromhex("81 85 37 fa 21 3d 7f 9f 4d 51 58")

    assert open_connection().receive_data(data) == ["Hello"]


def test_example_single_frame_unmasked_text_message_is_not_for_clients() -> None:
    connection = open_connection()

    assert connection.receive_data(bytes.fromhex("81 05 48 65 6c 6c 6f"))[-1].code == 1002
    assert sent_close_codes(connection.data_to_send()) == [1002]


def test_example_fragmented_text_message_once_it_is_masked() -> None:
    connection = open_connection()

    assert connection.receive_data(bytes.fromhex("01 83 00 00 00 00 48 65 6c")) == []
    assert connection.receive_data(bytes.fromhex("80 82 00 00 00 00 6c 6f")) == ["Hello"]


def test_example_masked_pong() -> None:
    events = open_connection().receive_data(bytes.fromhex("8a 85 37 fa 21 3d 7f 9f 4d 51 58"))

    assert typed(events) == typed([Pong(b"Hello")])


def test_example_ping_is_answered_with_the_pong_that_stands_there() -> None:
    connection = open_connection()
    events = connection.receive_data(bytes.fromhex("89 85 37 fa 21 3d 7f 9f 4d 51 58"))

    assert typed(events) == typed([Ping(b"Hello")])
    assert connection.data_to_send() == bytes.fromhex("8a 05 48 65 6c 6c 6f")


@pytest.mark.parametrize(
    ("header", "length"),
    [("82 fe 01 00", 256), ("82 ff 00 00 00 00 00 01 00 00", 65536)],
    ids=["256 bytes", "64 KiB"],
)
def test_example_long_binary_message_once_it_is_masked(header: str, length: int) -> None:
    data = bytes.fromhex(header) + bytes(4) + b"\xa5" * length

    assert open_connection().receive_data(data) == [b"\xa5" * length]


# Opening and refusing


def test_accepting_opens_and_refusing_closes() -> None:
    accepted, refused = Connection(MessageLimits(10)), Connection(MessageLimits(10))
    assert accepted.state is refused.state is State.CONNECTING

    accepted.accept()
    refused.refuse()

    assert accepted.state is State.OPEN
    assert refused.state is State.CLOSED
    assert accepted.data_to_send() == refused.data_to_send() == b""


def test_client_that_goes_before_the_answer_gives_no_event() -> None:
    connection = Connection(MessageLimits(10))

    assert connection.receive_eof() == []
    assert connection.state is State.CLOSED


@pytest.mark.parametrize("verb", ["accept", "refuse"])
def test_second_answer_raises_and_changes_nothing(verb: str) -> None:
    connection = open_connection()

    with pytest.raises(IllegalTransition, match=f"{verb} in state open"):
        getattr(connection, verb)()
    assert connection.state is State.OPEN


# Messages


def test_several_messages_in_one_piece_come_in_order() -> None:
    data = client_frame(TEXT, b"one") + client_frame(BINARY, b"") + client_frame(TEXT, b"three")

    assert typed(open_connection().receive_data(data)) == typed(["one", b"", "three"])


def test_empty_fragments_make_an_empty_message() -> None:
    data = (
        client_frame(TEXT, fin=False)
        + client_frame(CONTINUATION, fin=False)
        + client_frame(CONTINUATION)
    )

    assert typed(open_connection().receive_data(data)) == typed([""])


def test_character_may_be_cut_by_a_fragment() -> None:
    data = client_frame(TEXT, b"\xe2\x82", fin=False) + client_frame(CONTINUATION, b"\xac")

    assert open_connection().receive_data(data) == ["€"]


def test_binary_message_is_bytes_whatever_it_came_in() -> None:
    data = client_frame(BINARY, b"a", fin=False) + client_frame(CONTINUATION, b"b")

    assert typed(open_connection().receive_data(data)) == typed([b"ab"])


def test_control_frames_between_fragments_come_before_the_message() -> None:
    connection = open_connection()
    data = (
        client_frame(TEXT, b"Hel", fin=False)
        + client_frame(PING, b"1")
        + client_frame(PONG, b"2")
        + client_frame(CONTINUATION, b"lo")
    )

    assert typed(connection.receive_data(data)) == typed([Ping(b"1"), Pong(b"2"), "Hello"])
    assert server_frames(connection.data_to_send()) == [(PONG, b"1")]


def test_text_fails_on_the_first_piece_that_cannot_be_utf_8() -> None:
    connection = open_connection()

    events = connection.receive_data(client_frame(TEXT, b"ab\xffcd" + bytes(1000))[:12])

    assert typed(events) == typed([Close(1007, "a text message is not UTF-8")])


# Size


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", [5, 125, 126, 65536])
def test_message_of_the_greatest_size_is_received(opcode: int, length: int) -> None:
    (message,) = open_connection(length).receive_data(client_frame(opcode, b"x" * length))

    assert len(message) == length


@pytest.mark.parametrize("length", [6, 126, 65536])
def test_longer_message_fails_at_its_header(length: int) -> None:
    connection = open_connection(5)
    header = client_frame(BINARY, bytes(length))[:-length]

    assert typed(connection.receive_data(header)) == typed(
        [Close(1009, f"a message may have 5 bytes, got {length}")]
    )
    assert sent_close_codes(connection.data_to_send()) == [1009]
    assert connection.state is State.FAILED


def test_longest_length_there_is_fails_at_its_header() -> None:
    header = length_form(0x82, (1 << 63) - 1, 8)

    assert open_connection().receive_data(header)[-1].code == 1009


def test_fragments_are_too_long_together() -> None:
    connection = open_connection(5)
    data = client_frame(TEXT, b"abc", fin=False) + client_frame(CONTINUATION, b"def")

    assert connection.receive_data(data)[-1].code == 1009


def test_size_of_text_is_counted_in_bytes() -> None:
    assert open_connection(5).receive_data(client_frame(TEXT, "ééé".encode()))[-1].code == 1009


def test_control_frames_have_no_part_in_the_size() -> None:
    connection = open_connection(5)
    data = (
        client_frame(TEXT, b"abc", fin=False)
        + client_frame(PING, bytes(125))
        + client_frame(CONTINUATION, b"de")
    )

    assert connection.receive_data(data) == [Ping(bytes(125)), "abcde"]


def test_message_before_the_long_one_is_still_received() -> None:
    data = client_frame(TEXT, b"abc") + client_frame(TEXT, b"abcdef")

    events = open_connection(5).receive_data(data)

    assert events[0] == "abc"
    assert events[1:] == [Close(1009, "a message may have 5 bytes, got 6")]


def limited(max_frame_size: int | None = None, max_fragments: int | None = None) -> Connection:
    connection = Connection(MessageLimits(1000, max_frame_size, max_fragments))
    connection.accept()
    return connection


@pytest.mark.parametrize("fin", [True, False])
def test_frame_that_announces_too_much_is_1009(fin: bool) -> None:
    header = client_frame(BINARY, b"x" * 200, fin=fin)[:8]

    assert limited(max_frame_size=200).receive_data(header) == []
    assert limited(max_frame_size=199).receive_data(header) == [
        Close(1009, "a frame may have 199 bytes, got 200")
    ]


def test_frames_within_their_limit_make_a_longer_message() -> None:
    connection = limited(max_frame_size=10)
    data = client_frame(TEXT, b"x" * 10, fin=False) + client_frame(CONTINUATION, b"y" * 10)

    assert connection.receive_data(data) == ["x" * 10 + "y" * 10]


def test_frame_limit_above_the_message_limit_changes_nothing() -> None:
    assert limited(max_frame_size=2000).receive_data(client_frame(TEXT, b"x" * 1001)) == [
        Close(1009, "a message may have 1000 bytes, got 1001")
    ]


def test_one_fragment_too_many_is_1009_empty_or_not() -> None:
    connection = limited(max_fragments=3)
    empty = client_frame(CONTINUATION, fin=False)

    assert connection.receive_data(client_frame(TEXT, b"x", fin=False) + empty * 2) == []
    assert connection.receive_data(empty) == [Close(1009, "a message may have 3 fragments, got 4")]


def test_fragments_are_counted_for_each_message() -> None:
    connection = limited(max_fragments=2)
    message = client_frame(TEXT, b"a", fin=False) + client_frame(CONTINUATION, b"b")

    assert connection.receive_data(message * 3) == ["ab"] * 3


# Faults of the peer


@pytest.mark.parametrize("fault", [*FAULTS, *LENGTH_FAULTS], ids=lambda fault: fault.name)
def test_fault_fails_the_connection_with_its_code(fault: Fault) -> None:
    connection = open_connection()

    events = connection.receive_data(fault.frames)

    assert [type(event) for event in events] == [Close]
    assert events[0].code == fault.code
    assert sent_close_codes(connection.data_to_send()) == [fault.code]
    assert connection.state is State.FAILED


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_after_our_close_frame_fails_without_a_second_one(fault: Fault) -> None:
    connection = open_connection()
    connection.send_close()
    connection.data_to_send()

    events = connection.receive_data(fault.frames)

    assert [event.code for event in events] == [fault.code]
    assert connection.data_to_send() == b""
    # Not closed: the peer may be sending still, and must come to read our close frame.
    assert connection.state is State.FAILED


def test_what_follows_a_fault_is_discarded() -> None:
    connection = open_connection()
    connection.receive_data(client_frame(CONTINUATION) + client_frame(TEXT, b"late"))
    connection.data_to_send()

    assert connection.receive_data(client_frame(PING, b"later")) == []
    assert connection.data_to_send() == b""
    assert connection.receive_eof() == []
    assert connection.state is State.CLOSED


# Close frames (sections 5.5.1 and 7)


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (close_payload(1000), Close(1000, "")),
        (close_payload(1001, "bye ✓"), Close(1001, "bye ✓")),
        (close_payload(4999, "x" * 123), Close(4999, "x" * 123)),
    ],
)
def test_close_frame_is_answered_with_its_code_and_reason(payload: bytes, event: Close) -> None:
    connection = open_connection()

    assert typed(connection.receive_data(client_frame(CLOSE, payload))) == typed([event])
    assert server_frames(connection.data_to_send()) == [(CLOSE, payload)]


def test_close_frame_without_a_code_is_answered_with_1000() -> None:
    connection = open_connection()

    assert typed(connection.receive_data(client_frame(CLOSE))) == typed([Close(1005, "")])
    assert server_frames(connection.data_to_send()) == [(CLOSE, close_payload(1000))]


def test_close_frame_may_come_within_a_fragmented_message() -> None:
    connection = open_connection()
    data = client_frame(TEXT, b"unfinished", fin=False) + client_frame(CLOSE, close_payload(1000))

    assert connection.receive_data(data) == [Close(1000, "")]
    assert sent_close_codes(connection.data_to_send()) == [1000]


def test_what_follows_a_close_frame_is_discarded() -> None:
    connection = open_connection()
    data = client_frame(CLOSE, close_payload(1000)) + client_frame(TEXT, b"late") + b"\xff\xff"

    assert connection.receive_data(data) == [Close(1000, "")]
    assert connection.receive_data(client_frame(TEXT, b"later")) == []
    assert connection.receive_eof() == []


def test_closing_handshake_that_we_begin_ends_with_the_answer() -> None:
    connection = open_connection()

    connection.send_close(1001, "bye")
    assert connection.state is State.CLOSING
    assert connection.data_to_send() == b"\x88\x05\x03\xe9bye"
    assert not connection.is_over()

    assert connection.receive_data(client_frame(CLOSE, close_payload(1001))) == [Close(1001, "")]
    assert connection.data_to_send() == b""
    assert connection.state is State.CLOSED


def test_messages_before_the_answer_to_our_close_frame_are_received() -> None:
    connection = open_connection()
    connection.send_close()

    data = client_frame(TEXT, b"crossing") + client_frame(CLOSE)

    assert connection.receive_data(data) == ["crossing", Close(1005, "")]


def test_ping_after_our_close_frame_is_answered() -> None:
    connection = open_connection()
    connection.send_close()
    connection.data_to_send()

    assert connection.receive_data(client_frame(PING, b"x")) == [Ping(b"x")]
    assert connection.data_to_send() == b"\x8a\x01x"


def test_ping_after_the_close_frames_of_both_is_ignored() -> None:
    connection = open_connection()
    connection.send_close()
    connection.receive_data(client_frame(CLOSE))
    connection.data_to_send()

    assert connection.receive_data(client_frame(PING, b"x")) == []
    assert connection.data_to_send() == b""


@pytest.mark.parametrize(("code", "reason"), [(1005, ""), (999, ""), (1000, "x" * 124)])
def test_close_that_must_not_be_sent_raises_and_changes_nothing(code: int, reason: str) -> None:
    connection = open_connection()

    with pytest.raises(ValueError, match="close"):
        connection.send_close(code, reason)
    assert connection.state is State.OPEN
    assert connection.data_to_send() == b""


def test_close_before_opening_or_twice_raises_and_sends_nothing() -> None:
    connection = Connection(MessageLimits(10))
    with pytest.raises(IllegalTransition, match="send close in state connecting"):
        connection.send_close()
    connection.accept()
    connection.send_close()
    connection.data_to_send()

    with pytest.raises(IllegalTransition, match="send close in state closing"):
        connection.send_close()
    assert connection.data_to_send() == b""


@pytest.mark.parametrize("closing", [False, True], ids=["open", "closing"])
def test_end_of_the_byte_stream_without_a_close_frame_is_1006_once(closing: bool) -> None:
    connection = open_connection()
    connection.receive_data(client_frame(TEXT, b"unfinished", fin=False))
    if closing:
        connection.send_close()

    assert typed(connection.receive_eof()) == typed([Close(1006, "")])
    assert connection.state is State.CLOSED
    assert connection.receive_eof() == []


# Output


def test_ping_is_put_in_the_output() -> None:
    connection = open_connection()
    connection.send_ping(b"still there?")
    connection.send_ping()

    assert connection.output == b"\x89\x0cstill there?\x89\x00"


def test_ping_of_more_than_125_bytes_raises() -> None:
    with pytest.raises(ValueError, match="at most 125 bytes, got 126"):
        open_connection().send_ping(b"x" * 126)


def test_ping_behind_our_close_frame_raises() -> None:
    connection = open_connection()
    connection.send_close()
    connection.data_to_send()

    with pytest.raises(IllegalTransition, match="cannot send a ping in state closing"):
        connection.send_ping()
    assert connection.data_to_send() == b""


def test_output_is_given_once_in_order() -> None:
    connection = open_connection()
    connection.receive_data(client_frame(PING, b"1") + client_frame(PING, b"2"))
    connection.send_close()

    assert server_frames(connection.data_to_send()) == [
        (PONG, b"1"),
        (PONG, b"2"),
        (CLOSE, close_payload(1000)),
    ]
    assert connection.data_to_send() == b""


# Cost: done rather than timed. What is not linear would not end here.


@pytest.mark.parametrize("size", [32 * 1024, 64 * 1024])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_long_message_byte_by_byte_is_received(opcode: int, size: int) -> None:
    connection = open_connection()
    data = client_frame(opcode, b"x" * size)
    events = [
        event
        for index in range(len(data))
        for event in connection.receive_data(data[index : index + 1])
    ]

    assert events == ["x" * size if opcode == TEXT else b"x" * size]


@pytest.mark.parametrize("size", [8 * 1024 * 1024, 16 * 1024 * 1024])
@pytest.mark.parametrize(
    "in_one_piece", [False, True], ids=["fragment by fragment", "in one piece"]
)
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_16_mib_in_fragments_of_1_kib_are_received(
    opcode: int, in_one_piece: bool, size: int
) -> None:
    connection = open_connection(size)
    payload = b"x" * 1024
    rest = client_frame(CONTINUATION, payload, fin=False)
    pieces = [client_frame(opcode, payload, fin=False), *[rest] * (size // 1024 - 1)]
    pieces.append(client_frame(CONTINUATION))
    if in_one_piece:
        pieces = [b"".join(pieces)]

    events = [event for piece in pieces for event in connection.receive_data(piece)]

    assert events == ["x" * size if opcode == TEXT else b"x" * size]


def test_thousands_of_messages_in_one_piece_are_received() -> None:
    data = client_frame(TEXT, b"ab") * 50_000

    assert open_connection().receive_data(data) == ["ab"] * 50_000


# Where the wheel of websockets has no C extension


def test_mask_in_python_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adwebsocket.protocol.connection.apply_mask", websockets.utils.apply_mask)
    connection = open_connection()
    data = client_frame(TEXT, b"whole") + client_frame(BINARY, b"in pieces") + client_frame(PING)
    events = [event for byte in data for event in connection.receive_data(bytes((byte,)))]

    assert typed(events) == typed(["whole", b"in pieces", Ping(b"")])
    assert open_connection().receive_data(data) == events
