"""Writes ``docs/conformance.md`` from the results of a whole run.

The command calls it with ``--write``. Nothing goes in that differs from one run to the next, such
as dates and durations.
"""

from __future__ import annotations

import platform
import sys
import zlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from tests.conformance.results import DEVIATIONS, table
from tests.conformance.suite import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.conformance.results import Result
    from tests.conformance.suite import Agent

PAGE = ROOT / "docs" / "conformance.md"
BEGIN = "<!-- scripts/conformance --write: from here -->"
END = "<!-- scripts/conformance --write: to here -->"
PACKAGES = ("adwebsocket", "Django", "uvicorn", "uvloop", "websockets")


def write_page(
    results: Sequence[Result],
    agents: Sequence[Agent],
    suite_version: str,
    page: Path = PAGE,
) -> None:
    """Put the results into the page, between its two marks."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, f"{page} has no mark to write behind"
    assert end, f"{page} has no mark to write before"
    lines = [
        begin,
        "",
        f"Tested with {suite_version}: {', '.join(versions())}.",
        "",
        *table(results, agents),
        "",
        *deviation_table(DEVIATIONS),
        "",
        end,
    ]
    page.write_text(before + "\n".join(lines) + after)


def versions() -> list[str]:
    """Give the names and versions of all that takes part in a message."""
    found = [f"{platform.python_implementation()} {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return [*found, f"zlib {zlib.ZLIB_RUNTIME_VERSION}", sys.platform]


def deviation_table(deviations: Mapping[tuple[str, str], str]) -> list[str]:
    """Write down where we differ on purpose."""
    if not deviations:
        return ["There are no deviations."]
    rows = [f"| {agent} | {case} | {reason} |" for (agent, case), reason in deviations.items()]
    return ["| agent | case | why we differ |", "|---|---|---|", *rows]
