"""The async client: the same as the blocking one, awaited; and that nothing holds up its loop."""

# ruff: noqa: PT012 (a failure is raised in the block of a socket, or at its end)

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from adwebsocket.testing import AsyncClientWebSocket, AsyncWebSocketClient, ClientWebSocket
from tests.connections import on_event_loop

from . import views

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SHORT = 0.2
"""Seconds to wait for what is not going to come."""


def test_twins_have_the_same_methods_with_the_same_arguments() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        return {
            name: [str(parameter) for parameter in inspect.signature(member).parameters.values()]
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert public(AsyncClientWebSocket) == public(ClientWebSocket)


@on_event_loop
async def test_messages_come_back(async_client: AsyncWebSocketClient, colour: str) -> None:
    async with async_client.websocket(f"/{colour}/echo/", subprotocols=["chat"]) as ws:
        assert ws.accepted
        assert ws.subprotocol == "chat"
        await ws.send("hello")
        assert await ws.receive() == "hello"
        await ws.send_json([1])
        assert await ws.receive_json() == [1]
        await ws.assert_nothing_received()
        await ws.settle()
    assert ws.closed
    assert views.passed.is_set()


@on_event_loop
async def test_ends_are_seen(async_client: AsyncWebSocketClient, colour: str) -> None:
    async with async_client.websocket(f"/{colour}/closing/") as ws:
        assert [message async for message in ws] == ["last words"]
        await ws.assert_closed(4001, "enough")
    async with async_client.websocket(f"/{colour}/echo/") as ws:
        await ws.close(4002)
        assert ws.close_code == 4002


@on_event_loop
async def test_refusal_is_a_response(async_client: AsyncWebSocketClient, colour: str) -> None:
    async with async_client.websocket(f"/{colour}/refusing/") as ws:
        assert ws.response.status_code == 403
        assert async_client.cookies["seen"].value == "yes"
        with pytest.raises(AssertionError, match="403 Forbidden: not for you"):
            await ws.receive()


@on_event_loop
async def test_errors_of_the_view_are_raised(
    async_client: AsyncWebSocketClient, colour: str
) -> None:
    with pytest.raises(ValueError, match="wrong: hello"):
        async with async_client.websocket(f"/{colour}/raising/") as ws:
            await ws.send("hello")
            await ws.receive()
    with pytest.raises(ValueError, match="wrong from the start"):
        async with async_client.websocket(f"/{colour}/raising_early/"):
            pytest.fail("not reached")


@on_event_loop
async def test_view_that_hangs_fails_while_the_test_goes_on(
    async_client: AsyncWebSocketClient, colour: str
) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(SHORT / 10)
            ticks += 1

    ticking = asyncio.create_task(tick())
    with pytest.raises(AssertionError, match="the view still runs"):
        async with async_client.websocket(f"/{colour}/hanging/") as ws:
            ws.timeout = SHORT
    ticking.cancel()
    assert ticks > 1


@on_event_loop
async def test_view_that_blocks_its_loop_is_named(async_client: AsyncWebSocketClient) -> None:
    with pytest.raises(AssertionError, match="blocks it at "):
        async with async_client.websocket("/blocking/") as ws:
            await ws.send("hello")
            ws.timeout = SHORT
            try:
                await ws.receive()
            finally:
                views.released.set()


@pytest.mark.parametrize(
    "fault",
    [
        AsyncClientWebSocket.drop,
        AsyncClientWebSocket.reset,
        AsyncClientWebSocket.half_close,
        AsyncClientWebSocket.send_invalid_frame,
        lambda ws: ws.send_raw(b"\xff" * 20),
    ],
)
@on_event_loop
async def test_faults_end_the_connection(
    async_client: AsyncWebSocketClient,
    colour: str,
    fault: Callable[[AsyncClientWebSocket], Awaitable[Any]],
) -> None:
    async with async_client.websocket(f"/{colour}/echo/") as ws:
        await fault(ws)
        await ws.assert_closed()
        assert ws.close_code in (1002, 1006)


@on_event_loop
async def test_slow_reader_gets_all(async_client: AsyncWebSocketClient, colour: str) -> None:
    async with async_client.websocket(f"/{colour}/pushing/") as ws:
        await ws.stop_reading()
        await ws.resume_reading()
        for _ in range(50):
            assert await ws.receive() == "x" * 20_000


@on_event_loop
async def test_pages_are_those_of_any_client(async_client: AsyncWebSocketClient) -> None:
    assert (await async_client.get("/page/")).content == b"a page"
