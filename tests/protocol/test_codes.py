"""Numbers of the RFC and of its registry."""

from __future__ import annotations

import pytest

from adwebsocket.protocol.codes import CloseCode, Opcode, is_close_code_for_wire


def test_opcodes_are_those_of_section_5_2() -> None:
    assert {opcode.name: int(opcode) for opcode in Opcode} == {
        "CONTINUATION": 0x0,
        "TEXT": 0x1,
        "BINARY": 0x2,
        "CLOSE": 0x8,
        "PING": 0x9,
        "PONG": 0xA,
    }


def test_close_codes_for_the_wire_are_the_registered_and_the_free_ones() -> None:
    allowed = {code for code in range(-1, 65537) if is_close_code_for_wire(code)}

    assert allowed == {
        *(1000, 1001, 1002, 1003),
        *range(1007, 1015),
        *range(3000, 5000),
    }


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(1004, id="reserved"),
        pytest.param(CloseCode.NO_STATUS_RECEIVED, id="no code came"),
        pytest.param(CloseCode.ABNORMAL_CLOSURE, id="no close frame came"),
        pytest.param(1015, id="TLS failed"),
    ],
)
def test_codes_that_stand_for_something_else_are_not_for_the_wire(code: int) -> None:
    assert not is_close_code_for_wire(code)
