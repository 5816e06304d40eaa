"""What holds for the connection whatever comes: any split, any message, any bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from client_frames import (
    FAULTS,
    LENGTH_FAULTS,
    MAX_MESSAGE_SIZE,
    PING,
    PONG,
    Fault,
    Stream,
    client_frame,
    faulty_streams,
    messages,
    mutated_streams,
    random_bytes,
    sent_close_codes,
    server_frames,
    split,
    typed,
    valid_streams,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from adwebsocket.protocol.connection import Connection
from adwebsocket.protocol.events import Close, Ping, Pong
from adwebsocket.protocol.messages import MessageLimits
from adwebsocket.protocol.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adwebsocket.protocol.events import Event

PROPERTY = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    # Streams are built from many small draws.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FEWER = settings(PROPERTY, max_examples=60)


class Outcome(NamedTuple):
    """All that can be seen of a connection after some bytes and the end."""

    events: list[tuple[type, Event]]
    output: bytes
    state: State
    is_over: bool
    events_at_end: list[tuple[type, Event]]
    state_at_end: State


def read(
    pieces: Iterable[bytes], *, closing: bool = False, max_size: int = MAX_MESSAGE_SIZE
) -> Outcome:
    """Give the pieces to a new connection, one after the other, then the end."""
    connection = Connection(MessageLimits(max_size))
    connection.accept()
    if closing:
        connection.send_close()
    events = [event for piece in pieces for event in connection.receive_data(piece)]
    state, is_over = connection.state, connection.is_over()
    events_at_end = connection.receive_eof()
    return Outcome(
        typed(events),
        connection.data_to_send(),
        state,
        is_over,
        typed(events_at_end),
        connection.state,
    )


def check_every_split(data: bytes, cuts: list[int], *, closing: bool, max_size: int) -> None:
    whole = read([data], closing=closing, max_size=max_size)

    assert read(split(data, cuts), closing=closing, max_size=max_size) == whole
    if len(data) <= 2000:
        by_bytes = read((bytes((byte,)) for byte in data), closing=closing, max_size=max_size)
        assert by_bytes == whole


many_cuts = st.lists(st.integers(0, 400), max_size=12)
far_cuts = st.lists(st.integers(0, 200_000), max_size=6)
cuts = st.one_of(many_cuts, far_cuts)
sizes = st.sampled_from([MAX_MESSAGE_SIZE, 65536, 126, 125, 4, 0])


@PROPERTY
@given(stream=valid_streams(), cuts=cuts, closing=st.booleans(), max_size=sizes)
def test_any_split_of_a_valid_stream_gives_the_same(
    stream: Stream, cuts: list[int], closing: bool, max_size: int
) -> None:
    check_every_split(stream.data, cuts, closing=closing, max_size=max_size)


@PROPERTY
@given(
    made=faulty_streams([*FAULTS, *LENGTH_FAULTS]), cuts=cuts, closing=st.booleans(), max_size=sizes
)
def test_any_split_of_a_faulty_stream_gives_the_same(
    made: tuple[Stream, Fault], cuts: list[int], closing: bool, max_size: int
) -> None:
    check_every_split(made[0].data, cuts, closing=closing, max_size=max_size)


@PROPERTY
@given(data=mutated_streams(), cuts=cuts, closing=st.booleans(), max_size=sizes)
def test_any_split_of_a_mutated_stream_gives_the_same(
    data: bytes, cuts: list[int], closing: bool, max_size: int
) -> None:
    check_every_split(data, cuts, closing=closing, max_size=max_size)


@PROPERTY
@given(data=random_bytes, cuts=many_cuts, closing=st.booleans(), max_size=sizes)
def test_any_split_of_random_bytes_gives_the_same(
    data: bytes, cuts: list[int], closing: bool, max_size: int
) -> None:
    check_every_split(data, cuts, closing=closing, max_size=max_size)


@FEWER
@given(stream=valid_streams(may_close=False), position=st.integers(0, 300))
def test_every_place_to_cut_a_stream_in_two_gives_the_same(stream: Stream, position: int) -> None:
    data = stream.data[:3000]
    whole = read([data])

    for cut in range(max(0, min(position, len(data)) - 20), min(position, len(data)) + 20):
        assert read([data[:cut], data[cut:]]) == whole


# The meaning of a stream, known from how it was made


@PROPERTY
@given(stream=valid_streams())
def test_valid_stream_gives_what_it_was_made_of(stream: Stream) -> None:
    outcome = read([stream.data])
    closes = [event for event in stream.events if isinstance(event, Close)]

    assert outcome.events == typed(stream.events)
    assert outcome.state is (State.CLOSED if closes else State.OPEN)
    assert outcome.events_at_end == typed([] if closes else [Close(1006, "")])
    assert outcome.state_at_end is State.CLOSED
    pongs = [payload for opcode, payload in server_frames(outcome.output) if opcode == PONG]
    assert pongs == [event.payload for event in stream.events if isinstance(event, Ping)]
    assert sent_close_codes(outcome.output) == [
        1000 if close.code == 1005 else close.code for close in closes
    ]


@PROPERTY
@given(made=faulty_streams([*FAULTS, *LENGTH_FAULTS]))
def test_faulty_stream_gives_what_came_before_the_fault_and_its_code(
    made: tuple[Stream, Fault],
) -> None:
    stream, fault = made
    outcome = read([stream.data])
    *before, (kind, close) = outcome.events

    assert before == typed(stream.events)
    assert kind is Close
    assert close.code == fault.code
    assert sent_close_codes(outcome.output) == [fault.code]
    assert outcome.state is State.FAILED
    assert outcome.events_at_end == []


@PROPERTY
@given(sent=st.lists(messages, max_size=6))
def test_messages_of_websockets_survive_the_trip(sent: list[str | bytes]) -> None:
    data = b"".join(
        Frame(Opcode.TEXT, message.encode()).serialize(mask=True)
        if isinstance(message, str)
        else Frame(Opcode.BINARY, message).serialize(mask=True)
        for message in sent
    )

    assert read([data]).events == typed(sent)


# Bytes of any kind


def check_outcome(outcome: Outcome) -> None:
    """Check what must hold after anything at all, and that nothing but it happened."""
    kinds = [kind for kind, _ in outcome.events]
    assert set(kinds) <= {str, bytes, Ping, Pong, Close}
    assert Close not in kinds[:-1], "a close comes last"
    if Close in kinds:
        assert outcome.is_over
        assert outcome.state in (State.CLOSED, State.FAILED)
        assert outcome.events_at_end == []
        close = outcome.events[-1][1]
        assert isinstance(close, Close)
        assert len(sent_close_codes(outcome.output)) == 1
    else:
        assert outcome.state in (State.OPEN, State.CLOSING)
        assert outcome.events_at_end == typed([Close(1006, "")])
    assert outcome.state_at_end is State.CLOSED


@PROPERTY
@given(data=random_bytes, closing=st.booleans(), max_size=sizes)
def test_random_bytes_give_events_and_at_most_one_close(
    data: bytes, closing: bool, max_size: int
) -> None:
    check_outcome(read([data], closing=closing, max_size=max_size))


@PROPERTY
@given(data=mutated_streams(), closing=st.booleans())
def test_mutated_streams_give_events_and_at_most_one_close(data: bytes, closing: bool) -> None:
    check_outcome(read([data], closing=closing))


@PROPERTY
@given(data=random_bytes)
@pytest.mark.parametrize("state", [State.CONNECTING, State.FAILED, State.CLOSED])
def test_bytes_have_no_meaning_where_nobody_talks(state: State, data: bytes) -> None:
    connection = Connection(MessageLimits(MAX_MESSAGE_SIZE))
    if state is State.CLOSED:
        connection.refuse()
    elif state is State.FAILED:
        connection.accept()
        connection.receive_data(client_frame(PING, fin=False))
        connection.data_to_send()

    assert connection.is_over()
    assert connection.receive_data(data) == []
    assert connection.data_to_send() == b""
    assert connection.state is state
