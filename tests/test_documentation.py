"""The pages of the documentation: what they name is there, and what they tell to write works.

Code blocks are read from the pages, so none can go stale. ``tests/documentation/`` has what single
pages need: the tutorial is followed, both sides of the page for users of Channels run, tables are
compared with the code. nginx is put to work in ``tests/servers/test_nginx.py``; plots and diagrams
are generated elsewhere.
"""

from __future__ import annotations

import ast
import asyncio
import re
import subprocess
import threading
import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpResponse, HttpResponseForbidden
from django.test import override_settings
from django.urls import path
from django.utils import timezone

import adwebsocket.compat
from adwebsocket import ConnectionClosed, accept_websocket, require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.cli import main as command
from adwebsocket.conf import PREFIX, Settings
from tests.connections import WebSocketConversation, on_event_loop
from tests.documentation.pages import CHECKOUT, DOCS, PAGES, anchors, blocks, without_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.connections import Event

RUNNERS = ["thread", "greenlet"]
MOST_LINES_OF_README = 150
# Of dwebsocket's, and without effect.
FOREIGN_SETTINGS = {"WEBSOCKET_FACTORY_CLASS"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page
def test_links_lead_to_a_file_and_a_heading_of_it(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_readme_is_short() -> None:
    assert (CHECKOUT / "README.md").read_text().count("\n") < MOST_LINES_OF_README


# Settings, options and extras


@each_page
def test_settings_that_a_page_names_exist(page: Path) -> None:
    known = {PREFIX + each.name.upper() for each in fields(Settings)} | FOREIGN_SETTINGS
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", page.read_text())) - known == set()


@each_page
def test_options_of_the_command_exist(page: Path) -> None:
    known = {option for parameter in command.params for option in parameter.opts}
    calls = re.findall(r"(?:^|/|`)adwebsocket ([^`\n]*)", page.read_text(), re.MULTILINE)
    named = {option for call in calls for option in re.findall(r"(?<!\S)--[a-z-]+", call)}
    assert named - known - {"--help"} == set()


@each_page
def test_extras_that_a_page_names_exist(page: Path) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    named = set(re.findall(r"adwebsocket\[(\w+)\]", page.read_text()))
    assert named <= set(project["optional-dependencies"])


def test_design_has_every_module_in_its_layers() -> None:
    modules = {
        f"{file.name}/" if file.is_dir() else file.stem
        for file in (CHECKOUT / "adwebsocket").iterdir()
        if (file.is_dir() or file.suffix == ".py") and not file.name.startswith("_")
    }
    table = re.findall(r"^\| .*", (DOCS / "design.md").read_text(), re.MULTILINE)
    assert modules - set(re.findall(r"`([\w/]+)`", "\n".join(table))) == set()


# Code

# Their blocks belong to projects of their own, in which tests/documentation runs them.
PROJECTS = {"from-channels", "tutorial"}
# What the blocks take for granted.
GIVEN: dict[str, Any] = {
    "ConnectionClosed": ConnectionClosed,
    "HttpResponse": HttpResponse,
    "HttpResponseForbidden": HttpResponseForbidden,
    "accept_websocket": accept_websocket,
    "path": path,
    "quote": lambda: "12.50",
    "require_websocket": require_websocket,
    "slow_query": lambda message: [message, threading.current_thread().name],
    "threading": threading,
    "timezone": timezone,
}
LEGACY = {
    "accept_websocket": adwebsocket.compat.accept_websocket,
    "require_websocket": adwebsocket.compat.require_websocket,
}


def run_blocks(page: Path) -> dict[str, Any]:
    """Run the code of a page that defines things, and return what it has defined.

    Parts of a function, which use what the page does not show, are compiled only.
    """
    names = {**GIVEN, "__name__": page.stem}
    if page.stem == "from-dwebsocket":
        names |= LEGACY
    for block in blocks(page, "python"):
        tree = ast.parse(block)
        if not any(isinstance(node, (ast.For, ast.With, ast.Expr)) for node in tree.body):
            exec(compile(tree, page.name, "exec"), names)
    return names


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem not in PROJECTS], ids=lambda page: page.name
)
def test_code_of_a_page_runs(page: Path) -> None:
    run_blocks(page)


@each_page
def test_commands_of_a_page_are_what_a_shell_takes(page: Path) -> None:
    for block in blocks(page, "shell"):
        result = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, ""), block


class SlowPeer(WebSocketConversation):
    """A client that takes nothing until ``is_fast`` is set."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.is_fast = asyncio.Event()

    async def _take(self, event: Event) -> None:
        if event["type"] == "websocket.send":
            await self.is_fast.wait()
        await super()._take(event)


urlpatterns = [
    path(f"{name}/", run_blocks(page)[name])
    for page, name in [
        (CHECKOUT / "README.md", "echo"),
        (CHECKOUT / "README.md", "feed"),
        (DOCS / "sync-views.md", "lower_case"),
        (DOCS / "sync-views.md", "orders"),
        (DOCS / "async-views.md", "upper_case"),
        (DOCS / "async-views.md", "dashboard"),
        (DOCS / "from-dwebsocket.md", "ticker"),
        (DOCS / "runners.md", "clock"),
        (DOCS / "runners.md", "report"),
        (DOCS / "runners.md", "room"),
        (DOCS / "groups.md", "room_before"),
        (DOCS / "groups.md", "room_after"),
    ]
] + [
    path("countdown/", run_blocks(DOCS / "sync-views.md")["countdown"], {"seconds": 1}),
    path("shout/", run_blocks(DOCS / "sync-views.md")["Shout"].as_view()),
]


@pytest.fixture(params=RUNNERS)
def application(request: pytest.FixtureRequest) -> Iterator[ASGIApplication]:
    """Serve the views of the pages; as greenlets, all in one thread."""
    with override_settings(
        MIDDLEWARE=[],
        ROOT_URLCONF=__name__,
        WEBSOCKET_GREENLET_WORKERS=1,
        WEBSOCKET_OUTBOX_BYTES=1000,
        WEBSOCKET_SYNC_RUNNER=request.param,
    ):
        yield ASGIApplication()


async def open_peer(peer: WebSocketConversation) -> WebSocketConversation:
    await peer.__aenter__()
    await peer.accepted()
    return peer


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("echo", "hello"),
        ("feed", "hello"),
        ("lower_case", "hello"),
        ("orders", "taken: hello"),
        ("shout", "HELLO!"),
        ("upper_case", "HELLO"),
    ],
)
def test_first_views_answer(application: ASGIApplication, name: str, answer: str) -> None:
    @on_event_loop
    async def converse() -> None:
        async with WebSocketConversation(application, f"/{name}/") as peer:
            await peer.accepted()
            peer.send("hello")
            assert await peer.message() == answer

    converse()


def test_countdown_comes_to_its_end(application: ASGIApplication) -> None:
    @on_event_loop
    async def converse() -> None:
        async with WebSocketConversation(application, "/countdown/") as peer:
            await peer.accepted()
            assert [await peer.message(), await peer.message()] == ["1", "now"]
            assert await peer.closed() == (1000, "")

    converse()


def test_dashboard_pushes_and_answers_and_ends_with_its_client(
    application: ASGIApplication, caplog: pytest.LogCaptureFixture
) -> None:
    @on_event_loop
    async def converse() -> None:
        async with WebSocketConversation(application, "/dashboard/") as peer:
            await peer.accepted()
            assert await peer.message() == '{"price":"12.50"}'
            peer.send("hello")
            while await peer.message() != '{"you said":"hello"}':
                pass
            peer.disconnect()
            await peer.finished()
            peer.unread_events()
        assert caplog.records == []

    converse()


def test_view_with_slow_queries_has_a_thread_under_either_runner(
    application: ASGIApplication,
) -> None:
    @on_event_loop
    async def converse() -> None:
        async with WebSocketConversation(application, "/report/") as peer:
            await peer.accepted()
            peer.send("sales")
            assert str(await peer.message()).startswith('["sales","websocket-view-')

    converse()


@pytest.mark.parametrize(("name", "end"), [("clock", "+00:00"), ("ticker", "12.50")])
def test_push_loop_lets_others_run_and_ends_with_its_client(
    application: ASGIApplication, name: str, end: str
) -> None:
    @on_event_loop
    async def converse() -> None:
        async with WebSocketConversation(application, f"/{name}/") as peer:
            await peer.accepted()
            async with WebSocketConversation(application, "/echo/") as other:
                await other.accepted()
                other.send("hello")
                assert await other.message() == "hello"
            assert str(await peer.message()).endswith(end)
            peer.disconnect()
            # An answer that was under way is no fault.
            await peer.finished()
            peer.unread_events()
        assert application.runners.count() == 0

    converse()


def test_room_goes_on_while_a_slow_client_holds_up_who_sends_to_it(
    application: ASGIApplication,
) -> None:
    """The way that the page calls wrong would never answer again, with greenlets."""
    text = "x" * 2000

    @on_event_loop
    async def converse() -> None:
        slow = SlowPeer(application, "/room/")
        await open_peer(slow)
        first, second = [
            await open_peer(WebSocketConversation(application, "/room/")) for _ in range(2)
        ]
        for sender in (first, second):
            for _ in range(3):
                sender.send(text)
        # Who comes and goes needs the lock, and so a worker that is not stuck.
        async with WebSocketConversation(application, "/room/") as guest:
            await guest.accepted()
        async with WebSocketConversation(application, "/echo/") as other:
            await other.accepted()
            other.send("hello")
            assert await other.message() == "hello"
        slow.is_fast.set()
        for peer in (slow, first, second):
            assert [await peer.message() for _ in range(6)] == [text] * 6
        for peer in (slow, first, second):
            peer.disconnect()
            await peer.finished()

    converse()


@pytest.mark.parametrize("name", ["room_before", "room_after"])
def test_list_of_clients_and_group_do_the_same(application: ASGIApplication, name: str) -> None:
    @on_event_loop
    async def converse() -> None:
        peers = [await open_peer(WebSocketConversation(application, f"/{name}/")) for _ in range(3)]
        # Who is in is not told: the own message says so.
        for index, peer in enumerate(peers):
            peer.send(f"{index}")
            while await peer.message() != f"{index}":
                pass
        peers[0].send("hello")
        for peer in peers:
            while await peer.message() != "hello":
                pass
            peer.disconnect()
            await peer.finished()

    converse()
