"""Connections are counted for the client, and a trusted proxy says who that is."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.processes import ServerProcess, serve

from .clients import bounded, connect
from .hosts import FOLDER, runner, uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Database

# All of 127.0.0.0/8 is this machine, and only 127.0.0.1 is trusted.
STRANGER = {"local_addr": ("127.0.0.2", 0)}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(runner("--port", "{port}"), id="runner"),
        pytest.param(uvicorn("listened_application", "websockets-sansio"), id="uvicorn"),
    ],
)
def server(request: pytest.FixtureRequest, database: Database) -> Iterator[ServerProcess]:
    """A server that lets each client have two connections."""
    environment = {**database.environment, "PROJECT_CONNECTIONS_PER_IP": "2"}
    with serve(request.param, cwd=FOLDER, env=environment) as server:
        yield server


@pytest.fixture(scope="module")
def server_at_a_unix_socket(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    environment = {**database.environment, "PROJECT_CONNECTIONS_PER_IP": "2"}
    unix_socket = tmp_path_factory.mktemp("uds") / "socket"
    with serve(
        runner("--uds", "{socket}"), cwd=FOLDER, env=environment, unix_socket=unix_socket
    ) as server:
        yield server


def through_proxy(address: str, **options: Any) -> dict[str, Any]:
    """Describe a client as a proxy does, at whose own address the connection comes from."""
    return {"additional_headers": {"X-Forwarded-For": address}, **options}


async def fill(stack: AsyncExitStack, server: ServerProcess, options: list[dict[str, Any]]) -> None:
    """Open sockets, of which all but the last have room."""
    for each in options[:-1]:
        client = await stack.enter_async_context(connect(server, "/sync/echo/", **each))
        await client.send("hello")
        assert await client.recv() == "hello"
    with pytest.raises(InvalidStatus) as refused:
        await connect(server, "/async/echo/", **options[-1])
    assert refused.value.response.status_code == 429
    assert int(refused.value.response.headers["Retry-After"]) > 0


@bounded
async def test_client_behind_a_trusted_proxy_is_counted_by_its_own_address(
    server: ServerProcess,
) -> None:
    async with AsyncExitStack() as stack:
        for network in ("198.51.100.", "203.0.113."):
            client = through_proxy(f"{network}7")
            await fill(stack, server, [client] * 3)
            assert f"the client '{network}7' has 2" in server.output()
        neighbours = [through_proxy(f"2001:db8::{number}") for number in range(3)]
        await fill(stack, server, neighbours)
        await fill(stack, server, [{}] * 3)


@bounded
async def test_client_that_is_no_trusted_proxy_cannot_be_many(server: ServerProcess) -> None:
    async with AsyncExitStack() as stack:
        liar = [through_proxy(f"198.51.100.{number}", **STRANGER) for number in range(3)]
        await fill(stack, server, liar)
        assert "the client '127.0.0.2' has 2" in server.output()


@bounded
async def test_place_is_free_again_when_a_client_has_gone(server: ServerProcess) -> None:
    client = through_proxy("192.0.2.44")
    async with AsyncExitStack() as stack:
        await fill(stack, server, [client] * 3)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await open_with_patience(stack, server, client)


async def open_with_patience(
    stack: AsyncExitStack, server: ServerProcess, options: dict[str, Any]
) -> None:
    """Open a socket as soon as there is room: the server learns a moment later who has gone."""
    while True:
        try:
            await stack.enter_async_context(connect(server, "/sync/echo/", **options))
        except InvalidStatus:
            continue
        return


@bounded
async def test_clients_at_a_unix_socket_are_not_counted(
    server_at_a_unix_socket: ServerProcess,
) -> None:
    async with AsyncExitStack() as stack:
        for number in range(4):
            options = through_proxy(f"198.51.100.{number % 2}")
            await stack.enter_async_context(
                connect(server_at_a_unix_socket, "/sync/echo/", **options)
            )
