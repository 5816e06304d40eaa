"""Test cases of a user's project: each database with each runner, in the test's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .running import MEMORY, run_project_tests

if TYPE_CHECKING:
    from tests.database.postgresql import Cluster


@pytest.fixture(params=["SQLite in memory", "PostgreSQL"])
def entry(request: pytest.FixtureRequest) -> dict[str, Any]:
    """An entry for ``DATABASES``."""
    if request.param != "PostgreSQL":
        return MEMORY
    cluster: Cluster = request.getfixturevalue("cluster")
    return cluster.database("tests of a project")


@pytest.mark.parametrize("runner", ["thread", "greenlet"])
def test_test_cases_of_a_project_pass(entry: dict[str, Any], runner: str) -> None:
    assert "Found 21 test(s)" in run_project_tests("tests", entry, runner)


def test_test_cases_of_the_documentation_pass() -> None:
    assert "Found 7 test(s)" in run_project_tests("page_tests")
