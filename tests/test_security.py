"""The threat table of docs/security.md: each line names tests, and these exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "security.md"


def rows_of_threats() -> list[list[str]]:
    """Return the cells of each line of the table."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["threat", "what stands against it", "setting", "tests"]
    return rows[1:]


def functions_of(file: Path) -> set[str]:
    """Return the names of all tests in a file."""
    return {
        node.name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


@pytest.mark.parametrize("row", rows_of_threats(), ids=lambda row: row[0][:40])
def test_threat_is_covered_by_tests_that_exist(row: list[str]) -> None:
    assert len(row) == 4
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", row[3])
    assert named
    assert [name for file, name in named if name not in functions_of(TESTS / file)] == []
    assert row[3].count("`") == 2 * len(named)
