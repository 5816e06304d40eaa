"""The pages of the documentation as text: their code blocks, headings and tables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tests.components import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

DOCS = CHECKOUT / "docs"
PAGES = [*sorted(CHECKOUT.glob("*.md")), *sorted(DOCS.glob("*.md"))]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A code block of a page.

    Attributes:
        language: the word behind its fence, an empty string where there is none.
        text: what stands in it.
    """

    language: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]


def all_blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in their order."""
    return [Block(*found) for found in _BLOCK.findall(page.read_text())]


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page that are in a language."""
    return [block.text for block in all_blocks(page) if block.language == language]


def without_blocks(page: Path) -> str:
    """Return the prose of a page, with its tables and headings."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return what links to the headings of a page end with, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def rows(page: Path, name: str) -> dict[str, list[str]]:
    """Return the rows of all tables whose first cell is a name in backticks.

    Arguments:
        page: where the tables stand.
        name: a pattern for the names.
    """
    found = re.findall(rf"^\| `({name})` \|(.*)\|$", page.read_text(), re.MULTILINE)
    return {first: [cell.strip() for cell in rest.split("|")] for first, rest in found}


def replace_between(text: str, begin: str, end: str, new: str) -> str:
    """Put a new text between two lines of a page, which stay.

    Raises:
        AssertionError: one of the lines is not there.
    """
    before, found_begin, rest = text.partition(f"{begin}\n")
    _, found_end, after = rest.partition(f"{end}\n")
    assert found_begin, f"the page has no line {begin!r}"
    assert found_end, f"the page has no line {end!r} below {begin!r}"
    return f"{before}{begin}\n{new}{end}\n{after}"
