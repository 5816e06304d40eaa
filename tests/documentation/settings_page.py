"""Writes the tables of ``docs/settings.md`` from ``conf.Settings``: docstring, types and defaults.

``scripts/docs`` runs it, and so does ``python -m tests.documentation.settings_page``. A test tells
when that was forgotten.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, fields
from os import PathLike
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from adwebsocket.conf import PREFIX, Settings
from adwebsocket.protocol.deflate import DeflateOptions

from .pages import DOCS, replace_between

if TYPE_CHECKING:
    from collections.abc import Iterable
    from dataclasses import Field

PAGE = DOCS / "settings.md"

# What belongs together. A setting that stands nowhere comes under the last title.
GROUPS = {
    "Who gets in": [
        "accept_all",
        "allowed_origins",
        "close_on_logout",
        "max_connections",
        "max_connections_per_ip",
        "max_header_size",
        "handshake_timeout",
    ],
    "Messages": [
        "rate_limit",
        "max_message_size",
        "max_frame_size",
        "max_fragments",
        "inbox_messages",
        "inbox_bytes",
        "outbox_bytes",
        "compression",
    ],
    "Silence, slowness and the end": [
        "ping_interval",
        "ping_timeout",
        "send_timeout",
        "close_timeout",
        "drain_seconds",
    ],
    "How views run": [
        "sync_runner",
        "max_threads",
        "thread_stack_size",
        "greenlet_workers",
        "async_threads",
        "db_idle_seconds",
    ],
    "What is going on": [
        "status_socket",
        "stats_token",
        "runtime_dir",
    ],
}
OTHERS = "Groups, processes and the rest"

_KINDS: dict[Any, str] = {
    NoneType: "`None`",
    PathLike: "a path",
    dict: "a dict",
    float: "a number",
    int: "a whole number",
    str: "text",
    tuple: "a list of texts",
}
_SIZES = {"MiB": 1024 * 1024, "KiB": 1024}


def descriptions(described: type) -> dict[str, str]:
    """Read the attributes from a docstring; each is one line of Markdown."""
    _, _, attributes = (inspect.getdoc(described) or "").partition("\nAttributes:\n")
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE)
    return {name: as_cell(text) for name, text in found}


def as_cell(text: str) -> str:
    """Make a cell of a Markdown table from what a docstring says."""
    prose_and_code = " ".join(text.split()).rstrip(".").split("``")
    for index, part in enumerate(prose_and_code):
        if index % 2 == 0:
            part = re.sub(r"\b(None|True|False)\b", r"`\1`", part.replace("*", r"\*"))
            part = re.sub(r"docs/([\w-]+)\.md", r"[\1](\1.md)", part)
        prose_and_code[index] = part.replace("|", r"\|")
    return "`".join(prose_and_code)


def default_of(field: Field[Any]) -> str:
    """Write a default as people read it: 64 KiB, 10,000, or Python."""
    value = field.default_factory() if field.default is MISSING else field.default  # type: ignore[misc]
    if isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return f"`{value!r}`".replace("'", '"')
    for unit, size in _SIZES.items():
        # Not every multiple: 32,768 is a number of fragments.
        if _is_in_bytes(field) and value >= size and value % size == 0:
            return f"{value // size:,} {unit}"
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}"


def _is_in_bytes(field: Field[Any]) -> bool:
    return "bytes" in field.name or "size" in field.name


def kind_of(hint: Any) -> str:
    """Say what a value may be, from the annotation; a type unknown here is shown by its name."""
    kinds = [word for part in _parts_of(hint) for word in _words_for(part)]
    *others, last = dict.fromkeys(kinds)
    return f"{', '.join(others)} or {last}" if others else last


def _parts_of(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _words_for(part: Any) -> list[str]:
    if part is bool:
        return ["`True`", "`False`"]
    if get_origin(part) is Literal:
        return [f'`"{value}"`' for value in get_args(part)]
    kind = get_origin(part) or part
    return [_KINDS.get(kind) or f"`{getattr(kind, '__name__', kind)}`"]


def table(described: type, chosen: Iterable[Field[Any]], prefix: str) -> str:
    """Write a table of fields, each under its name behind the prefix."""
    meanings = descriptions(described)
    hints = get_type_hints(described)
    lines = ["| setting | default | value | meaning |", "|---|---|---|---|"]
    for field in chosen:
        name = prefix + (field.name.upper() if prefix else field.name)
        cells = [f"`{name}`", default_of(field), kind_of(hints[field.name]), meanings[field.name]]
        lines.append(f"| {' | '.join(cells)} |")
    return "".join(f"{line}\n" for line in lines)


def tables_of_settings() -> str:
    """Write all settings, a table for each group."""
    left = {field.name: field for field in fields(Settings)}
    parts = []
    for title, names in GROUPS.items():
        chosen = [left.pop(name) for name in names]
        parts.append(f"\n## {title}\n\n{table(Settings, chosen, PREFIX)}")
    parts.append(f"\n## {OTHERS}\n\n{table(Settings, left.values(), PREFIX)}")
    return "".join(parts) + "\n"


def write(text: str) -> str:
    """Give the text of the page with its tables written anew."""
    text = replace_between(
        text, "<!-- settings: written by scripts/docs -->", "<!-- end -->", tables_of_settings()
    )
    options = f"\n{table(DeflateOptions, fields(DeflateOptions), '')}\n"
    return replace_between(
        text, "<!-- compression: written by scripts/docs -->", "<!-- end of it -->", options
    )


if __name__ == "__main__":
    PAGE.write_text(write(PAGE.read_text()))
