"""Members whose channels write differently: each gets the right bytes, encoded once for all alike.

Real servers on the event loop of the test, ours and others, share one application and so one group.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import hypercorn.asyncio
import hypercorn.config
import pytest
import uvicorn
from django.test import override_settings
from django.urls import path
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from adwebsocket import groups, require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.groups.membership import Membership
from adwebsocket.groups.registry import get_backend
from adwebsocket.protocol.deflate import Deflate
from tests.connections import on_event_loop
from tests.groups.scripted import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractContextManager

LONG = "compress me, compress me! " * 40
MESSAGES: list[str | bytes] = [
    *("short", LONG, LONG.encode(), b"\0\xff" * 2000, LONG, "é" * 70_000, "", b"")
]
OFFERS = {
    "plain": None,
    "deflate": ClientPerMessageDeflateFactory(),
    "stateless": ClientPerMessageDeflateFactory(server_no_context_takeover=True),
    "small window": ClientPerMessageDeflateFactory(
        server_no_context_takeover=True, server_max_window_bits=10
    ),
}


@require_websocket
async def member(request: Any) -> None:
    await request.websocket.join("room")
    await request.websocket.send("joined")
    await request.websocket.wait_closed()


@require_websocket
def sync_member(request: Any) -> None:
    request.websocket.join("room")
    request.websocket.send("joined")
    request.websocket.wait_closed()


urlpatterns = [path("async", member), path("sync", sync_member)]


class Uvicorn(uvicorn.Server):
    """A server that leaves signals to the test run."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[],
        ALLOWED_HOSTS=["*"],
        WEBSOCKET_GROUPS="memory",
        WEBSOCKET_COMPRESSION={"context_takeover": True},
    ):
        yield


@contextlib.asynccontextmanager
async def serve(application: Any, kind: str) -> AsyncIterator[str]:
    """Serve with uvicorn and a WebSocket class, or with hypercorn; give the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"ws://127.0.0.1:{listener.getsockname()[1]}"
    if kind == "hypercorn":
        stop = asyncio.Event()
        config = hypercorn.config.Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.errorlog = None
        serving = asyncio.create_task(
            hypercorn.asyncio.serve(application, config, shutdown_trigger=stop.wait)
        )
        await asyncio.sleep(0)
    else:
        config = uvicorn.Config(application, ws=kind, lifespan="off", log_config=None)
        server = Uvicorn(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await until(lambda: server.started or serving.done())
    try:
        yield address
    finally:
        if kind == "hypercorn":
            stop.set()
        else:
            server.should_exit = True
        await asyncio.wait_for(serving, 10)
        listener.close()


@contextlib.asynccontextmanager
async def client(address: str, offer: str = "plain") -> AsyncIterator[Any]:
    extension = OFFERS[offer]
    extensions = None if extension is None else [extension]
    async with connect(address, compression=None, extensions=extensions) as connection:
        assert await connection.recv() == "joined"
        yield connection


@pytest.fixture
def compressions(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """Count how often the server compresses, by the form that comes out."""
    counted: Counter[Any] = Counter()
    compress = Deflate.compress

    def count(deflate: Deflate, payload: bytes) -> bytes:
        counted[deflate.form] += 1
        return compress(deflate, payload)

    monkeypatch.setattr(Deflate, "compress", count)
    return counted


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_members_with_and_without_compression_get_the_right_bytes(
    loop: str, compressions: Counter[Any]
) -> None:
    async def run() -> None:
        async with (
            asyncio.timeout(20),
            serve(ASGIApplication(), "adwebsocket:WebSocketProtocol") as address,
            contextlib.AsyncExitStack() as stack,
        ):
            clients = [
                await stack.enter_async_context(client(f"{address}/{colour}", offer))
                for offer in OFFERS
                for colour in ("async", "sync", "async")
            ]
            for message in MESSAGES:
                await groups.asend("room", message)
                for connection in clients:
                    assert await connection.recv() == message
            (by_window,) = [count for form, count in compressions.items() if form[2] == 10]
            (stateless,) = [
                count for form, count in compressions.items() if form[2] != 10 and not form[1]
            ]
            (stateful,) = [count for form, count in compressions.items() if form[1]]
        long = sum(len(message) >= 256 for message in MESSAGES)
        # Once for all that keep no context; for each of those that do.
        assert (stateless, by_window, stateful) == (long, long, 3 * long)

    import uvloop

    asyncio.run(run()) if loop == "asyncio" else uvloop.run(run())


@on_event_loop
async def test_message_is_prepared_once_for_all_members_that_write_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared: list[Any] = []
    prepare = Membership.prepare

    def note(membership: Membership, envelope: Any) -> Any:
        prepared.append(membership.form)
        return prepare(membership, envelope)

    monkeypatch.setattr(Membership, "prepare", note)
    async with (
        serve(ASGIApplication(), "adwebsocket:WebSocketProtocol") as address,
        contextlib.AsyncExitStack() as stack,
    ):
        clients = [
            await stack.enter_async_context(client(f"{address}/async", offer))
            for offer in ("plain", "stateless", "deflate") * 3
        ]
        await groups.asend("room", LONG)
        for connection in clients:
            assert await connection.recv() == LONG
    assert len(prepared) == len(set(prepared)) == 3


@on_event_loop
async def test_members_on_other_servers_get_the_same_as_those_on_ours() -> None:
    application = ASGIApplication()
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for kind in ("adwebsocket:WebSocketProtocol", "websockets-sansio", "wsproto", "hypercorn"):
            address = await stack.enter_async_context(serve(application, kind))
            clients += [
                await stack.enter_async_context(client(f"{address}/{colour}"))
                for colour in ("async", "sync")
            ]
        for message in MESSAGES:
            await groups.asend("room", message)
            for connection in clients:
                assert await connection.recv() == message
        assert len(get_backend().members("room")) == 8
        await groups.aclose("room", 4000, "over")
        for connection in clients:
            await asyncio.wait_for(connection.wait_closed(), 10)
            assert (connection.close_code, connection.close_reason) == (4000, "over")
    await until(lambda: get_backend().members("room") == [])


@on_event_loop
async def test_middleware_that_changes_an_event_changes_it_for_its_own_socket_only() -> None:
    application = ASGIApplication()

    async def shouting(scope: Any, receive: Any, send: Any) -> None:
        async def shout(event: Any) -> None:
            if event["type"] == "websocket.send" and event["text"] != "joined":
                event["text"] += "!"
            await send(event)

        await application(scope, receive, shout)

    async with (
        serve(shouting, "websockets-sansio") as address,
        client(f"{address}/async") as first,
        client(f"{address}/async") as second,
    ):
        await groups.asend("room", "x")
        assert [await first.recv(), await second.recv()] == ["x!", "x!"]
