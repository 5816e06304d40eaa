"""The page for those who come from Channels: both sides run, and clients get the same from them."""

from __future__ import annotations

import json
import unittest
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings

from adwebsocket.asgi import ASGIApplication
from tests.connections import WebSocketConversation, on_event_loop

from .pages import DOCS, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

    from tests.connections import Application

PAGE = DOCS / "from-channels.md"
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
OWN_PAGE = {"Origin": "http://testserver"}
FOREIGN_PAGE = {"Origin": "http://elsewhere.example"}


def run_side(side: str, **names: Any) -> dict[str, Any]:
    """Run the blocks of one side, from the top of the page, and return what they define."""
    names |= {"__name__": "from_channels"}
    for block in blocks(PAGE, "python"):
        if block.startswith(f"# {side}\n"):
            exec(compile(block, f"{PAGE.name}, {side}", "exec"), names)
    return names


ENDED: list[int] = []
CONSUMERS = run_side("Channels", ended=ENDED)
VIEWS = run_side("adwebsocket", ended=ENDED)
urlpatterns = VIEWS["urlpatterns"]


@pytest.fixture
def project() -> Iterator[None]:
    with override_settings(
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        MIDDLEWARE=MIDDLEWARE,
        ROOT_URLCONF=__name__,
    ):
        yield


@pytest.fixture(params=["Channels", "adwebsocket", "both"])
def application(request: pytest.FixtureRequest, project: None, database: None) -> Application:
    """Serve one side of the page, or both as it tells for the time in between."""
    if request.param == "Channels":
        return CONSUMERS["application"]  # type: ignore[no-any-return]
    if request.param == "adwebsocket":
        return ASGIApplication()
    names = {**CONSUMERS, "get_asgi_application": VIEWS["get_asgi_application"]}
    return run_side("both", **names)["application"]  # type: ignore[no-any-return]


def cookies_of(client: Client) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={each.value}" for name, each in client.cookies.items())}


def test_every_block_is_of_a_side() -> None:
    sides = {block.partition("\n")[0] for block in blocks(PAGE, "python")}
    assert sides == {"# Channels", "# adwebsocket", "# both"}


def test_shout_counts_and_ends(application: Application) -> None:
    @on_event_loop
    async def converse() -> None:
        ENDED.clear()
        async with WebSocketConversation(application, "/ws/shout/", headers=OWN_PAGE) as peer:
            await peer.accepted()
            peer.send("hello")
            assert await peer.message() == "1: HELLO"
            peer.send("again")
            assert await peer.message() == "2: AGAIN"
            peer.disconnect()
            await peer.finished()
        assert ENDED == [2]

    converse()


@pytest.mark.parametrize("path", ["/ws/names/", "/ws/names-in-sync/"])
def test_names_ask_the_database(application: Application, logged_in: Client, path: str) -> None:
    if application is CONSUMERS["application"]:
        path = "/ws/names/"

    @on_event_loop
    async def converse() -> None:
        async with WebSocketConversation(application, path, headers=OWN_PAGE) as peer:
            await peer.accepted()
            for name, taken in [("anna", True), ("nobody", False)]:
                peer.send(json.dumps({"name": name}))
                assert json.loads(await peer.message()) == {"taken": taken}

    converse()


def open_room(application: Application) -> WebSocketConversation:
    return WebSocketConversation(application, "/ws/room/", headers=OWN_PAGE)


def test_room_is_reached_from_within_and_from_without(application: Application) -> None:
    announce = (CONSUMERS if application is CONSUMERS["application"] else VIEWS)["announce"]

    @on_event_loop
    async def converse() -> None:
        async with open_room(application) as first:
            # A message of one's own comes when one is a member.
            await first.accepted()
            first.send("first")
            assert await first.message() == "first"
            async with open_room(application) as second:
                await second.accepted()
                second.send("second")
                for peer in (first, second):
                    assert await peer.message() == "second"
                await sync_to_async(announce)("good morning")
                for peer in (first, second):
                    assert await peer.message() == "good morning"

    converse()


@pytest.mark.parametrize("side", [CONSUMERS, VIEWS], ids=["Channels", "adwebsocket"])
def test_its_test_passes(project: None, side: dict[str, Any]) -> None:
    tests = unittest.defaultTestLoader.loadTestsFromTestCase(side["ShoutTest"])
    result = tests.run(unittest.TestResult())
    assert result.testsRun == 1
    assert (result.errors, result.failures) == ([], [])


def test_user_of_the_session_comes_in(application: Application, logged_in: Client) -> None:
    @on_event_loop
    async def converse() -> None:
        headers = {**OWN_PAGE, **cookies_of(logged_in)}
        async with WebSocketConversation(
            application, "/ws/private/lobby/", headers=headers
        ) as peer:
            await peer.accepted()
            assert await peer.message() == "anna in lobby"

    converse()


def test_stranger_does_not(application: Application) -> None:
    @on_event_loop
    async def converse() -> None:
        path = "/ws/private/lobby/"
        async with WebSocketConversation(application, path, headers=OWN_PAGE) as peer:
            if application is CONSUMERS["application"]:
                assert (await peer.next_event())["type"] == "websocket.close"
            else:
                assert (await peer.refused()).status == 302

    converse()


def test_foreign_page_does_not(application: Application) -> None:
    @on_event_loop
    async def converse() -> None:
        async with WebSocketConversation(application, "/ws/names/", headers=FOREIGN_PAGE) as peer:
            if application is CONSUMERS["application"]:
                assert (await peer.next_event())["type"] == "websocket.close"
            else:
                assert (await peer.refused()).status == 403

    converse()
