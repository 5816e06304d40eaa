"""The diagram of the documentation: it shows the table as it is."""

from __future__ import annotations

import pytest
from state_diagram import BEGIN, END, PAGE, draw, replace_diagram

from adwebsocket.protocol.state import TRANSITIONS


def test_page_has_the_diagram_of_the_table() -> None:
    text = PAGE.read_text()
    assert text == replace_diagram(text), "run: python -m tests.protocol.state_diagram"


def test_every_way_of_the_table_is_drawn() -> None:
    arrows = {}
    for line in draw().splitlines():
        states, colon, steps = line.strip().partition(": ")
        if colon:
            arrows[states] = steps.split(", ")

    assert {
        (state.name, step.value): target.name for (state, step), target in TRANSITIONS.items()
    } == {
        (states.split(" --> ")[0], step): states.split(" --> ")[1]
        for states, steps in arrows.items()
        for step in steps
    }


def test_what_stands_around_the_diagram_is_kept() -> None:
    assert replace_diagram(f"above\n{BEGIN}    old\n{END}below\n") == f"above\n{draw()}below\n"


@pytest.mark.parametrize("text", ["above\n", f"above\n{BEGIN}    old\n"])
def test_page_without_a_diagram_is_not_written(text: str) -> None:
    with pytest.raises(AssertionError, match="diagram"):
        replace_diagram(text)
