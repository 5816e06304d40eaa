"""Inspects a project for the way from dwebsocket: its views, and what deserves a look.

``manage.py websocket_port`` and ``python -m adwebsocket.porting`` call it. It reads files and
parses them; it must import nothing of the project, which may not start yet, and change nothing.
"""

from __future__ import annotations

import ast
import warnings
from typing import TYPE_CHECKING

from .files import COPY, find_files, inspect_text, is_copy
from .findings import Finding, Inspection
from .loops import find_endless_loops
from .patterns import (
    find_closes,
    find_comparisons,
    find_environs,
    find_monkey_patching,
    find_protocols,
    find_settings,
    find_transactions,
)
from .registries import find_registries
from .sockets import Sockets
from .source import Source
from .views import find_views, marker_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SYNTAX = "not inspected: Python 3 cannot parse it ({reason})"
# What the files of a project use that have no import of dwebsocket, such as helpers of its views.
HINTS = {"websocket", "is_websocket", "accept_websocket", "require_websocket"}
UNREADABLE = "not inspected: it cannot be read ({reason})"


def inspect_project(paths: Iterable[Path]) -> Inspection:
    """Inspect files, and the directories with all that belongs to a project in them.

    Arguments:
        paths: where to look. Hidden folders, virtual environments, ``node_modules`` and
            ``migrations`` below them are left out.

    Returns:
        What was found, in the order of files and lines. A file that cannot be read or parsed is
        among the findings.
    """
    inspection = Inspection()
    for path in paths:
        for file in find_files(path):
            inspection.extend(inspect_file(file))
    inspection.sort()
    return inspection


def inspect_file(path: Path) -> Inspection:
    """Inspect one file, or a folder that is a copy of dwebsocket."""
    if is_copy(path):
        return Inspection(findings=[Finding(str(path), 1, "copy", COPY)])
    if not path.is_file():
        return Inspection()
    try:
        findings = inspect_text(path)
        if path.suffix != ".py":
            return Inspection(findings=findings or [], files=0 if findings is None else 1)
        inspection = inspect_python(str(path), path.read_bytes())
    except OSError as error:
        advice = UNREADABLE.format(reason=error.strerror)
        return Inspection(findings=[Finding(str(path), 1, "unreadable", advice)])
    inspection.findings += findings or []
    return inspection


def inspect_python(file: str, text: bytes | str) -> Inspection:
    """Inspect the text of a Python file.

    Arguments:
        file: its path, for what is found.
        text: as it stands in the file; bytes where its encoding is not known.
    """
    inspection = Inspection(files=1)
    try:
        with warnings.catch_warnings():
            # What the compiler thinks of somebody's backslashes is not our business.
            warnings.simplefilter("ignore")
            source = Source(file, ast.parse(text))
    except SyntaxError as error:
        advice = SYNTAX.format(reason=error.msg)
        inspection.findings.append(Finding(file, error.lineno or 1, "syntax", advice))
        return inspection
    except (RecursionError, ValueError) as error:
        advice = SYNTAX.format(reason=error)
        inspection.findings.append(Finding(file, 1, "syntax", advice))
        return inspection
    for find in (
        find_monkey_patching,
        find_settings,
    ):
        inspection.findings += find(source)
    if speaks_the_dialect(source):
        leave_out_native_views(source)
        inspection.views += find_views(source)
        inspection.findings += find_patterns(source)
    return inspection


def speaks_the_dialect(source: Source) -> bool:
    """Tell whether a file has to do with dwebsocket: it imports it, or uses what it gives."""
    names = source.names
    return names.uses_legacy or (
        not names.uses_native
        and any(
            isinstance(node, ast.Attribute) and node.attr in HINTS for node in ast.walk(source.tree)
        )
    )


def leave_out_native_views(source: Source) -> None:
    """Empty the views that are native already, where nothing here holds."""
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and any(
            marker_in(decorator, source.names.native_marker) for decorator in node.decorator_list
        ):
            node.body = []


def find_patterns(source: Source) -> list[Finding]:
    """Find what deserves a look."""
    sockets = Sockets(source)
    return [
        *find_endless_loops(source, sockets),
        *find_registries(source, sockets),
        *find_transactions(source, sockets),
        *find_comparisons(source, sockets),
        *find_closes(source, sockets),
        *find_protocols(source, sockets),
        *find_environs(source),
    ]
