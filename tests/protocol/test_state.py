"""The state table: every way there is, and none besides."""

from __future__ import annotations

import itertools

import pytest

from adwebsocket.exceptions import IllegalTransition
from adwebsocket.protocol.state import TRANSITIONS, State, Step, next_state

# Written down from RFC 6455 sections 4 and 7, not copied from the table.
LEGAL = {
    # An answer opens the connection or ends it; the client may go before.
    (State.CONNECTING, Step.ACCEPT): State.OPEN,
    (State.CONNECTING, Step.REFUSE): State.CLOSED,
    (State.CONNECTING, Step.LOSE): State.CLOSED,
    # Either side closes, the peer breaks the rules, or the line is cut.
    (State.OPEN, Step.SEND_CLOSE): State.CLOSING,
    (State.OPEN, Step.RECEIVE_CLOSE): State.CLOSED,
    (State.OPEN, Step.FAIL): State.FAILED,
    (State.OPEN, Step.LOSE): State.CLOSED,
    # Our close frame is out. A peer that breaks the rules now may still be sending, like above.
    (State.CLOSING, Step.RECEIVE_CLOSE): State.CLOSED,
    (State.CLOSING, Step.FAIL): State.FAILED,
    (State.CLOSING, Step.LOSE): State.CLOSED,
    (State.FAILED, Step.LOSE): State.CLOSED,
    # The end of the byte stream comes last, after everything.
    (State.CLOSED, Step.LOSE): State.CLOSED,
}
ILLEGAL = [pair for pair in itertools.product(State, Step) if pair not in LEGAL]


def test_table_is_what_the_rfc_says() -> None:
    assert TRANSITIONS == LEGAL


@pytest.mark.parametrize(("state", "step"), LEGAL, ids=lambda member: member.name)
def test_legal_step_leads_where_the_table_says(state: State, step: Step) -> None:
    assert next_state(state, step) is LEGAL[state, step]


@pytest.mark.parametrize(("state", "step"), ILLEGAL, ids=lambda member: member.name)
def test_illegal_step_raises_naming_state_and_step(state: State, step: Step) -> None:
    with pytest.raises(IllegalTransition) as caught:
        next_state(state, step)

    sentence = str(caught.value)
    assert state.value in sentence
    assert step.value in sentence
    assert caught.value.__suppress_context__, "the KeyError of the table is of no interest"


def test_legal_and_illegal_pairs_are_all_pairs() -> None:
    assert len(LEGAL) + len(ILLEGAL) == len(State) * len(Step)


def test_losing_the_byte_stream_ends_every_state() -> None:
    assert {next_state(state, Step.LOSE) for state in State} == {State.CLOSED}


def test_every_state_is_reached_from_the_first() -> None:
    reached = {State.CONNECTING}
    while True:
        further = {target for (state, _), target in TRANSITIONS.items() if state in reached}
        if further <= reached:
            break
        reached |= further

    assert reached == set(State)
