"""The page of settings: it has what the code has."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from os import PathLike
from typing import Literal, Optional

import pytest

from adwebsocket.conf import PREFIX, Settings
from adwebsocket.protocol.deflate import DeflateOptions

from .pages import DOCS, rows
from .settings_page import PAGE, default_of, descriptions, kind_of, table, write


@dataclass
class Example:
    """What settings may look like.

    Attributes:
        names: several
            lines of ``code | with a bar``, None for none.
        frame_size: bytes.
        rate: how * many.
    """

    names: tuple[str, ...] = ("a", "b")
    frame_size: int | None = 3 * 1024 * 1024
    rate: float | dict[str, int] = 0.5
    options: list[str] = field(default_factory=list)


def test_page_is_what_the_code_says() -> None:
    text = PAGE.read_text()
    assert text == write(text), "run: scripts/docs"


def test_page_has_every_setting_once() -> None:
    described = rows(PAGE, rf"{PREFIX}\w+")
    assert sorted(described) == sorted(PREFIX + each.name.upper() for each in fields(Settings))
    assert PAGE.read_text().count(f"| `{PREFIX}") == len(described)


@pytest.mark.parametrize("described", [Settings, DeflateOptions])
def test_docstring_describes_every_field(described: type) -> None:
    assert sorted(descriptions(described)) == sorted(each.name for each in fields(described))  # type: ignore[arg-type]


def test_page_of_runners_has_the_same_defaults() -> None:
    everywhere = rows(PAGE, rf"{PREFIX}\w+")
    described = rows(DOCS / "runners.md", rf"{PREFIX}\w+(?=` \| [^|]+ \| [^|]+ \|$)")
    assert len(described) == 5
    for name, cells in described.items():
        assert cells[0] == everywhere[name][0], name


def test_table_is_written_for_people() -> None:
    names, size, rate, options = fields(Example)
    assert [default_of(each) for each in (names, size, rate, options)] == [
        '`["a", "b"]`',
        "3 MiB",
        "0.5",
        "`[]`",
    ]
    assert table(Example, [names, rate], "X_").splitlines()[2:] == [
        r'| `X_NAMES` | `["a", "b"]` | a list of texts '
        r"| several lines of `code \| with a bar`, `None` for none |",
        r"| `X_RATE` | 0.5 | a number or a dict | how \* many |",
    ]


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (bool, "`True` or `False`"),
        (bool | dict[str, int], "`True`, `False` or a dict"),
        (Literal["thread", "greenlet"], '`"thread"` or `"greenlet"`'),
        (str | PathLike[str] | None, "text, a path or `None`"),
        (Optional[tuple[str, ...]], "a list of texts or `None`"),  # noqa: UP045
        (complex, "`complex`"),
    ],
    ids=str,
)
def test_values_are_named_in_words(hint: object, words: str) -> None:
    assert kind_of(hint) == words


@pytest.mark.parametrize("text", ["", "<!-- settings: written by scripts/docs -->\n"])
def test_page_without_its_place_is_not_written(text: str) -> None:
    with pytest.raises(AssertionError, match="the page has no line"):
        write(text)
