"""Draws the diagram in ``docs/protocol.md`` from the table of states.

Run it when the table has changed: ``python -m tests.protocol.state_diagram``. A test tells when
that was forgotten.
"""

from __future__ import annotations

from pathlib import Path

from adwebsocket.protocol.state import TRANSITIONS, State, Step

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
BEGIN = "```mermaid\nstateDiagram-v2\n"
END = "```\n"


def draw() -> str:
    """Write the table as a Mermaid diagram; steps between the same two states share an arrow."""
    arrows: dict[tuple[State, State], list[Step]] = {}
    for (state, step), target in TRANSITIONS.items():
        arrows.setdefault((state, target), []).append(step)
    first, *_, last = State
    lines = [f"[*] --> {first.name}"]
    for (state, target), steps in arrows.items():
        label = ", ".join(step.value for step in steps)
        lines.append(f"{state.name} --> {target.name}: {label}")
    lines.append(f"{last.name} --> [*]")
    return BEGIN + "".join(f"    {line}\n" for line in lines) + END


def replace_diagram(text: str) -> str:
    """Give the text of the page with the diagram drawn anew."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, "the page has no diagram of states"
    assert end, "the diagram of states does not end"
    return before + draw() + after


if __name__ == "__main__":
    PAGE.write_text(replace_diagram(PAGE.read_text()))
