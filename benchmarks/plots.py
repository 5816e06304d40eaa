"""Draws the plots of ``docs/plots`` and writes the tables of ``docs/performance.md``.

``python -m benchmarks.plots FILE...`` takes what benchmarks have written with ``--json``. Of the
page it replaces what stands between the markers of a benchmark, ``<!-- echo -->`` and
``<!-- /echo -->``; the rest is written by hand. It must not measure anything, nor know how it was
measured.

A file has the name of the benchmark, the lines that describe the environment, and trials. Each
trial belongs to a group, which makes one plot and one table: a panel and a column for each trial.
A trial has a title, what its values are, the value of each server, and where there are some, notes
on servers, figures beside it, ratios and what was expected (see ``comparison.write_json``). Tables
of other things than servers stand beside the trials, each as a head and rows.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any
from xml.sax.saxutils import escape

from benchmarks import BenchmarkError
from benchmarks.catalogue import title_of
from benchmarks.harness import ROOT
from benchmarks.report import complain, say

DOCUMENTATION = ROOT / "docs"
PAGE = "performance.md"
Trial = Mapping[str, Any]

# In pixels; the width is that of a column of text on a code forge.
WIDTH = 760
NAMES_WIDTH = 284
VALUES_WIDTH = 76
BAR_HEIGHT = 15
ROW_HEIGHT = 22
PANEL_HEAD = 46
MARGIN = 12
STYLE = """
    .page { fill: #ffffff } .text { fill: #1f2328 } .faint { fill: #59636e }
    .ours { fill: #0b6e4f } .peer { fill: #9aa5b1 } .axis { stroke: #d1d9e0 }
    text { font: 13px system-ui, sans-serif } .title { font-weight: 600 } .unit { font-size: 12px }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 } .text { fill: #f0f6fc } .faint { fill: #9198a1 }
      .ours { fill: #3fb68b } .peer { fill: #5b6673 } .axis { stroke: #3d444d }
    }
"""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plots", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="written with --json")
    parser.add_argument(
        "--docs", type=Path, default=DOCUMENTATION, help=f"folder with {PAGE} and plots/ (docs)"
    )
    options = parser.parse_args(words)
    page = options.docs / PAGE
    try:
        text = page.read_text()
        drawings: dict[Path, str] = {}
        for file in options.files:
            benchmark = json.loads(file.read_text())
            name = benchmark["benchmark"]
            groups = group_trials(benchmark["trials"])
            tables = [write_table(*table) for table in benchmark.get("tables", ())]
            for group, trials in groups.items():
                drawings[Path("plots", file_name(name, group))] = draw(trials)
            text = replace_part(
                text, name, write_part(name, benchmark["environment"], groups, tables)
            )
    except (OSError, ValueError, KeyError, BenchmarkError) as error:
        complain(f"error: {error!r}" if isinstance(error, KeyError) else f"error: {error}")
        return 1
    # All or nothing: the page and its plots are of the same runs.
    (options.docs / "plots").mkdir(exist_ok=True)
    for path, drawing in drawings.items():
        (options.docs / path).write_text(drawing)
        say(str(options.docs / path))
    page.write_text(text)
    say(str(page))
    return 0


def group_trials(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial["group"], []).append(trial)
    return groups


def short_title(trial: Trial) -> str:
    """Return its title without what all of its group have in common."""
    title: str = trial["title"].removeprefix(f"{trial['group']}, ")
    return title


def name_of(server: str, trial: Trial) -> str:
    """Return what a server is called, with what is different for it alone."""
    note = trial.get("notes", {}).get(server)
    return f"{title_of(server)}, {note}" if note else title_of(server)


def file_name(benchmark: str, group: str) -> str:
    words = [benchmark, *group.replace(",", "").split()]
    return "-".join(dict.fromkeys(words)) + ".svg"


def replace_part(text: str, name: str, part: str) -> str:
    """Return the page with a new text between the markers of this name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise BenchmarkError(f"{PAGE} needs the lines {begin} and {end}, each of them once")
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n{part}\n{end}{rest.partition(end)[2]}"


def write_part(
    name: str,
    environment: Sequence[str],
    groups: Mapping[str, Sequence[Trial]],
    tables: Sequence[str] = (),
) -> str:
    """Return the Markdown of a benchmark: plots, tables, ratios, and where it was measured."""
    parts = list(tables)
    for group, trials in groups.items():
        summary = f"{trials[0]['figure']}, {group}"
        parts += [f"![{summary}](plots/{file_name(name, group)})", write_values(trials)]
    every = [trial for trials in groups.values() for trial in trials]
    if ratios := write_ratios(every):
        parts.append(ratios)
    lines = [fill(line, 96, subsequent_indent=" " * 10) for line in environment]
    summary = "<details><summary>Where and how this was measured</summary>"
    parts += [summary, "\n".join(["```text", *lines, "```"]), "</details>"]
    return "\n\n".join(parts)


def write_values(trials: Sequence[Trial]) -> str:
    names = dict.fromkeys(name for trial in trials for name in trial["values"])
    rows = []
    for name in names:
        cells = [
            format_value(trial["values"][name]) if name in trial["values"] else ""
            for trial in trials
        ]
        cells += [
            format_value(values[name])
            for trial in trials
            for values in trial.get("beside", {}).values()
        ]
        bounds = [trial.get("expected", {}).get(name) for trial in trials]
        if any(trial.get("expected") for trial in trials):
            cells += ["" if bound is None else f"at most {bound:,g}" for bound in bounds]
        rows.append([name_of(name, trials[0]), *cells])
    head = [trials[0]["figure"], *map(short_title, trials)]
    head += [figure for trial in trials for figure in trial.get("beside", {})]
    if len(rows[0]) > len(head):
        head += ["expected"] * len(trials)
    return write_table(head, rows)


def write_ratios(trials: Iterable[Trial]) -> str:
    """Return a table of those ratios of which something was expected, or ""."""
    rows = [
        [
            f"{title_of(ratio['of'])} / {title_of(ratio['to'])}",
            trial["title"],
            f"{'at most' if ratio.get('at_most') else 'at least'} {ratio['expected']:g}",
            f"{ratio['measured']:.2f}",
            f"{ratio['by_time']:.2f}",
        ]
        for trial in trials
        for ratio in trial.get("ratios", ())
        if ratio["expected"] is not None
    ]
    head = ["ratio", "load", "expected", "measured", "by the server's processor time"]
    return write_table(head, rows) if rows else ""


def write_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_value(value: float) -> str:
    """Return it with three digits at least, and none behind the point that say nothing."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def draw(trials: Sequence[Trial]) -> str:
    """Return an SVG with a panel of bars for each trial, readable on a light and a dark page."""
    heights = [PANEL_HEAD + ROW_HEIGHT * len(trial["values"]) + MARGIN for trial in trials]
    shapes = []
    top = 0
    for trial, height in zip(trials, heights, strict=True):
        shapes += draw_panel(trial, top)
        top += height
    what = f"{trials[0]['figure']}: " + "; ".join(trial["title"] for trial in trials)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" '
            f'viewBox="0 0 {WIDTH} {top}" role="img">',
            f"<title>{escape(what)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{top}" rx="6"/>',
            *shapes,
            "</svg>\n",
        )
    )


def draw_panel(trial: Trial, top: int) -> list[str]:
    lower = trial["lower_is_better"]
    values = sorted(trial["values"].items(), key=lambda pair: pair[1], reverse=not lower)
    unit = f"{trial['figure']} ({'shorter' if lower else 'longer'} is better)"
    longest = max(value for _, value in values)
    scale = (WIDTH - NAMES_WIDTH - VALUES_WIDTH - MARGIN) / longest
    left = NAMES_WIDTH
    bottom = top + PANEL_HEAD + ROW_HEIGHT * len(values)
    shapes = [
        text(MARGIN, top + 26, short_title(trial), "title text"),
        text(WIDTH - MARGIN, top + 26, unit, "unit faint", "end"),
        f'<line class="axis" x1="{left}" x2="{left}" y1="{top + PANEL_HEAD - 6}" y2="{bottom}"/>',
    ]
    for index, (name, value) in enumerate(values):
        y = top + PANEL_HEAD + ROW_HEIGHT * index
        kind = "ours" if name.startswith("adwebsocket") else "peer"
        length = max(value * scale, 1)
        shapes += [
            text(left - 8, y + 11, name_of(name, trial), "text", "end"),
            f'<rect class="{kind}" x="{left}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}"/>',
            text(left + length + 6, y + 12, format_value(value), "text"),
        ]
    return shapes


def text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


if __name__ == "__main__":
    sys.exit(main())
