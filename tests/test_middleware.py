"""``WebSocketMiddleware``: the documented attributes everywhere, and views marked by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from adwebsocket import WebSocketMiddleware, accept_websocket, require_websocket
from adwebsocket.asgi import ASGIApplication
from tests.connections import HttpConversation, WebSocketConversation, on_event_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

MIDDLEWARE = "adwebsocket.middleware.WebSocketMiddleware"


def sync_view(request: Any) -> HttpResponse | None:
    if not request.is_websocket():
        return HttpResponse(f"plain, websocket is {request.websocket}")
    for message in request.websocket:
        request.websocket.send(message)
    return None


async def async_view(request: Any) -> HttpResponse | None:
    if not request.is_websocket():
        return HttpResponse(f"plain, websocket is {request.websocket}")
    async for message in request.websocket:
        await request.websocket.send(message)
    return None


def copy_of(view: Any, **marks: bool) -> Any:
    """Return a view of the same colour with attributes that somebody set by hand."""
    if iscoroutinefunction(view):

        async def marked(request: Any) -> Any:
            return await view(request)
    else:

        def marked(request: Any) -> Any:  # type: ignore[misc]
            return view(request)

    vars(marked).update(marks)
    return marked


urlpatterns = [
    path("bare/sync/", copy_of(sync_view)),
    path("bare/async/", copy_of(async_view)),
    path("accept/sync/", copy_of(sync_view, accept_websocket=True)),
    path("accept/async/", copy_of(async_view, accept_websocket=True)),
    path("refuse/sync/", copy_of(sync_view, accept_websocket=False)),
    path("refuse/async/", copy_of(async_view, accept_websocket=False)),
    path("require/sync/", copy_of(sync_view, require_websocket=True)),
    path("require/async/", copy_of(async_view, require_websocket=True)),
    path("both/sync/", copy_of(sync_view, accept_websocket=True, require_websocket=True)),
    path("both/async/", copy_of(async_view, accept_websocket=True, require_websocket=True)),
    path("decorated/accept/sync/", accept_websocket(sync_view)),
    path("decorated/accept/async/", accept_websocket(async_view)),
    path("decorated/require/sync/", require_websocket(sync_view)),
    path("decorated/require/async/", require_websocket(async_view)),
]

COLOURS = ["sync", "async"]


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[MIDDLEWARE]):
        yield


@on_event_loop
async def check_echo(path: str) -> None:
    async with WebSocketConversation(ASGIApplication(), path) as peer:
        await peer.accepted()
        peer.send("text")
        assert await peer.message() == "text"


@on_event_loop
async def check_refused(path: str) -> None:
    async with WebSocketConversation(ASGIApplication(), path) as peer:
        assert (await peer.refused()).status == 400


def get(path: str) -> list[tuple[int, str]]:
    """Return status and text of a plain request under WSGI, in Django's tests and under ours."""
    answers = []
    response: Any = Client().get(path)
    answers.append((response.status_code, response.content.decode()))

    @on_event_loop
    async def ask() -> None:
        response: Any = await AsyncClient().get(path)
        answers.append((response.status_code, response.content.decode()))
        async with HttpConversation(ASGIApplication(), path) as exchange:
            answer = await exchange.response()
            answers.append((answer.status, answer.text))

    ask()
    return answers


@pytest.mark.parametrize("colour", COLOURS)
class TestPlainHttp:
    @pytest.mark.parametrize("kind", ["bare", "accept", "refuse", "decorated/accept"])
    def test_view_has_the_attributes(self, kind: str, colour: str) -> None:
        assert get(f"/{kind}/{colour}/") == [(200, "plain, websocket is None")] * 3

    @pytest.mark.parametrize("kind", ["require", "both", "decorated/require"])
    def test_view_that_requires_a_websocket_is_not_reached(self, kind: str, colour: str) -> None:
        sentence = "This URL speaks WebSocket only; open it with a WebSocket client.\n"
        assert get(f"/{kind}/{colour}/") == [(400, sentence)] * 3

    def test_path_that_leads_nowhere_is_404_as_before(self, colour: str) -> None:
        assert [status for status, _ in get(f"/nowhere/{colour}/")] == [404] * 3


@pytest.mark.parametrize("colour", COLOURS)
class TestWebSocket:
    @pytest.mark.parametrize("kind", ["accept", "require", "both"])
    def test_view_that_is_marked_by_hand_is_served(self, kind: str, colour: str) -> None:
        check_echo(f"/{kind}/{colour}/")

    @pytest.mark.parametrize("kind", ["decorated/accept", "decorated/require"])
    def test_decorated_view_shakes_hands_once(self, kind: str, colour: str) -> None:
        check_echo(f"/{kind}/{colour}/")

    @pytest.mark.parametrize("kind", ["bare", "refuse"])
    def test_view_that_is_not_marked_is_refused(self, kind: str, colour: str) -> None:
        check_refused(f"/{kind}/{colour}/")

    @pytest.mark.parametrize("kind", ["bare", "refuse", "accept", "decorated/accept"])
    def test_setting_lets_every_view_be_reached(self, kind: str, colour: str) -> None:
        with override_settings(WEBSOCKET_ACCEPT_ALL=True):
            check_echo(f"/{kind}/{colour}/")

    @pytest.mark.parametrize("kind", ["accept", "both"])
    def test_mark_by_hand_needs_no_middleware(self, kind: str, colour: str) -> None:
        with override_settings(MIDDLEWARE=[]):
            check_echo(f"/{kind}/{colour}/")


def test_middleware_has_the_colour_of_what_it_calls() -> None:
    def sync_response(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    async def async_response(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    assert WebSocketMiddleware.sync_capable
    assert WebSocketMiddleware.async_capable
    assert not iscoroutinefunction(WebSocketMiddleware(sync_response))
    assert iscoroutinefunction(WebSocketMiddleware(async_response))
