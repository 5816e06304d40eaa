"""The tutorial, followed step by step: from the wheel, in an empty folder, with two browsers.

Its blocks are read from the page and used in their order. What is not taken literally: which Python
makes the environment (this one), the package to install (this checkout's wheel), and the port.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.components import build_wheel, skip_or_fail
from tests.processes import DEADLINE, environment, fill_in, serve, write_files
from tests.test_browser import start_browser

from .pages import DOCS, Block, all_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium import webdriver

PAGE = DOCS / "tutorial.md"
FOLDER = "tutorial"
# Packages are fetched and unpacked meanwhile.
SECONDS_FOR_A_BLOCK = 300
SERVER = "python manage.py runserver"
# The path of a file, in a comment of Python or of a template.
FIRST_LINE = re.compile(r"(?:#|\{#) ([\w/.]+)(?:, in place of (\w+))?(?: #\})?")

pytestmark = pytest.mark.browser


class Reader:
    """Somebody who follows the tutorial, and types what it says.

    Attributes:
        folder: where the project is.
    """

    def __init__(self, directory: Path, wheel: Path) -> None:
        self.folder = directory / FOLDER
        self.directory = directory
        self.wheel = wheel
        self.left = all_blocks(PAGE)
        self.typed: list[str] = []

    def next_block(self, language: str) -> Block:
        """Take the next block of the page, which must be in this language."""
        block = self.left.pop(0)
        assert block.language == language, block
        return block

    def type_commands(self) -> str:
        """Run the next block, which is for a shell, and return what it prints."""
        meant = {
            "python3 -m venv": f"'{sys.executable}' -m venv",
            "pip install adwebsocket\n": f"pip install --quiet '{self.wheel}'\n",
        }
        return self.type(fill_in(self.next_block("shell").text, meant))

    def type(self, commands: str) -> str:
        """Run commands where those before them have left the shell."""
        # A shell for each block: in a new one nothing but its folder and environment are missing.
        script = f"set -eu\n{''.join(self.typed)}{commands}"
        result = subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory,
            env=environment({"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": ""}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_FOR_A_BLOCK,
            check=False,
        )
        assert result.returncode == 0, f"{commands}\n{result.stdout}"
        lines = commands.splitlines(keepends=True)
        self.typed += [line for line in lines if line.startswith(("cd ", ". "))]
        return result.stdout

    def write_file(self) -> str:
        """Write the next block where its first line says, and return its path."""
        block = self.left.pop(0)
        found = FIRST_LINE.fullmatch(block.first_line)
        assert found is not None, f"this line names no file: {block.first_line}"
        path, name = found.groups()
        text = block.text
        if name is not None:
            text = replace_assignment((self.folder / path).read_text(), name, text)
        write_files(self.folder, {path: text})
        return path


def replace_assignment(source: str, name: str, new: str) -> str:
    """Put other code into the place of a module's assignment."""
    (node,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    lines = source.splitlines(keepends=True)
    return "".join([*lines[: node.lineno - 1], new, *lines[node.end_lineno :]])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package as it would be published."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def browsers() -> Iterator[list[webdriver.Chrome]]:
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        skip_or_fail(f"not installed here: {' and '.join(missing)}")
    with ExitStack() as stack:
        browsers = [start_browser(), start_browser()]
        for browser in browsers:
            stack.callback(browser.quit)
        yield browsers


class Window:
    """A browser with a room open."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        browser.get(url)
        self.wait_for("#status", ["connected"])

    def say(self, text: str) -> None:
        self.browser.find_element(By.ID, "text").send_keys(text + Keys.ENTER)

    def wait_for(self, selector: str, texts: list[str]) -> None:
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        WebDriverWait(self.browser, DEADLINE).until(
            lambda browser: browser.execute_script(script, selector) == texts,
            f"{selector} was not {texts}",
        )


def test_reader_comes_to_a_chat_with_tests(
    tmp_path: Path, wheel: Path, browsers: list[webdriver.Chrome]
) -> None:
    reader = Reader(tmp_path, wheel)
    python = str(reader.folder / ".venv/bin/python")

    def open_lobby(texts: list[str]) -> list[Window]:
        windows = [Window(browser, server.url("http", "/room/lobby/")) for browser in browsers]
        for window in windows:
            window.wait_for("#messages li", texts)
        return windows

    # A project
    reader.type_commands()
    assert reader.write_file() == "mysite/settings.py"
    # A view, a page
    for path in (
        "chat/views.py",
        "mysite/urls.py",
        "chat/templates/chat/room.html",
    ):
        assert reader.write_file() == path
    # Two browsers talk
    commands = reader.next_block("shell").text
    assert commands.endswith(f"{SERVER}\n")
    reader.type(commands.replace(f"{SERVER}\n", "python manage.py check\n"))
    serving = [*SERVER.split()[1:], "--noreload", "127.0.0.1:{port}"]
    with serve(serving, cwd=reader.folder, program=python, env={"PYTHONPATH": ""}) as server:
        first, second = open_lobby([])
        first.say("hello")
        second.wait_for("#messages li", ["hello"])
        second.say("<b>and</b> hello to you")
        for window in (first, second):
            window.wait_for("#messages li", ["hello", "<b>and</b> hello to you"])
        assert '"GET /ws/lobby/ HTTP/1.1" 101' in server.output()
    # A history
    assert reader.write_file() == "chat/models.py"
    assert "Create model Message" in reader.type_commands()
    assert reader.write_file() == "chat/views.py"
    with serve(serving, cwd=reader.folder, program=python, env={"PYTHONPATH": ""}) as server:
        first, _ = open_lobby([])
        first.say("remember me")
        first.wait_for("#messages li", ["remember me"])
        open_lobby(["remember me"])
        assert "Traceback" not in server.output()
    # Tests
    assert reader.write_file() == "chat/tests.py"
    output = reader.type_commands()
    assert re.search(r"^Ran \d+ tests .*\n\nOK$", output, re.MULTILINE), output
    assert reader.left == []
    assert list(tmp_path.iterdir()) == [reader.folder]
