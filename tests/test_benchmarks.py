"""The benchmarks start: each is there, finds its parts and says what it measures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.components import skip_or_fail
from tests.processes import run

CHECKOUT = Path(__file__).parent.parent
PAGE = "# Figures\n\nBy hand.\n\n<!-- {0} -->\nof old\n<!-- /{0} -->\n\nBy hand, too.\n"


@pytest.mark.parametrize(
    "name",
    ["burst", "capacity", "connect", "database", "echo", "hostile", "idle", "legacy", "memory"],
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
