"""What is made of a report of the suite: results, faults, tables, the page."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance import suite
from tests.conformance.page import BEGIN, END, PAGE, deviation_table, write_page
from tests.conformance.results import (
    BEHAVIOURS,
    DEVIATIONS,
    GOOD,
    NOT_RUN,
    SECTIONS,
    Result,
    find_faults,
    read_results,
    table,
)
from tests.conformance.suite import AGENTS, Run, read_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SYNC, ASYNC = AGENTS[:2]


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for the reports of the sync view."""
    monkeypatch.setattr(suite, "REPORTS", tmp_path)
    SYNC.directory.mkdir()
    return SYNC.directory


def write_report(
    directory: Path, *, received: Sequence[list[Any]] = (), **behaviours: tuple[str, str]
) -> None:
    """Write the files of the suite for cases with these results; ``c1_2`` is case 1.2."""
    index: dict[str, Any] = {}
    for name, (behaviour, closing) in behaviours.items():
        case = name.removeprefix("c").replace("_", ".")
        index[case] = {
            "behavior": behaviour,
            "behaviorClose": closing,
            "duration": 1500,
            "remoteCloseCode": 1000,
            "reportfile": f"{name}.json",
        }
        details = {"result": "What was.", "resultClose": "How it ended", "received": received}
        (directory / f"{name}.json").write_text(json.dumps(details))
    (directory / "index.json").write_text(json.dumps({SYNC.name: index}))


class TestReading:
    def test_results_come_with_the_words_of_the_suite(self, reports: Path) -> None:
        write_report(reports, received=[["message", "x", False]], c6_4_1=("NON-STRICT", "OK"))
        words = "What was. How it ended. Received: message x False."

        assert read_results(SYNC, ["6.4.1"]) == [
            Result("sync", "6.4.1", "NON-STRICT", "OK", 1.5, words)
        ]

    def test_case_without_a_report_was_not_run(self, reports: Path) -> None:
        write_report(reports, c1_1=("OK", "OK"))

        _, missing = read_results(SYNC, ["1.1", "1.2"])
        assert missing == Result("sync", "1.2", NOT_RUN, NOT_RUN)
        assert find_faults([missing]) != []

    def test_agent_without_any_report_has_run_nothing(self, reports: Path) -> None:
        assert [result.behaviour for result in read_results(SYNC, ["1.1"])] == [NOT_RUN]

    def test_lines_of_the_suite_are_understood(self) -> None:
        run = Run()
        begun: list[str] = []
        for line in (
            "Autobahn Fuzzing WebSocket Client (Autobahn Testsuite Version 1.2 / "
            "Autobahn Version 3.4)\n",
            "Ok, will run 2 test cases against 1 servers\n",
            "Cases = ['1.1.1', '1.1.2']\n",
            "Running test case ID 1.1.1 for agent sync from peer tcp4:127.0.0.1:8000\n",
        ):
            read_line(line, run, begun.append)

        assert run == Run(["1.1.1", "1.1.2"], "autobahntestsuite 1.2, autobahn 3.4")
        assert begun == ["1.1.1"]


class TestFaults:
    @pytest.mark.parametrize("behaviour", BEHAVIOURS)
    def test_only_good_results_are_none(self, behaviour: str) -> None:
        conversation = Result("sync", "1.1", behaviour, "OK")
        closing = Result("sync", "1.1", "OK", behaviour)

        expected = 0 if behaviour in GOOD else 1
        assert len(find_faults([conversation], {})) == expected
        assert len(find_faults([closing], {})) == expected

    def test_listed_deviation_is_none(self) -> None:
        result = Result("sync", "1.1", "FAILED", "OK")

        assert find_faults([result], {("sync", "1.1"): "a reason"}) == []
        assert len(find_faults([result], {("async", "1.1"): "a reason"})) == 1

    def test_deviation_that_was_mended_is_one(self) -> None:
        (fault,) = find_faults([Result("sync", "1.1", "OK", "OK")], {("sync", "1.1"): "a reason"})
        assert "no deviation any more" in fault


class TestTables:
    def test_rows_are_sections_in_order_and_columns_agents(self) -> None:
        results = [
            Result("async", "10.1", "OK", "OK"),
            Result("sync", "2.1", "OK", "UNCLEAN"),
            Result("sync", "2.2", "OK", "OK"),
            Result("sync", "2.3", "INFORMATIONAL", "OK"),
        ]

        assert table(results, AGENTS) == [
            "| section | sync view | closing | async view | closing |",
            "| --- | --- | --- | --- | --- |",
            f"| 2 {SECTIONS[2]} | 2 OK, 1 INFORMATIONAL | 2 OK, 1 UNCLEAN |  |  |",
            f"| 10 {SECTIONS[10]} |  |  | 1 OK | 1 OK |",
        ]

    def test_page_keeps_what_stands_around_the_marks(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")

        write_page([Result("sync", "1.1", "OK", "OK")], [SYNC], "suite 1.0", page)

        text = page.read_text()
        assert text.startswith(f"above\n{BEGIN}\n\nTested with suite 1.0: CPython ")
        assert text.endswith(f"\n{END}\nbelow\n")
        assert f"| 1 {SECTIONS[1]} | 1 OK | 1 OK |" in text
        assert "old" not in text

    def test_deviations_have_a_table(self) -> None:
        assert deviation_table({}) == ["There are no deviations."]
        assert deviation_table({("sync", "1.1"): "a reason"})[-1] == "| sync | 1.1 | a reason |"

    def test_committed_page_has_the_deviations_that_are_allowed(self) -> None:
        assert "\n".join(deviation_table(DEVIATIONS)) in PAGE.read_text()


def test_agents_have_names_and_reports_of_their_own() -> None:
    assert len({agent.name for agent in AGENTS}) == len(AGENTS)
    assert len({agent.title for agent in AGENTS}) == len(AGENTS)
    assert dataclasses.replace(SYNC, name="other").directory != SYNC.directory
