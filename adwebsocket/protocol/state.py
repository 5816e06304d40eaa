"""The states of a connection and every way between them, as one table.

The connection asks it before it changes anything. The diagram in the documentation is drawn from
it, so nothing else may hold a state of its own.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from ..exceptions import IllegalTransition


class State(Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"  # the handshake has been read and not been answered
    OPEN = "open"  # messages travel both ways
    CLOSING = "closing"  # our close frame is out, the peer's has not come
    FAILED = "failed"  # the peer broke the protocol: our close frame is out, input discarded
    CLOSED = "closed"  # nothing more is read or written


class Step(Enum):
    """What moves a connection from state to state."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    SEND_CLOSE = "send close"
    RECEIVE_CLOSE = "receive close"
    FAIL = "fail"
    LOSE = "lose"  # the byte stream ended


TRANSITIONS: Final[dict[tuple[State, Step], State]] = {
    (State.CONNECTING, Step.ACCEPT): State.OPEN,
    (State.CONNECTING, Step.REFUSE): State.CLOSED,
    (State.CONNECTING, Step.LOSE): State.CLOSED,
    (State.OPEN, Step.SEND_CLOSE): State.CLOSING,
    (State.OPEN, Step.RECEIVE_CLOSE): State.CLOSED,
    (State.OPEN, Step.FAIL): State.FAILED,
    (State.OPEN, Step.LOSE): State.CLOSED,
    (State.CLOSING, Step.RECEIVE_CLOSE): State.CLOSED,
    (State.CLOSING, Step.FAIL): State.FAILED,
    (State.CLOSING, Step.LOSE): State.CLOSED,
    (State.FAILED, Step.LOSE): State.CLOSED,
    (State.CLOSED, Step.LOSE): State.CLOSED,
}


def next_state(state: State, step: Step) -> State:
    """Give the state that ``step`` leads to.

    Raises:
        IllegalTransition: the table has no such way.
    """
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise IllegalTransition(f"cannot {step.value} in state {state.value}") from None
