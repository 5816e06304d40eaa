"""What the suite found, and which of it is not as it should be.

The command calls it when the suite has come to its end. It reads the files that the suite wrote,
and knows the cases in which we differ on purpose.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tests.conformance.suite import Agent

GOOD = ("OK", "INFORMATIONAL")
NOT_RUN = "NOT RUN"
# In the order of the tables.
BEHAVIOURS = (
    *GOOD,
    "NON-STRICT",
    "UNIMPLEMENTED",
    "WRONG CODE",
    "UNCLEAN",
    "FAILED BY CLIENT",
    "FAILED",
    NOT_RUN,
)
SECTIONS = {
    1: "Framing",
    2: "Pings and pongs",
    3: "Reserved bits",
    4: "Opcodes",
    5: "Fragmentation",
    6: "UTF-8",
    7: "Closing",
    9: "Limits and speed",
    10: "Automatic fragmentation",
    12: "Compression of different payloads",
    13: "Compression with different parameters",
}
# Agent and case, and why we mean to differ there.
DEVIATIONS: dict[tuple[str, str], str] = {}


@dataclass(frozen=True)
class Result:
    """How one case went with one agent.

    Attributes:
        agent: the name of the agent.
        case: the number of the case, such as ``"6.4.1"``.
        behaviour: what the suite says of the conversation, one of ``BEHAVIOURS``.
        closing: what it says of its end, one of ``BEHAVIOURS``.
        seconds: how long it took.
        explanation: the suite's own words for both, and what it received.
    """

    agent: str
    case: str
    behaviour: str
    closing: str
    seconds: float = 0.0
    explanation: str = ""

    @property
    def section(self) -> int:
        return int(self.case.partition(".")[0])

    @property
    def is_good(self) -> bool:
        return self.behaviour in GOOD and self.closing in GOOD


def read_results(agent: Agent, cases: Iterable[str]) -> list[Result]:
    """Read how the cases went; one that the suite was to run and did not is ``NOT RUN``."""
    file = agent.directory / "index.json"
    index = json.loads(file.read_text()) if file.exists() else {}
    found = index.get(agent.name, {})
    return [
        read_result(agent, case, found[case])
        if case in found
        else Result(agent.name, case, NOT_RUN, NOT_RUN)
        for case in cases
    ]


def read_result(agent: Agent, case: str, entry: Mapping[str, Any]) -> Result:
    details = json.loads((agent.directory / entry["reportfile"]).read_text())
    received = ", ".join(" ".join(map(str, event)) for event in details["received"])
    return Result(
        agent.name,
        case,
        entry["behavior"],
        entry["behaviorClose"],
        entry["duration"] / 1000,
        f"{details['result']} {details['resultClose']}. Received: {received[:200] or 'nothing'}.",
    )


def find_faults(
    results: Iterable[Result], deviations: Mapping[tuple[str, str], str] = DEVIATIONS
) -> list[str]:
    """Give a line for each result that nobody expects, be it a bad one or a better one."""
    faults = []
    for result in results:
        is_deviation = (result.agent, result.case) in deviations
        if result.is_good and is_deviation:
            faults.append(f"{result.agent} {result.case}: good now, so no deviation any more")
        elif not result.is_good and not is_deviation:
            faults.append(
                f"{result.agent} {result.case}: {result.behaviour}, closing {result.closing}. "
                f"{result.explanation}".strip()
            )
    return faults


def tally(results: Iterable[Result]) -> dict[tuple[int, str], tuple[str, str]]:
    """Count by section and agent: the conversations, and how they ended."""
    behaviours: dict[tuple[int, str], Counter[str]] = {}
    closings: dict[tuple[int, str], Counter[str]] = {}
    for result in results:
        key = (result.section, result.agent)
        behaviours.setdefault(key, Counter())[result.behaviour] += 1
        closings.setdefault(key, Counter())[result.closing] += 1
    return {key: (counts(behaviours[key]), counts(closings[key])) for key in behaviours}


def counts(counter: Counter[str]) -> str:
    """Write what was counted, such as ``"44 OK, 3 INFORMATIONAL"``."""
    return ", ".join(f"{counter[name]} {name}" for name in BEHAVIOURS if counter[name])


def table(results: Sequence[Result], agents: Sequence[Agent]) -> list[str]:
    """Write a table with a row for each section and two columns for each agent."""
    cells = tally(results)
    tested = {name for _, name in cells}
    agents = [agent for agent in agents if agent.name in tested]
    rows = [["section"], ["---"]]
    for agent in agents:
        rows[0] += [agent.title, "closing"]
        rows[1] += ["---", "---"]
    for section in sorted({section for section, _ in cells}):
        row = [f"{section} {SECTIONS.get(section, '')}".strip()]
        for agent in agents:
            row += cells.get((section, agent.name), ("", ""))
        rows.append(row)
    return [f"| {' | '.join(row)} |" for row in rows]
