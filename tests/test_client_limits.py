"""How many WebSockets one client address may have, and that places are given back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from adwebsocket import require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.client_limits import client_of, count_places, give_back_place, take_place
from tests.connections import WebSocketConversation, on_event_loop
from tests.transport.thread_team import run_together

if TYPE_CHECKING:
    from collections.abc import Iterator

COLOURS = ["sync", "async"]


def answer_of(request: Any) -> HttpResponse | None:
    match request.GET.get("do"):
        case "fault":
            raise ValueError("a fault in the view")
        case "answer":
            return HttpResponse(status=418)
    return None


@require_websocket(accept="manual")
def sync_view(request: Any) -> HttpResponse | None:
    response = answer_of(request)
    if response is None:
        request.websocket.accept()
        for message in request.websocket:
            request.websocket.send(message)
    return response


@require_websocket(accept="manual")
async def async_view(request: Any) -> HttpResponse | None:
    response = answer_of(request)
    if response is None:
        await request.websocket.accept()
        async for message in request.websocket:
            await request.websocket.send(message)
    return response


urlpatterns = [path("sync/", sync_view), path("async/", async_view)]


class GoneBeforeAccept(WebSocketConversation):
    """A client that goes while the application sends its first event."""

    async def _take(self, event: Any) -> None:
        raise OSError("gone")


@pytest.fixture
def application() -> Iterator[ASGIApplication]:
    with override_settings(
        MIDDLEWARE=[], ROOT_URLCONF=__name__, WEBSOCKET_MAX_CONNECTIONS_PER_IP=2
    ):
        yield ASGIApplication()
    assert count_places() == {}


class TestClient:
    @pytest.mark.parametrize(
        ("address", "client"),
        [
            (("192.0.2.1", 50000), "192.0.2.1"),
            (("192.0.2.1", 50001), "192.0.2.1"),
            (["192.0.2.1", 50000], "192.0.2.1"),
            (("192.0.2.2", 0), "192.0.2.2"),
            (("::ffff:192.0.2.1", 1), "192.0.2.1"),
            (("::FFFF:c000:0201", 1), "192.0.2.1"),
            (("2001:db8:1:2::1", 1), "2001:db8:1:2::/64"),
            (("2001:DB8:1:2:ffff:ffff:ffff:ffff", 1), "2001:db8:1:2::/64"),
            (("2001:db8:1:3::1", 1), "2001:db8:1:3::/64"),
            (("fe80::1%eth0", 1), "fe80::/64"),
            (("::1", 1), "::/64"),
            (("_hidden", 0), "_hidden"),
            (("x" * 60_000, 0), "x" * 64),
        ],
    )
    def test_address_is_counted_as(self, address: Any, client: str) -> None:
        assert client_of({"client": address}) == client

    @pytest.mark.parametrize("scope", [{}, {"client": None}, {"client": ("", None)}])
    def test_client_of_a_unix_socket_has_no_address(self, scope: dict[str, Any]) -> None:
        assert client_of(scope) is None


class TestPlaces:
    def test_each_client_has_as_many_as_there_may_be(self) -> None:
        assert [take_place("a", 2) for _ in range(3)] == [True, True, False]
        assert take_place("b", 2)
        assert count_places() == {"a": 2, "b": 1}
        give_back_place("a")
        assert take_place("a", 2)
        for client in "aab":
            give_back_place(client)
        assert count_places() == {}

    @pytest.mark.usefixtures("busy_threads")
    def test_event_loops_in_several_threads_count_right(self) -> None:
        def take_and_give_back() -> None:
            for _ in range(2000):
                if take_place("a", 3):
                    assert count_places()["a"] <= 3
                    give_back_place("a")

        run_together(*[take_and_give_back] * 4)
        assert count_places() == {}


@pytest.mark.parametrize("colour", COLOURS)
class TestHandshake:
    @on_event_loop
    async def test_one_too_many_of_a_client_is_429_with_a_time_to_come_back(
        self, colour: str, application: ASGIApplication, caplog: pytest.LogCaptureFixture
    ) -> None:
        route = f"/{colour}/"
        async with (
            WebSocketConversation(application, route) as first,
            WebSocketConversation(application, route) as second,
        ):
            await first.accepted()
            await second.accepted()
            async with WebSocketConversation(application, "/new\nline/") as third:
                response = await third.refused()
                assert response.status == 429
                assert int(response.header("retry-after") or "") > 0
                assert "your address" in response.text
            assert caplog.messages == [
                "Refused a WebSocket to '/new\\nline/': the client '192.0.2.1' has 2 "
                "(WEBSOCKET_MAX_CONNECTIONS_PER_IP)"
            ]
            async with WebSocketConversation(application, route, client=("192.0.2.9", 1)) as other:
                await other.accepted()
            first.disconnect()
            await first.finished()
            async with WebSocketConversation(application, route) as fourth:
                await fourth.accepted()

    @on_event_loop
    async def test_neighbours_with_ipv6_count_together(
        self, colour: str, application: ASGIApplication
    ) -> None:
        peers = [
            WebSocketConversation(application, f"/{colour}/", client=(f"2001:db8::{number}", 1))
            for number in range(3)
        ]
        async with peers[0], peers[1]:
            await peers[0].accepted()
            await peers[1].accepted()
            async with peers[2]:
                assert (await peers[2].refused()).status == 429

    @pytest.mark.parametrize("client", [None, ("", None), ...])
    @on_event_loop
    async def test_clients_without_an_address_are_not_counted(
        self, client: Any, colour: str, application: ASGIApplication
    ) -> None:
        for _ in range(3):
            peer = WebSocketConversation(application, f"/{colour}/", client=client)
            await peer.__aenter__()
            await peer.accepted()
            assert count_places() == {}
            peer.disconnect()
            await peer.finished()

    @pytest.mark.parametrize("do", ["fault", "answer"])
    @on_event_loop
    async def test_place_is_given_back_behind_a_view_that_does_not_accept(
        self, do: str, colour: str, application: ASGIApplication
    ) -> None:
        for _ in range(3):
            scope = {"query_string": f"do={do}".encode()}
            async with WebSocketConversation(application, f"/{colour}/", **scope) as peer:
                assert (await peer.refused()).status in (418, 500)

    @pytest.mark.parametrize(
        ("status", "scope"),
        [
            (403, {"headers": {"Origin": "http://evil.example"}}),
            (400, {"headers": {"Host": "evil.example"}}),
            (400, {"query_string": b"\xff"}),
            (404, {"path": "/nowhere/"}),
        ],
    )
    @on_event_loop
    async def test_place_is_given_back_behind_a_refusal(
        self, status: int, scope: dict[str, Any], colour: str, application: ASGIApplication
    ) -> None:
        for _ in range(3):
            route = {"path": f"/{colour}/", **scope}
            async with WebSocketConversation(application, **route) as peer:
                assert (await peer.refused()).status == status

    @on_event_loop
    async def test_place_is_given_back_when_the_client_does_not_stay(
        self, colour: str, application: ASGIApplication
    ) -> None:
        for _ in range(3):
            async with WebSocketConversation(application, f"/{colour}/", is_there=False):
                pass
            async with GoneBeforeAccept(application, f"/{colour}/"):
                pass

    @on_event_loop
    async def test_place_is_given_back_when_the_server_gives_up(
        self, colour: str, application: ASGIApplication
    ) -> None:
        for _ in range(3):
            peer = WebSocketConversation(application, f"/{colour}/")
            await peer.__aenter__()
            await peer.accepted()
            await peer.cancel()
            peer.disconnect()

    @on_event_loop
    async def test_place_is_given_back_that_was_taken_before_the_setting_changed(
        self, colour: str, application: ASGIApplication
    ) -> None:
        async with WebSocketConversation(application, f"/{colour}/") as peer:
            await peer.accepted()
            with override_settings(WEBSOCKET_MAX_CONNECTIONS_PER_IP=None):
                peer.disconnect()
                await peer.finished()
        assert count_places() == {}


@on_event_loop
async def test_nothing_is_counted_without_the_setting() -> None:
    with override_settings(MIDDLEWARE=[], ROOT_URLCONF=__name__):
        application = ASGIApplication()
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(visit(application))
        assert count_places() == {}


async def visit(application: ASGIApplication) -> None:
    async with WebSocketConversation(application, "/async/") as peer:
        await peer.accepted()
        assert count_places() == {}
