"""What the tests of this folder do as a client, with a limit to every wait."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from websockets.asyncio import client
from websockets.exceptions import ConnectionClosed

from tests.processes import DEADLINE, Response, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

# A handshake without flaws (RFC 6455 section 1.2), beside Host.
HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an asynchronous test on a loop of its own, and fail it after the deadline."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def until_deadline() -> None:
            async with asyncio.timeout(DEADLINE):
                await test(*args, **kwargs)

        asyncio.run(until_deadline())

    return run


def connect(server: ServerProcess, path: str, **options: Any) -> client.connect:
    """Open a WebSocket, by ``async with`` or ``await``; the options are those of the client."""
    if server.tls is not None:
        options = {"ssl": server.tls, **options}
    if server.unix_socket is not None:
        options = {"unix": True, "path": str(server.unix_socket), **options}
    url = server.url("ws" if server.tls is None else "wss", path)
    return client.connect(url, proxy=None, ping_interval=None, max_size=None, **options)


async def ending_of(connection: client.ClientConnection) -> tuple[list[str | bytes], int, str]:
    """Return the messages that still come, and the close code and reason behind them."""
    messages = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(await connection.recv())
    code, reason = connection.close_code, connection.close_reason
    assert code is not None
    assert reason is not None
    return messages, code, reason


async def fetch(
    server: ServerProcess,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: str | None = None,
) -> Response:
    """Send one HTTP request on a connection of its own."""
    return await asyncio.to_thread(exchange, server, method, path, headers or {}, body)


async def fetch_json(server: ServerProcess, path: str, **options: Any) -> Any:
    """Return the JSON of a page."""
    answer = await fetch(server, path, **options)
    assert answer.status == 200, answer
    return json.loads(answer.text)


async def answer_to_handshake(server: ServerProcess, path: str, **headers: str) -> Response:
    """Return the response to a handshake; keyword arguments become additional headers."""
    return await fetch(server, path, headers=HANDSHAKE | headers)


def exchange(
    server: ServerProcess, method: str, path: str, headers: Mapping[str, str], body: str | None
) -> Response:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    with closing(connection):
        connection.sock = server.connect()
        connection.request(method, path, body, {"Connection": "close", **headers})
        return read_answer(connection.getresponse())


def read_answer(answer: http.client.HTTPResponse) -> Response:
    """Return a response; where a header came several times, its values in one."""
    headers = {name.lower(): ", ".join(answer.headers.get_all(name, [])) for name in answer.headers}
    return Response(answer.status, headers, answer.read().decode())
