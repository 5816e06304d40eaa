"""Native and legacy views in one project: each follows its decorator, and one list holds both."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from django.urls import path

import adwebsocket
from adwebsocket import compat
from adwebsocket.asgi import ASGIApplication
from tests.connections import WebSocketConversation, on_event_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

clients: list[Any] = []


def chat(request: Any) -> None:
    """Tell everybody what comes, and in which type it came."""
    clients.append(request.websocket)
    for message in request.websocket:
        for client in clients:
            client.send(f"{type(message).__name__}: {message!r}")


def broadcast(request: Any) -> None:
    """Send bytes to everybody."""
    for client in clients:
        client.send("é".encode())


def marked(request: Any) -> None:
    request.websocket.send(type(request.websocket).__module__)


marked.accept_websocket = True  # type: ignore[attr-defined]

urlpatterns = [
    path("native/", adwebsocket.require_websocket(chat)),
    path("legacy/", compat.require_websocket(chat)),
    path("broadcast/", adwebsocket.require_websocket(broadcast)),
    path("marked/", marked),
]


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        yield
    clients.clear()


async def joined(peer: WebSocketConversation, count: int) -> None:
    await peer.accepted()
    while len(clients) < count:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.01)


@on_event_loop
async def test_each_view_follows_its_decorator_and_one_list_holds_both() -> None:
    application = ASGIApplication()
    async with (
        WebSocketConversation(application, "/native/") as native,
        WebSocketConversation(application, "/legacy/") as legacy,
    ):
        await joined(native, 1)
        await joined(legacy, 2)

        native.send("é")
        for peer in (native, legacy):
            assert await peer.message() == "str: 'é'"
        legacy.send("é")
        for peer in (native, legacy):
            assert await peer.message() == r"bytes: b'\xc3\xa9'"

        async with WebSocketConversation(application, "/broadcast/") as other:
            await other.accepted()
            await other.closed()
        # Bytes are binary to the native socket and text to the legacy one.
        assert await native.message() == "é".encode()
        assert await legacy.message() == "é"

        # The legacy view's loop meets its final None, and goes on to everybody.
        legacy.disconnect()
        assert await native.message() == "NoneType: None"


@pytest.mark.parametrize(
    ("middleware", "module"),
    [
        ([], "adwebsocket.websocket"),
        (["adwebsocket.middleware.WebSocketMiddleware"], "adwebsocket.websocket"),
        (["dwebsocket.middleware.WebSocketMiddleware"], "adwebsocket.compat"),
        (["adwebsocket.compat.WebSocketMiddleware"], "adwebsocket.compat"),
    ],
)
@on_event_loop
async def test_view_that_is_marked_by_hand_follows_the_middleware(
    middleware: list[str], module: str
) -> None:
    with override_settings(MIDDLEWARE=middleware):
        application = ASGIApplication()
    async with WebSocketConversation(application, "/marked/") as peer:
        await peer.accepted()
        assert await peer.message() == module
        await peer.closed()
