"""The connection beside ``websockets.server.ServerProtocol``, on the same bytes.

They must give the same messages, the same pongs and the same close codes. These differences are
meant, and the streams here are made so that they do not show, except in the tests named for them:

* A length that is not in its shortest form, or has its highest bit set, fails with 1002 here, as
  section 5.2 has it ("the minimal number of bytes MUST be used"). websockets takes the former and
  calls the latter too big (1009).
* A close frame within a fragmented message is an ordinary one here: section 5.4 lets control
  frames stand there. websockets fails with 1002 ("incomplete fragmented message").
* A control frame has no part in the limit of message sizes here. websockets counts it, so a ping
  may fail with 1009 there.
* A close frame without a code is answered with 1000 here, and with an empty one there, which
  ``read_there`` makes equal. Either is allowed (section 5.5.1).
* A header that breaks a rule fails here when it is complete; there the rules for control frames,
  reserved bits and order are looked at when the payload is. So frames here are whole, and break
  one rule each.
* ``websockets`` leaves joining fragments and decoding text to its callers, hence ``read_there``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
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
    Stream,
    client_frame,
    close_payload,
    faulty_streams,
    mutated_streams,
    sent_close_codes,
    server_frames,
    valid_streams,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from adwebsocket.protocol.connection import Connection
from adwebsocket.protocol.messages import MessageLimits

if TYPE_CHECKING:
    from websockets.frames import Frame

PROPERTY = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Heard(NamedTuple):
    """What a server understood: messages, pongs it sent, and the code it closed with."""

    messages: list[str | bytes]
    pongs: list[bytes]
    close_codes: list[int | None]


def pongs_in(output: bytes) -> list[bytes]:
    return [payload for opcode, payload in server_frames(output) if opcode == PONG]


def read_here(data: bytes, max_size: int, *, closing: bool = False) -> Heard:
    connection = Connection(MessageLimits(max_size))
    connection.accept()
    if closing:
        connection.send_close()
    events = connection.receive_data(data)
    output = connection.data_to_send()
    messages = [event for event in events if isinstance(event, (str, bytes))]
    return Heard(messages, pongs_in(output), sent_close_codes(output))


def read_there(data: bytes, max_size: int, *, closing: bool = False) -> Heard:
    protocol = ServerProtocol(state=OPEN, max_size=max_size)
    if closing:
        protocol.send_close(1000)
    protocol.receive_data(data)
    messages, is_utf_8 = join(protocol.events_received())
    output = b"".join(protocol.data_to_send())
    if not is_utf_8:
        # What the connections on top of it do.
        assert sent_close_codes(output) in ([], [1000]), "the last thing that happened"
        return Heard(messages, pongs_in(output), [1000] if closing else [1007])
    close_codes = [1000 if code is None else code for code in sent_close_codes(output)]
    return Heard(messages, pongs_in(output), close_codes)


def join(frames: list[Frame]) -> tuple[list[str | bytes], bool]:
    """Join fragments and decode text; tell whether that went well to the end."""
    messages: list[str | bytes] = []
    opcode, payload = None, b""
    for frame in frames:
        if frame.opcode >= CLOSE:
            continue
        if frame.opcode != CONTINUATION:
            opcode, payload = frame.opcode, b""
        payload += bytes(frame.data)
        if frame.fin:
            try:
                messages.append(payload.decode() if opcode == TEXT else payload)
            except UnicodeDecodeError:
                return messages, False
    return messages, True


@PROPERTY
@given(stream=valid_streams())
def test_valid_streams_are_heard_alike(stream: Stream) -> None:
    here = read_here(stream.data, MAX_MESSAGE_SIZE)

    assert here == read_there(stream.data, MAX_MESSAGE_SIZE)
    assert here.messages == stream.messages


@PROPERTY
@given(stream=valid_streams())
def test_valid_streams_after_our_close_frame_give_the_same_messages(stream: Stream) -> None:
    here = read_here(stream.data, MAX_MESSAGE_SIZE, closing=True)
    there = read_there(stream.data, MAX_MESSAGE_SIZE, closing=True)

    assert here.messages == there.messages
    assert here.close_codes == there.close_codes == [1000]


@PROPERTY
@given(made=faulty_streams(FAULTS), closing=st.booleans())
def test_faults_are_heard_alike(made: tuple[Stream, Fault], closing: bool) -> None:
    stream, fault = made
    # Up to the fault and no further: they might see what follows a text that is not UTF-8.
    data = stream.data[: stream.frames[-1]] + fault.frames
    here = read_here(data, MAX_MESSAGE_SIZE, closing=closing)
    there = read_there(data, MAX_MESSAGE_SIZE, closing=closing)

    assert here.messages == there.messages == stream.messages
    assert here.close_codes == there.close_codes == ([1000] if closing else [fault.code])
    if not closing:
        assert here.pongs == there.pongs


@PROPERTY
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    max_size=st.integers(0, 120),
)
def test_size_limit_is_heard_alike(lengths: list[int], max_size: int) -> None:
    whole = b"".join(client_frame(BINARY, bytes(length)) for length in lengths)
    fragments = b"".join(
        client_frame(CONTINUATION if index else BINARY, bytes(length), fin=False)
        for index, length in enumerate(lengths)
    )
    data = whole + fragments + client_frame(CONTINUATION)

    assert read_here(data, max_size) == read_there(data, max_size)


@PROPERTY
@given(data=mutated_streams())
def test_mutated_streams_give_the_same_messages_until_one_side_fails(data: bytes) -> None:
    here = read_here(data, MAX_MESSAGE_SIZE).messages
    there = read_there_until_fault(data)
    both = min(len(here), len(there))

    assert here[:both] == there[:both]


def read_there_until_fault(data: bytes) -> list[str | bytes]:
    protocol = ServerProtocol(state=OPEN, max_size=MAX_MESSAGE_SIZE)
    protocol.receive_data(data)
    return join(protocol.events_received())[0]


# The differences that are meant


@pytest.mark.parametrize("fault", LENGTH_FAULTS, ids=lambda fault: fault.name)
def test_difference_lengths_that_are_not_minimal_fail_here_only(fault: Fault) -> None:
    assert read_here(fault.frames, MAX_MESSAGE_SIZE).close_codes == [1002]
    assert read_there(fault.frames, MAX_MESSAGE_SIZE).close_codes in ([], [1009])


def test_difference_close_frame_within_a_message_fails_there_only() -> None:
    data = client_frame(TEXT, b"x", fin=False) + client_frame(CLOSE, close_payload(1000))

    assert read_here(data, MAX_MESSAGE_SIZE).close_codes == [1000]
    assert read_there(data, MAX_MESSAGE_SIZE).close_codes == [1002]


def test_difference_ping_counts_as_message_there_only() -> None:
    data = client_frame(PING, b"x" * 50)

    assert read_here(data, 20) == Heard([], [b"x" * 50], [])
    assert read_there(data, 20) == Heard([], [], [1009])


def test_ping_after_our_close_frame_is_answered() -> None:
    data = client_frame(PING, b"x")

    assert read_here(data, 20, closing=True).pongs == [b"x"]
    assert read_there(data, 20, closing=True).pongs == [b"x"]
