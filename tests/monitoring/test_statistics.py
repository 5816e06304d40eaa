"""``adwebsocket.stats()`` beside connections in this process: what it counts, and when."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.test import override_settings
from django.urls import path

import adwebsocket
from adwebsocket import accept_websocket, require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.groups import registry
from adwebsocket.monitoring import statistics
from adwebsocket.monitoring.statistics import add_section, stats
from tests.connections import WebSocketConversation, on_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
RUNNERS = ["thread", "greenlet"]


@require_websocket
def sync_echo(request: Any) -> None:
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket
async def async_echo(request: Any) -> None:
    async for message in request.websocket:
        await request.websocket.send(message)


@require_websocket
async def deaf(request: Any) -> None:
    await request.websocket.wait_closed()


@require_websocket
def leaving(request: Any) -> None:
    request.websocket.close(4001)


@require_websocket
def holding(request: Any) -> None:
    with transaction.atomic():
        get_user_model().objects.count()
        request.websocket.send("open")
        request.websocket.wait()


@accept_websocket(accept="manual")
def unwilling(request: Any) -> None:
    request.websocket.close()


def unmarked(request: Any) -> None:
    raise AssertionError


urlpatterns = [
    path("sync/", sync_echo, name="echo"),
    path("async/", async_echo),
    path("deaf/", deaf),
    path("leaving/", leaving),
    path("holding/", holding),
    path("unwilling/", unwilling),
    path("unmarked/", unmarked),
]


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.fixture
def sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what the test adds."""
    monkeypatch.setattr(statistics, "_sections", {"groups": registry.statistics})


def converse(path: str, **scope: Any) -> WebSocketConversation:
    return WebSocketConversation(ASGIApplication(), path, **scope)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return by how much numbers have grown, where they have."""
    return {
        key: after[key] - before.get(key, 0) for key in after if after[key] > before.get(key, 0)
    }


@pytest.mark.usefixtures("sections")
class TestShape:
    def test_is_plain_data_of_its_own(self) -> None:
        numbers = stats()
        assert json.loads(json.dumps(numbers)) == numbers
        numbers["connections"].clear()
        assert stats()["connections"]

    def test_is_a_name_of_the_package(self) -> None:
        assert adwebsocket.stats is stats

    def test_every_key_is_described(self) -> None:
        rows = re.findall(r"^\| `([\w.]+)` \| ", PAGE.read_text(), re.MULTILINE)
        described = {name for name in rows if not name.startswith("adwebsocket_")}
        keys = set()
        for section, figures in stats().items():
            names = figures if isinstance(figures, dict) else [None]
            keys |= {section if name is None else f"{section}.{name}" for name in names}
        assert described == keys

    def test_keys_that_others_may_not_take_are_those_that_are_there(self) -> None:
        assert stats().keys() == statistics.OWN_KEYS | {"groups"}

    def test_comes_from_any_thread(self) -> None:
        found: list[dict[str, Any]] = []
        thread = threading.Thread(target=lambda: found.append(stats()))
        thread.start()
        thread.join()
        assert found[0].keys() == stats().keys()


class TestConnections:
    @pytest.mark.parametrize("runner", RUNNERS)
    @on_event_loop
    async def test_open_ones_are_counted_by_view_and_runner(self, runner: str) -> None:
        key = f"{runner}s"
        with override_settings(WEBSOCKET_SYNC_RUNNER=runner):
            async with converse("/sync/") as one, converse("/async/") as other:
                await one.accepted()
                await other.accepted()
                await until(lambda: stats()[key]["parked"] == 1)
                numbers = stats()
                assert numbers["connections"] == {
                    "open": 2,
                    "views": [
                        {"view": "echo", "runner": runner, "open": 1},
                        {
                            "view": f"{__name__}.async_echo",
                            "runner": "async",
                            "open": 1,
                        },
                    ],
                }
                assert numbers[key]["busy"] == 0
                one.send("hello")
                assert await one.message() == "hello"
        await until(lambda: stats()["connections"] == {"open": 0, "views": []})
        assert stats()[key]["parked"] == 0

    @on_event_loop
    async def test_messages_and_bytes_are_counted_both_ways(self) -> None:
        before = stats()
        async with converse("/async/") as client:
            await client.accepted()
            for _ in range(3):
                client.send("hello")
                await client.message()
        after = stats()
        assert grown(before["messages"], after["messages"]) == {"in": 3, "out": 3}
        # Of what foreign servers read there is no more than the message.
        assert grown(before["bytes"], after["bytes"]) == {"in": 15, "out": 21}

    @on_event_loop
    async def test_messages_that_nobody_takes_stand_in_the_queues(self) -> None:
        async with converse("/deaf/") as one, converse("/deaf/") as other:
            for client, count in ((one, 2), (other, 5)):
                await client.accepted()
                for _ in range(count):
                    client.send("hello")
            await until(lambda: stats()["queues"]["inbox_messages"] == {"sum": 7, "max": 5})

    @pytest.mark.parametrize("runner", RUNNERS)
    @pytest.mark.usefixtures("database")
    @on_event_loop
    async def test_database_connections_are_counted_by_holder(self, runner: str) -> None:
        before = stats()["database"]["held"]
        with override_settings(WEBSOCKET_SYNC_RUNNER=runner):
            async with converse("/holding/") as client:
                await client.accepted()
                assert await client.message() == "open"
                assert grown(before, stats()["database"]["held"]) == {f"{runner}s": 1}
        assert grown(before, stats()["database"]["held"]) == {}


class TestRefusals:
    @pytest.mark.parametrize(
        ("address", "settings", "scope", "reason", "status"),
        [
            ("/sync/", {}, {"headers": {"Origin": "https://elsewhere.example"}}, "origin", "403"),
            ("/sync/", {"WEBSOCKET_MAX_CONNECTIONS": 0}, {}, "connections", "503"),
            ("/sync/", {"WEBSOCKET_MAX_THREADS": 0}, {}, "threads", "503"),
            ("/sync/", {}, {"query_string": b"\xff"}, "handshake", "400"),
            ("/unmarked/", {}, {}, "unmarked", "400"),
            ("/unwilling/", {}, {}, "view", "403"),
            ("/nowhere/", {}, {}, "response", "404"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    @pytest.mark.usefixtures("thread_runner")
    @on_event_loop
    async def test_are_counted_by_status_and_reason(
        self,
        address: str,
        settings: dict[str, Any],
        scope: dict[str, Any],
        reason: str,
        status: str,
    ) -> None:
        before = stats()["handshakes"]
        with override_settings(**settings):
            async with converse(address, **scope) as client:
                assert (await client.refused()).status == int(status)
        after = stats()["handshakes"]
        assert grown(before["refused"], after["refused"]) == {status: 1}
        assert grown(before["refused_by"], after["refused_by"]) == {reason: 1}
        assert after["accepted"] == before["accepted"]

    @on_event_loop
    async def test_clients_that_have_enough_are_counted_as_such(self) -> None:
        before = stats()["handshakes"]["refused_by"]
        with override_settings(WEBSOCKET_MAX_CONNECTIONS_PER_IP=1):
            async with converse("/async/") as one, converse("/async/") as other:
                await one.accepted()
                assert (await other.refused()).status == 429
        assert grown(before, stats()["handshakes"]["refused_by"]) == {"client": 1}


class TestCloses:
    @pytest.mark.parametrize(
        ("code", "closer"), [(4000, "client"), (1005, "client"), (1006, "nobody")]
    )
    @on_event_loop
    async def test_of_clients_are_told_from_losses(self, code: int, closer: str) -> None:
        before = stats()
        async with converse("/async/") as client:
            await client.accepted()
            client.disconnect(code)
        after = stats()
        assert after["handshakes"]["accepted"] == before["handshakes"]["accepted"] + 1
        assert {
            each: grown(before["closes"][each], after["closes"][each]) for each in after["closes"]
        } == {"server": {}, "client": {}, "nobody": {}, closer: {str(code): 1}}

    @on_event_loop
    async def test_of_views_are_ours(self) -> None:
        before = stats()["closes"]["server"]
        async with converse("/leaving/") as client:
            await client.accepted()
            assert (await client.closed())[0] == 4001
        assert grown(before, stats()["closes"]["server"]) == {"4001": 1}


@pytest.mark.usefixtures("sections")
class TestSections:
    def test_others_may_add_one(self) -> None:
        add_section("groups", lambda: {"members": 3})
        assert stats()["groups"] == {"members": 3}

    def test_one_that_fails_takes_nothing_with_it(self) -> None:
        def fail() -> dict[str, Any]:
            raise ValueError("a fault in the section")

        add_section("groups", fail)
        numbers = stats()
        assert numbers["groups"] == {"error": "ValueError('a fault in the section')"}
        assert numbers["connections"] == {"open": 0, "views": []}

    def test_ours_stay(self) -> None:
        with pytest.raises(ValueError, match="'loop' belongs to adwebsocket"):
            add_section("loop", dict)
