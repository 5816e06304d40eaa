"""The protocol class on real sockets: the handshake, every answer to it, and what comes before."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from event_loops import let_others_run, until
from loopback import (
    ACCEPT,
    ANSWER_TO_KEY,
    Client,
    Front,
    Server,
    binary,
    close,
    echo,
    ping,
    request,
    serve,
    text,
)
from uvicorn.config import Config
from uvicorn.server import ServerState

from adwebsocket.transport.asgi_interface import ClientDisconnected, find_channel
from adwebsocket.transport.uvicorn_protocol import WebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from event_loops import Run
    from loopback import Receive, Send

Scope = dict[str, Any]


# The handshake


def test_request_becomes_a_scope(run: Run) -> None:
    scopes: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    async def main() -> None:
        async with serve(application, root_path="/mount") as server:
            server.app_state["pool"] = "shared"
            client = await server.connect()
            await client.open(
                "Sec-WebSocket-Protocol: b, a", "Cookie: x=\xe9", path="/caf%C3%A9%20?q=%20&r"
            )
            (scope,) = scopes

            assert scope["type"] == "websocket"
            assert scope["asgi"] == {"version": "3.0", "spec_version": "2.4"}
            assert scope["http_version"] == "1.1"
            assert scope["scheme"] == "ws"
            assert scope["root_path"] == "/mount"
            assert scope["path"] == "/mount/café "
            assert scope["raw_path"] == b"/mount/caf%C3%A9%20"
            assert scope["query_string"] == b"q=%20&r"
            assert scope["subprotocols"] == ["b", "a"]
            assert scope["server"] == server.address
            assert scope["client"] == client.socket.getsockname()
            assert scope["headers"][0] == (b"host", b"example.com")
            assert scope["headers"][-1] == (b"cookie", "x=é".encode())
            assert scope["state"] == {"pool": "shared"}
            assert scope["state"] is not server.app_state
            assert "websocket.http.response" in scope["extensions"]

    run(main())


def test_channel_of_the_scope_is_the_protocol_itself(run: Run) -> None:
    found: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(find_channel(scope, receive, send))
        await echo(scope, receive, send)

    async def main() -> None:
        async with serve(application) as server:
            await (await server.connect()).open()
            assert found == server.protocols

    run(main())


def test_acceptance_is_the_answer_of_the_rfc_with_the_servers_headers(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**ACCEPT, "subprotocol": "chat", "headers": [(b"X-Own", b"1")]})
        await receive()
        await receive()

    async def main() -> None:
        async with serve(application) as server:
            assert await (await server.connect()).open() == (
                b"HTTP/1.1 101 Switching Protocols\r\n"
                b"Upgrade: websocket\r\n"
                b"Connection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + ANSWER_TO_KEY + b"\r\n"
                b"Sec-WebSocket-Protocol: chat\r\n"
                b"server: test\r\n"
                b"X-Own: 1\r\n"
                b"\r\n"
            )

    run(main())


@asynccontextmanager
async def behind_uvicorn(http: str) -> AsyncIterator[Client]:
    """Serve the echo behind one of uvicorn's own HTTP protocols, to one client."""
    config = Config(app=echo, http=http, ws=WebSocketProtocol, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    near, far = socket.socketpair()
    await asyncio.get_running_loop().connect_accepted_socket(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state={}), near
    )
    yield Client(far)
    far.close()
    await until(lambda: not state.connections and not state.tasks)


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_uvicorns_own_http_protocol_hands_over_to_it(run: Run, http: str) -> None:
    async def main() -> None:
        async with behind_uvicorn(http) as client:
            await client.open()
            await client.write(text("Hello"))
            assert await client.read_frame() == (1, b"Hello")
            await client.write(close(1000))
            assert await client.read_close_code() == 1000
            assert await client.read_to_end() == b""

    run(main())


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_handshake_over_http_1_0_is_refused_although_uvicorn_rewrites_it(
    run: Run, http: str
) -> None:
    async def main() -> None:
        async with behind_uvicorn(http) as client:
            await client.write(request().replace(b"HTTP/1.1", b"HTTP/1.0"))
            answer = await client.read_to_end()
            assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
            assert b"got HTTP/1.0" in answer

    run(main())


def test_client_without_an_address_is_served(run: Run) -> None:
    scopes: list[Scope] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    async def main() -> None:
        server = Server(application, None, {})
        near, far = socket.socketpair()
        await asyncio.get_running_loop().connect_accepted_socket(lambda: Front(server), near)
        client = Client(far)
        await client.open()
        assert scopes[0]["client"] is None
        far.close()
        await server.wait_until_empty()

    run(main())


@pytest.mark.parametrize(
    ("data", "status", "sentence"),
    [
        (request(version=8), b"426 Upgrade Required", b"must be 13"),
        (request().replace(b"GET", b"PUT"), b"400 Bad Request", b"must be a GET request"),
        (request().replace(b"Host", b"Hose"), b"400 Bad Request", b"Host header"),
        (request("/", "no colon"), b"400 Bad Request", b"Every header"),
        (request("/\xff"), b"400 Bad Request", b"request line"),
    ],
)
def test_handshake_that_breaks_a_rule_is_told_which_and_closed(
    run: Run, data: bytes, status: bytes, sentence: bytes
) -> None:
    called = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        called.append(scope)

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.write(data)
            answer = await client.read_to_end()

            assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
            assert b"\r\nConnection: close\r\n" in answer
            assert sentence in answer.partition(b"\r\n\r\n")[2]
            if status.startswith(b"426"):
                assert b"\r\nsec-websocket-version: 13\r\n" in answer
            assert not called

    run(main())


def test_application_that_closes_first_refuses_with_403(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close"})
        await receive()
        assert (await receive())["type"] == "websocket.disconnect"

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.write(request())
            assert (await client.read_to_end()).startswith(b"HTTP/1.1 403 Forbidden\r\n")

    run(main())


def test_application_that_responds_refuses_with_its_response(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "websocket.http.response.start", "status": 401, "headers": [(b"a", b"b")]}
        )
        await send({"type": "websocket.http.response.body", "body": b"No."})

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.write(request())
            assert await client.read_to_end() == (
                b"HTTP/1.1 401 Unauthorized\r\nserver: test\r\na: b\r\n"
                b"Content-Length: 3\r\nConnection: close\r\n\r\nNo."
            )

    run(main())


async def return_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """Forget to answer."""


async def raise_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError("of the application")


async def accept_with_a_bad_header(scope: Scope, receive: Receive, send: Send) -> None:
    await send({**ACCEPT, "headers": [(b"X-Evil", b"a\r\nSet-Cookie: b=1")]})


async def refuse_with_a_bad_header(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"X-Evil", b"a\r\nSet-Cookie: b=1")]
    await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
    await send({"type": "websocket.http.response.body"})


@pytest.mark.parametrize(
    ("application", "logged"),
    [
        (return_at_once, "returned without answering"),
        (raise_at_once, "Exception in ASGI application"),
        (accept_with_a_bad_header, "Exception in ASGI application"),
        (refuse_with_a_bad_header, "Exception in ASGI application"),
    ],
)
def test_application_that_fails_to_answer_is_logged_and_the_client_told_500(
    run: Run, caplog: pytest.LogCaptureFixture, application: Any, logged: str
) -> None:
    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.write(request())
            answer = await client.read_to_end()
            assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
            assert b"Set-Cookie" not in answer

    run(main())
    assert [record.name for record in caplog.records if logged in record.message] == [
        "uvicorn.error"
    ]


def test_second_answer_raises(run: Run) -> None:
    raised: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel = find_channel(scope, receive, send)
        assert channel is not None
        channel.accept()
        for answer in (channel.accept, lambda: channel.refuse(403, (), b"")):
            with pytest.raises(RuntimeError) as caught:
                answer()
            raised.append(str(caught.value))

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            assert await client.read_close_code() == 1000

    run(main())
    assert raised == ["the handshake has been answered already"] * 2


def test_client_that_goes_before_the_answer_is_answered_nothing(run: Run) -> None:
    outcome: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        outcome.append((await receive())["type"])
        await send(ACCEPT)
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.send", "text": "late"})
        outcome.append("told")

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.write(request())
            await until(lambda: bool(server.protocols))
            client.reset()
            await server.wait_until_empty()
            assert outcome == ["websocket.disconnect", "told"]

    run(main())


@pytest.mark.parametrize("access_log", [True, False])
def test_handshakes_are_in_the_access_log(
    run: Run, caplog: pytest.LogCaptureFixture, access_log: bool
) -> None:
    async def main() -> None:
        async with serve(echo, access_log=access_log) as server:
            client = await server.connect()
            await client.open(path="/a%20b?c=d")
            port = client.socket.getsockname()[1]
            expected = f'127.0.0.1:{port} - "GET /a%20b?c=d HTTP/1.1" 101'
            lines = [r.getMessage() for r in caplog.records if r.name == "uvicorn.access"]
            assert lines == ([expected] if access_log else [])

    with caplog.at_level(logging.INFO, "uvicorn.access"):
        run(main())


@pytest.mark.parametrize("character", ["\t", "\x0c", "\x1b", "\n", "\x7f"])
def test_what_is_not_printable_is_escaped_in_the_access_log(
    run: Run, caplog: pytest.LogCaptureFixture, character: str
) -> None:
    async def main() -> None:
        async with serve(echo) as server:
            client = await server.connect()
            await client.open(path=f"/?a{character}b")
            lines = [r.getMessage() for r in caplog.records if r.name == "uvicorn.access"]
            assert len(lines) == 1
            assert lines[0].isprintable()
            assert "/?a\\" in lines[0]

    with caplog.at_level(logging.INFO, "uvicorn.access"):
        run(main())


def test_protocol_has_no_instance_dictionary(run: Run) -> None:
    async def main() -> None:
        async with serve(echo) as server:
            await (await server.connect()).open()
            assert not hasattr(server.protocols[0], "__dict__")

    run(main())


# Data before the 101


def test_frames_sent_together_with_the_request_are_delivered_behind_the_acceptance(
    run: Run,
) -> None:
    received: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        # Nothing of the frames may be seen before the handshake is answered.
        task = asyncio.ensure_future(receive())
        await let_others_run()
        assert not task.done()
        await send(ACCEPT)
        received.append(await task)
        while received[-1]["type"] == "websocket.receive":
            received.append(await receive())

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open(early=text("one") + ping(b"?") + binary(b"two") + close(1001))
            assert await client.read_frame() == (10, b"?")
            assert await client.read_close_code() == 1001
            assert await client.read_to_end() == b""

    run(main())
    assert [event.get("text") or event.get("bytes") or event["code"] for event in received] == [
        "one",
        b"two",
        1001,
    ]


def test_frames_cut_anywhere_by_the_acceptance_are_delivered(run: Run) -> None:
    async def main() -> None:
        async with serve(echo) as server:
            frame = text("Hello")
            for cut in range(1, len(frame)):
                client = await server.connect()
                await client.open(early=frame[:cut])
                await client.write(frame[cut:])
                assert await client.read_frame() == (1, b"Hello")
                client.socket.close()

    run(main())


def test_early_fault_fails_the_connection_behind_the_acceptance(run: Run) -> None:
    async def main() -> None:
        async with serve(echo) as server:
            client = await server.connect()
            await client.open(early=b"\xff" * 20)
            assert await client.read_close_code() == 1002

    run(main())


def test_flood_before_the_answer_waits_in_the_network(run: Run) -> None:
    accept = asyncio.Event()
    messages = [bytes((number,)) * 50_000 for number in range(200)]

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept.wait()
        await echo(scope, receive, send)

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.write(request())
            flood = asyncio.ensure_future(client.write(b"".join(map(binary, messages))))
            await until(lambda: server.transports and not server.transports[0].is_reading())
            assert not flood.done()
            accept.set()
            await client.read_head()
            for message in messages:
                assert await client.read_frame() == (2, message)
            await flood

    run(main())
