"""The benchmarks start: each is there, finds its parts and says what it measures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.groups_ledger import Ledger, Published
from tests.components import skip_or_fail
from tests.processes import run

CHECKOUT = Path(__file__).parent.parent
PAGE = "# Figures\n\nBy hand.\n\n<!-- {0} -->\nof old\n<!-- /{0} -->\n\nBy hand, too.\n"


@pytest.mark.parametrize(
    "name",
    [
        *("burst", "capacity", "connect", "database", "echo", "groups", "hostile", "idle"),
        *("legacy", "memory"),
    ],
)
def test_benchmark_tells_its_options(name: str) -> None:
    result = run(["-m", f"benchmarks.{name}", "--help"], cwd=CHECKOUT)

    assert result.returncode == 0, result.stdout
    assert f"python -m benchmarks.{name}" in result.stdout
    assert "--short" in result.stdout


@pytest.mark.parametrize("name", ["burst", "connect", "echo"])
def test_figures_of_a_benchmark_become_a_plot_and_a_table(name: str, tmp_path: Path) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        skip_or_fail("the load generator needs a C compiler")
    figures = tmp_path / "figures.json"
    page = tmp_path / "performance.md"
    page.write_text(PAGE.format(name))

    options = ["--short", "--connections", "5", "--only", "adwebsocket-thread"]
    measured = run(["-m", f"benchmarks.{name}", *options, "--json", str(figures)], cwd=CHECKOUT)
    drawn = run(["-m", "benchmarks.plots", "--docs", str(tmp_path), str(figures)], cwd=CHECKOUT)

    assert measured.returncode == 0, measured.stdout
    assert drawn.returncode == 0, drawn.stdout
    plots = list(tmp_path.glob("plots/*.svg"))
    words = [text for plot in plots for text in ET.parse(plot).getroot().itertext()]
    assert "adwebsocket, sync view, threads" in words
    written = page.read_text()
    assert written.startswith(f"# Figures\n\nBy hand.\n\n<!-- {name} -->\n![")
    assert written.endswith(f"\n<!-- /{name} -->\n\nBy hand, too.\n")
    assert "| adwebsocket, sync view, threads |" in written
    assert "of old" not in written
    assert all(f"(plots/{plot.name})" in written for plot in plots)


def test_figures_of_groups_become_a_plot_and_a_table(tmp_path: Path) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        skip_or_fail("the load generator needs a C compiler")
    page = tmp_path / "performance.md"
    page.write_text(PAGE.format("groups-slow"))

    options = ["--short", "--only", "slow", "--crowd", "5", "--json", str(tmp_path)]
    measured = run(["-m", "benchmarks.groups", *options], cwd=CHECKOUT)
    figures = str(tmp_path / "groups-slow.json")
    drawn = run(["-m", "benchmarks.plots", "--docs", str(tmp_path), figures], cwd=CHECKOUT)

    assert measured.returncode == 0, measured.stdout
    assert drawn.returncode == 0, drawn.stdout
    assert (tmp_path / "plots" / "groups-slow-a-slow-member.svg").exists()
    written = page.read_text()
    assert "| adwebsocket, one member never reads |" in written
    assert "| at most 1.2 |" in written


def test_tables_of_other_things_stand_in_the_page_as_they_are(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    tables = [[["what", "how many"], [["lost", "0"], ["repeated", "0"]]]]
    written = {"benchmark": "soak", "environment": ["machine   this"], "trials": []}
    figures.write_text(json.dumps({**written, "tables": tables}))
    page = tmp_path / "performance.md"
    page.write_text(PAGE.format("soak"))

    result = run(["-m", "benchmarks.plots", "--docs", str(tmp_path), str(figures)], cwd=CHECKOUT)

    assert result.returncode == 0, result.stdout
    table = "| what | how many |\n| --- | --- |\n| lost | 0 |\n| repeated | 0 |\n"
    assert f"<!-- soak -->\n{table}" in page.read_text()


def test_member_that_got_everything_lacks_nothing() -> None:
    published = Published()
    ledger = Ledger(published)

    published.newest = 3
    ledger.join(None)
    published.newest = 7
    published.refused = {5, 7}
    for number in (3, 4, 6):
        ledger.receive(number)

    assert ledger.lacks == 0
    ledger.settle()
    assert (ledger.count_lost(), ledger.count_told(), ledger.repeated) == (0, 0, 0)


def test_message_that_does_not_come_is_lost_in_between_and_at_the_end() -> None:
    published = Published()
    ledger = Ledger(published)

    ledger.join(None)
    published.newest = 5
    ledger.receive(1)
    ledger.receive(4)

    assert ledger.count_lost() == 2
    assert ledger.lacks == 1
    ledger.settle()
    assert ledger.count_lost() == 3


def test_message_missed_while_a_member_was_away_must_come_when_it_is_recovered() -> None:
    published = Published()
    ledger = Ledger(published)

    ledger.join(None)
    published.newest = 1
    ledger.receive(1)
    published.newest = 4
    ledger.join(True)
    ledger.receive(3)
    ledger.receive(4)

    assert ledger.count_lost() == 1


@pytest.mark.parametrize("comes_back", [False, True])
def test_message_in_a_gap_of_which_the_member_was_told_is_not_lost(comes_back: bool) -> None:
    published = Published()
    ledger = Ledger(published)

    ledger.join(None)
    published.newest = 1
    ledger.receive(1)
    published.newest = 3
    if comes_back:
        ledger.join(False)
    else:
        ledger.tell_of_gap()
    published.newest = 4
    ledger.receive(4)

    assert ledger.gaps == 1
    assert (ledger.count_lost(), ledger.count_told()) == (0, 2)


def test_message_that_comes_twice_or_too_late_is_repeated() -> None:
    ledger = Ledger(Published(newest=3))

    for number in (1, 3, 3, 2):
        ledger.receive(number)

    assert (ledger.received, ledger.repeated) == (2, 2)


def test_figures_without_a_place_in_the_page_are_an_error(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    trial = {"group": "one", "title": "one", "figure": "ms", "lower_is_better": True}
    trials = [{**trial, "values": {"limit": 1.0}}]
    figures.write_text(json.dumps({"benchmark": "new", "environment": [], "trials": trials}))
    page = tmp_path / "performance.md"
    page.write_text(PAGE.format("echo"))

    result = run(["-m", "benchmarks.plots", "--docs", str(tmp_path), str(figures)], cwd=CHECKOUT)

    assert result.returncode == 1
    assert "performance.md needs the lines <!-- new --> and <!-- /new -->" in result.stdout
    assert page.read_text() == PAGE.format("echo")
    assert not (tmp_path / "plots").exists()


def test_burst_that_the_system_has_no_room_for_says_what_is_too_low() -> None:
    result = run(["-m", "benchmarks.burst", "--connections", "100000000"], cwd=CHECKOUT)

    assert result.returncode == 1
    assert "error: " in result.stdout
    assert "ulimit" in result.stdout or "sysctl -w" in result.stdout
