"""The page of errors: it has what the code raises, closes with and answers."""

from __future__ import annotations

import ast
import builtins
import re
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

import adwebsocket
from adwebsocket import exceptions
from adwebsocket.protocol.codes import CloseCode

from .pages import CHECKOUT, DOCS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = DOCS / "errors.md"
TEXT = PAGE.read_text()
PROSE = re.sub(r"`[^`]*`", "", TEXT)
STATUSES = {status for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST}
# Classes of Django's, by the status that they have.
RESPONSES = {"HttpResponseBadRequest": 400, "HttpResponseForbidden": 403}


def nodes_of_package() -> Iterator[ast.AST]:
    """Give what the package consists of, but for pages, and the tool that looks at projects."""
    for file in (CHECKOUT / "adwebsocket").rglob("*.py"):
        if not {"monitoring", "porting"} & set(file.parts):
            yield from ast.walk(ast.parse(file.read_text()))


@cache
def texts_of_package() -> str:
    values = [node.value for node in nodes_of_package() if isinstance(node, ast.Constant)]
    texts = [value.decode("latin-1") if isinstance(value, bytes) else value for value in values]
    return "\n".join(text for text in texts if isinstance(text, str))


def is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def section(title: str) -> str:
    """Return what stands below a heading of the page."""
    _, _, rest = TEXT.partition(f"## {title}\n")
    assert rest, title
    return rest.partition("\n## ")[0]


def first_cells(text: str) -> set[str]:
    return {cell.strip() for cell in re.findall(r"^\| ([^|]*)", text, re.MULTILINE)}


def test_every_exception_is_there() -> None:
    bases = {name for name, value in vars(builtins).items() if is_exception(value)}
    defined = {
        node.name
        for node in nodes_of_package()
        if isinstance(node, ast.ClassDef) and bases & {ast.unparse(base) for base in node.bases}
    }
    assert {name for name, value in vars(exceptions).items() if is_exception(value)} <= defined
    assert {name for name in defined if f"`{name}`" not in TEXT} == set()


def test_every_status_is_there() -> None:
    sent = set()
    for node in nodes_of_package():
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            sent.add(node.value)
        elif isinstance(node, ast.Name) and node.id in RESPONSES:
            sent.add(RESPONSES[node.id])
        elif isinstance(node, ast.Attribute) and node.attr in HTTPStatus.__members__:
            sent.add(HTTPStatus[node.attr].value)
    sent &= STATUSES
    assert len(sent) > 5
    described = {cell[:3] for cell in first_cells(section("Before the connection"))}
    assert {str(int(status)) for status in sent} - described == set()


def test_every_close_code_is_there() -> None:
    text = section("Close codes")
    assert {str(int(code)) for code in CloseCode if str(int(code)) not in text} == set()


def test_codes_of_the_library_are_said_to_be_so() -> None:
    used = {
        int(CloseCode[node.attr])
        for node in nodes_of_package()
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "CloseCode"
    }
    rows = re.findall(r"^\| (\d{4}) \| ([^|]*) \|", section("Close codes"), re.MULTILINE)
    senders = {int(code): sender for code, sender in rows}
    for code in used:
        nobody = code in (CloseCode.NO_STATUS_RECEIVED, CloseCode.ABNORMAL_CLOSURE)
        wanted = "nobody" if nobody else "the library"
        assert wanted in senders[code].replace("both", "the library"), code
    claimed = {code for code, sender in senders.items() if "the library" in sender}
    # Of the range for applications no code has a name there.
    numbers = {node.value for node in nodes_of_package() if isinstance(node, ast.Constant)}
    assert claimed - used - numbers == set()


@pytest.mark.parametrize("quoted", sorted(set(re.findall(r'"(\w[^"]+)"', PROSE))))
def test_what_is_quoted_stands_in_the_code(quoted: str) -> None:
    for part in quoted.split(" ... "):
        assert part in texts_of_package()


def test_page_of_sockets_has_every_public_name() -> None:
    text = (DOCS / "sockets.md").read_text()
    for each in (adwebsocket.WebSocket, adwebsocket.AsyncWebSocket):
        names = [name for name in dir(each) if not name.startswith("_")]
        assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []
