"""The pages as a site, which ``scripts/docs`` builds: each is reached, and no link leaves it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from .pages import CHECKOUT, DOCS, all_blocks, without_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIGURATION = CHECKOUT / "mkdocs.yml"
LANGUAGES = {
    "dockerfile",
    "html",
    "ini",
    "javascript",
    "mermaid",
    "nginx",
    "python",
    "shell",
    "text",
    "yaml",
}

each_page = pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)


def pages_of(navigation: Any) -> Iterator[str]:
    """Give the pages that the navigation leads to, whatever stands above them."""
    for entry in navigation:
        for target in entry.values():
            if isinstance(target, str):
                yield target
            else:
                yield from pages_of(target)


def test_navigation_leads_to_every_page_once() -> None:
    navigation = yaml.safe_load(CONFIGURATION.read_text())["nav"]
    assert sorted(pages_of(navigation)) == sorted(page.name for page in DOCS.glob("*.md"))


def test_output_is_where_git_does_not_look() -> None:
    directory = yaml.safe_load(CONFIGURATION.read_text())["site_dir"].split("/")[0]
    assert f"{directory}/" in (CHECKOUT / ".gitignore").read_text().splitlines()


@each_page
def test_links_stay_within_the_site(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", without_blocks(page))
    assert [link for link in links if link.startswith(("../", "/"))] == []


@each_page
def test_every_block_says_its_language(page: Path) -> None:
    assert {block.language for block in all_blocks(page)} <= LANGUAGES


@each_page
def test_rows_of_a_table_have_as_many_cells_as_its_head(page: Path) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", without_blocks(page), re.MULTILINE)
    for table in tables:
        head, *others = [len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()]
        assert set(others) == {head}, table
