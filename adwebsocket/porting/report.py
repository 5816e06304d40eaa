"""Prints what an inspection has found, for a reader or for a program, and reads the command line.

``manage.py websocket_port`` and ``python -m adwebsocket.porting`` share it. It must not know how
anything is found.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from .findings import View
from .inspection import inspect_project

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from .findings import Finding, Inspection

DESCRIPTION = (
    "Lists the dwebsocket views of a project, and the places that deserve a look before it moves "
    "to adwebsocket. It imports none of the project's code and changes nothing."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Give a parser the arguments of the inspection."""
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="a file, or a directory with all that is in it (default: the project's)",
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="how to print it (text)"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 1 if there is a place that deserves a look; views alone are none",
    )


def report(paths: Sequence[Path], form: str, base: Path) -> tuple[str, bool]:
    """Inspect a project.

    Arguments:
        paths: where to look.
        form: ``"text"`` or ``"json"``.
        base: the directory from which paths are shown, where they are below it.

    Returns:
        What to print, and whether there is a place that deserves a look.

    Raises:
        FileNotFoundError: one of the paths does not exist.
    """
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}")
    inspection = inspect_project(shown_from(base, path) for path in paths)
    text = as_json(inspection) if form == "json" else as_text(inspection)
    return text, bool(inspection.findings)


def shown_from(base: Path, path: Path) -> Path:
    """Give the shorter path of a file or directory: from the base, where it is below that."""
    absolute = path.absolute()
    return absolute.relative_to(base) if absolute.is_relative_to(base) else absolute


def as_text(inspection: Inspection) -> str:
    """Give a line for each view and each finding, and an empty one between two files."""
    entries: list[View | Finding] = sorted(
        [*inspection.views, *inspection.findings], key=attrgetter("file", "line")
    )
    blocks = [
        "\n".join(map(line_of, group)) for _, group in groupby(entries, key=attrgetter("file"))
    ]
    return "\n\n".join([*blocks, summary(inspection)])


def line_of(entry: View | Finding) -> str:
    where = f"{entry.file}:{entry.line}"
    if isinstance(entry, View):
        return f"{where}: view {entry.name} ({entry.marker})"
    return f"{where}: {entry.kind}: {entry.advice}"


def summary(inspection: Inspection) -> str:
    views = count(len(inspection.views), "dwebsocket view")
    places = count(len(inspection.findings), "place")
    verb = "deserves" if len(inspection.findings) == 1 else "deserve"
    files = count(inspection.files, "file")
    return f"{views}; {places} that {verb} a look; {files} read."


def count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def as_json(inspection: Inspection) -> str:
    """Give an object with the lists ``views`` and ``findings`` and the number of ``files``."""
    return json.dumps(asdict(inspection), indent=2, ensure_ascii=False)
