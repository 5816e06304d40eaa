"""Which files of a project are looked at, and what is found in those that are not Python.

The inspection calls it for the paths that it was asked for. It reads files and nothing else, and
must not follow a link out of the project.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from .findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUIREMENT = "replace it: pip install adwebsocket, which answers to 'import dwebsocket' as well"
UWSGI = "uWSGI is not needed any more: 'adwebsocket --workers N' serves pages and sockets{workers}"
COPY = (
    "a copy of dwebsocket in the project: 'import dwebsocket' gives ours, an import by another "
    "path gives the copy, which no server here serves; delete it"
)

SKIPPED = {"__pycache__", "migrations", "node_modules", "site-packages", "dist-packages"}
# What only a virtual environment has.
ENVIRONMENT = ("pyvenv.cfg", "conda-meta", "bin/activate", "Scripts/activate")
# What only dwebsocket has.
COPIED = ("decorators.py", "websocket.py")

REQUIREMENT_FILES = re.compile(
    r"(?:.*requirements.*\.(?:txt|in)|pipfile|pyproject\.toml|setup\.(?:py|cfg)|environment\.ya?ml"
    r"|dockerfile(?:\..*)?|.*\.dockerfile)",
    re.IGNORECASE,
)
# No part of another name, of a path or of a module below it; or a repository.
REQUIRED = re.compile(r"(?<![\w./-])dwebsocket(?![\w/-]|\.[a-z])|/dwebsocket\.git\b", re.IGNORECASE)
# Where the metadata of a project names it without needing it.
METADATA = re.compile(r"^\s*(?:keywords|(?:long_)?description)\b")
# In front of the fragment of a URL there is no space.
COMMENT = re.compile(r"(?:^|\s)#.*")
OPTION_FILES = {
    ".ini": re.compile(r"^\s*\[uwsgi\]"),
    ".yaml": re.compile(r"^uwsgi\s*:"),
    ".yml": re.compile(r"^uwsgi\s*:"),
    ".json": re.compile(r'^[\s{]*"uwsgi"\s*:'),
    ".xml": re.compile(r"^\s*<uwsgi\b"),
}
WORKERS = re.compile(r"\b(?:processes|workers)\W{1,4}(\d+)")


def find_files(path: Path) -> Iterator[Path]:
    """Yield the files of a project, or the one file that was asked for.

    A copy of dwebsocket is one item, its folder. Hidden folders, virtual environments,
    ``node_modules`` and ``migrations`` are left out; so are folders that are links.
    """
    if path.is_file():
        yield path
        return
    for directory, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if is_inspected(Path(directory, name)))
        copies = [name for name in folders if is_copy(Path(directory, name))]
        folders[:] = [name for name in folders if name not in copies]
        yield from (Path(directory, name) for name in [*sorted(files), *copies])


def is_inspected(folder: Path) -> bool:
    """Tell whether a folder may have something that belongs to the project."""
    return not (
        folder.name.startswith(".")
        or folder.name in SKIPPED
        or any((folder / mark).exists() for mark in ENVIRONMENT)
    )


def is_copy(folder: Path) -> bool:
    """Tell whether a folder is a copy of dwebsocket."""
    return folder.name == "dwebsocket" and all((folder / name).is_file() for name in COPIED)


def inspect_text(path: Path) -> list[Finding] | None:
    """Look for dwebsocket among requirements, and for the options of uWSGI.

    Returns:
        What was found, None where the name of the file says that it is something else.
    """
    is_requirements = REQUIREMENT_FILES.fullmatch(path.name) is not None or (
        path.parent.name == "requirements" and path.suffix in (".txt", ".in")
    )
    options = OPTION_FILES.get(path.suffix.lower())
    if not is_requirements and options is None:
        return None
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    findings = []
    for number, line in enumerate(lines, 1):
        if is_requirements and is_required(line):
            findings.append(Finding(str(path), number, "requirement", REQUIREMENT))
    if options is not None:
        for number, line in enumerate(lines, 1):
            if options.search(line):
                workers = WORKERS.search("\n".join(lines))
                count = f" (here N is {workers[1]})" if workers else ""
                advice = UWSGI.format(workers=count)
                findings.append(Finding(str(path), number, "uwsgi", advice))
                break
    return findings


def is_required(line: str) -> bool:
    """Tell whether a line of a requirements file asks for dwebsocket."""
    return not METADATA.match(line) and REQUIRED.search(COMMENT.sub("", line)) is not None
