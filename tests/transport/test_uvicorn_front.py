"""The first look at a connection: nobody can tell it from uvicorn's HTTP, except by a clock.

What is to be said of both is in ``test_uvicorn_http``. Here is how they compare, and what becomes
of a connection before its first byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pytest
import uvicorn_parts
from event_loops import let_others_run, until
from hypothesis import example, given, settings
from hypothesis import strategies as st
from loopback import KEY, close, request, text
from uvicorn_parts import PAGE, application, status_of

from adwebsocket.transport import uvicorn_front
from adwebsocket.transport.limits import Limits
from adwebsocket.transport.uvicorn_front import FrontProtocol
from adwebsocket.transport.uvicorn_http import HttpProtocol
from adwebsocket.transport.uvicorn_protocol import WebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from event_loops import Run
    from loopback import Client, Receive, Send
    from uvicorn_parts import Serve, Server

    from tests.certificates import Certificate

    Answer: TypeAlias = "tuple[bytes, list[dict[str, Any]]]"

PROPERTY = settings(max_examples=400, deadline=None, derandomize=True)
CLASSES = [HttpProtocol, FrontProtocol]

serve: Serve = partial(uvicorn_parts.serve, FrontProtocol)


class Recorder:
    """The application, which notes the scopes without what no two connections share."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        own = ("client", "server", "extensions")
        self.scopes.append({name: scope[name] for name in scope if name not in own})
        await application(scope, receive, send)


async def ask(server: Server, recorder: Recorder, pieces: Sequence[bytes]) -> Answer:
    """Send pieces and the end, and give what comes back and what the application was told."""
    recorder.scopes.clear()
    client = await server.connect()
    # It listens from the start: the server may refuse the first piece, and reset at the second.
    answer = asyncio.ensure_future(collect(client))
    with contextlib.suppress(OSError):
        for piece in pieces:
            await client.write(piece)
            await let_others_run()
        await let_others_run()
        client.end_writing()
    received = await answer
    client.socket.close()
    await until(lambda: not server.state.connections and not server.state.tasks)
    return received, list(recorder.scopes)


async def collect(client: Client) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError, EOFError):
        while True:
            received += await client.read_some()
    return received


# The same answers

GOOD = [
    b"Host: example.com",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: " + KEY,
    b"Sec-WebSocket-Version: 13",
]
REQUEST_LINES = [
    b"GET / HTTP/1.1",
    b"GET /a?b=c HTTP/1.1",
    b"GET //x/y HTTP/1.1",
    b"GET /%2e%2F%00%ff%zz?%zz HTTP/1.1",
    b'GET /"<>\\^`{|} HTTP/1.1',
    b"GET /;x:80@y/../..?a?b//c HTTP/1.1",
    b"GET /\xe9 HTTP/1.1",
    b"GET /a?b#c HTTP/1.1",
    b"GET /a b HTTP/1.1",
    b"GET /\t HTTP/1.1",
    b"GET /\x00 HTTP/1.1",
    b"GET http://other.example/a HTTP/1.1",
    b"GET * HTTP/1.1",
    b"GET  / HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b"GET /",
    b"\r\nGET / HTTP/1.1",
    b"GET / HTTP/1.0",
    b"GET / HTTP/1.2",
    b"GET / HTTP/2.0",
    b"PRI * HTTP/2.0",
    b"GET / http/1.1",
    b"get / HTTP/1.1",
    b"POST / HTTP/1.1",
]
MORE_LINES = [
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length : 5",
    b"Content-Length: x",
    b"Content-Length:",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Trailer: x",
    b"Expect: 100-continue",
    b"Host: other.example",
    b"Connection: close",
    b"Connection: ,upgrade\t,x",
    b"Connection: upgrade;x",
    b'Connection: "upgrade"',
    b"Connection: TE upgrade",
    b"Proxy-Connection: close",
    b"Upgrade: h2c",
    b"Upgrade: h2c, WebSocket",
    b"HTTP2-Settings: AA",
    b"Sec-WebSocket-Key: a",
    b"Sec-WebSocket-Version: 8",
    b"Sec-WebSocket-Protocol: a, b",
    b"Sec-WebSocket-Extensions: permessage-deflate",
    b"Cookie: a=b",
    b"X:y",
    b"X:\t y \t",
    b"X : y",
    b"X:",
    b": y",
    b"x",
    b" folded",
    b"\tfolded",
    b"X: a\nY: b",
    b"X: a\rY: b",
    b"X: a\x00b",
    b"X: \x7f",
    b"X: \x80\xff",
    b"X\xe9: y",
]
BEHIND = [
    text("early"),
    text("early") + text("bird"),
    b"hello",
    b"5\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n",
    PAGE,
    request("/second"),
]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Make a handshake of good and bad lines, and spoil a byte of some."""
    lines = draw(st.one_of(st.just(GOOD), st.permutations(GOOD))).copy()
    if draw(st.integers(0, 5)) == 0:
        lines.pop()
    for line in draw(st.lists(st.sampled_from(MORE_LINES), max_size=3)):
        lines.insert(draw(st.integers(0, len(lines))), line)
    change = draw(st.sampled_from([bytes, bytes, bytes.upper, bytes.lower]))
    lines = [line if KEY in line else change(line) for line in lines]
    first = draw(st.one_of(st.just(REQUEST_LINES[0]), st.sampled_from(REQUEST_LINES)))
    line_end = draw(st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r"]))
    head = line_end.join([first, *lines, b"", b""])
    if draw(st.integers(0, 4)) == 0:
        place = draw(st.integers(0, len(head) - 1))
        bad = draw(st.sampled_from([b"", *(bytes([byte]) for byte in b"\x00\t\n\r :,;/\x7f\xff")]))
        head = head[:place] + bad + head[place + draw(st.booleans()) :]
    behind = draw(st.one_of(st.just(b""), st.sampled_from(BEHIND)))
    before = draw(st.sampled_from([b""] * 9 + [PAGE]))
    return before + head + behind


class Pair:
    """A server of each class on one event loop, which run while they are asked."""

    def __init__(self, runner: asyncio.Runner, servers: list[Server], recorder: Recorder) -> None:
        self._runner = runner
        self._servers = servers
        self._recorder = recorder

    def ask(self, pieces: Sequence[bytes]) -> list[Answer]:
        async def ask_both() -> list[Answer]:
            async with asyncio.timeout(20):
                return [await ask(server, self._recorder, pieces) for server in self._servers]

        return self._runner.run(ask_both())


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    recorder = Recorder()
    contexts = [uvicorn_parts.serve(one, None, recorder) for one in CLASSES]
    logger = logging.getLogger("uvicorn.error")
    with asyncio.Runner() as runner:
        servers = [runner.run(context.__aenter__()) for context in contexts]
        logger.disabled = True
        yield Pair(runner, servers, recorder)
        logger.disabled = False
        for context in contexts:
            runner.run(context.__aexit__(None, None, None))


@PROPERTY
@given(data=requests(), cut=st.one_of(st.just(0), st.integers(0, 300)))
@example(data=request("/"), cut=0)
@example(data=request("/") + text("early"), cut=0)
@example(data=request("/", "Content-Length: 5") + text("early"), cut=0)
def test_any_request_is_answered_as_without_the_front(pair: Pair, data: bytes, cut: int) -> None:
    pieces = [piece for piece in (data[:cut], data[cut:]) if piece]

    without, with_front = pair.ask(pieces)

    assert with_front == without


@PROPERTY
@given(data=requests(), cut=st.integers(0, 300))
def test_first_request_is_answered_the_same_wherever_it_is_cut(
    pair: Pair, data: bytes, cut: int
) -> None:
    data = data.removeprefix(PAGE)

    _, (whole, scopes) = pair.ask([data])
    _, (in_pieces, scopes_of_pieces) = pair.ask([data[:cut], data[cut:]])

    assert scopes_of_pieces[:1] == scopes[:1]
    # A fault behind a page may be seen before the page is sent, and ends the connection.
    if not in_pieces.startswith(b"HTTP/1.1 200 "):
        assert in_pieces == whole
        assert scopes_of_pieces == scopes


# Who gets what


@pytest.mark.parametrize(
    ("data", "is_passed_on"),
    [
        (request("/"), False),
        (request("/a/b?c=d%20e"), False),
        (request("/", "Cookie: a=b", "X-Empty:"), False),
        (request("/") + text("early"), False),
        (PAGE, True),
        (request("/")[:-1], True),
        (b"\r\n" + request("/"), True),
        (request("http://example.com/"), True),
        (request("/#a"), True),
        (request("/", version=8), True),
        (request("/", "Content-Length: 0"), True),
        (request("/", "Transfer-Encoding: chunked"), True),
        (request("/").replace(b"HTTP/1.1", b"HTTP/1.0"), True),
        (request("/").replace(b"HTTP/1.1", b"HTTP/1.2"), True),
        (request("/").replace(b"Upgrade: websocket", b"Upgrade: h2c"), True),
    ],
)
def test_handshake_in_order_passes_by_http_and_all_else_does_not(
    run: Run, monkeypatch: pytest.MonkeyPatch, data: bytes, is_passed_on: bool
) -> None:
    made: list[HttpProtocol] = []

    class Noted(HttpProtocol):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(uvicorn_front, "HttpProtocol", Noted)

    async def main() -> None:
        async with serve() as server:
            client = await server.connect()
            await client.write(data)
            await let_others_run(20)
            client.end_writing()
            await client.read_until_gone()

    run(main())
    assert bool(made) == is_passed_on


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("protocol_class", CLASSES)
def test_head_may_be_as_long_as_the_limit(
    run: Run, protocol_class: type[asyncio.Protocol], over: int
) -> None:
    async def main() -> None:
        limits = Limits(max_header_size=1000)
        async with uvicorn_parts.serve(protocol_class, limits) as server:
            client = await server.connect()
            filler = "x" * (1000 + over - len(request("/", "X-Long: ")))
            await client.write(request("/", f"X-Long: {filler}") + text("behind it"))
            assert status_of(await client.read_head()) == (431 if over else 101)

    run(main())


@pytest.mark.parametrize("ws", ["none", "websockets-sansio"])
def test_other_websocket_classes_are_served_by_http(run: Run, ws: str) -> None:
    async def main() -> None:
        async with serve(ws=ws) as server:
            client = await server.connect()
            await client.write(request("/"))
            assert status_of(await client.read_head()) == (200 if ws == "none" else 101)
            client.end_writing()
            await client.read_until_gone()

    run(main())


# What the application is told


@pytest.mark.parametrize(
    "options",
    [
        {"root_path": "/below"},
        {"forwarded_allow_ips": "*"},
        {"limit_concurrency": 1},
        {"proxy_headers": False},
    ],
)
def test_options_of_uvicorn_count_as_without_the_front(
    run: Run, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    seen: list[Any] = []

    async def noted(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        seen.append((scope["scheme"], scope["path"], scope["raw_path"], scope["client"][0]))
        await application(scope, receive, send)

    async def main(protocol_class: type[asyncio.Protocol]) -> None:
        async with uvicorn_parts.serve(protocol_class, None, noted, **options) as server:
            server.state.default_headers = [(b"server", b"test")]
            for data in [request("/a?b", "X-Forwarded-For: 10.0.0.1"), PAGE]:
                client = await server.connect()
                await client.write(data)
                seen.append(await client.read_head())
        seen.extend(record.message.partition(" - ")[2] for record in caplog.records)

    found = []
    with caplog.at_level(logging.INFO, "uvicorn.access"):
        for protocol_class in CLASSES:
            run(main(protocol_class))
            found.append(seen.copy())
            seen.clear()
            caplog.clear()

    assert found[0] == found[1]
    assert f'"GET {options.get("root_path", "")}/a?b HTTP/1.1" 101' in found[1]


def test_unix_socket_is_served(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    seen = []

    async def noted(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        seen.append((scope["server"], scope["client"]))
        await application(scope, receive, send)

    async def main() -> None:
        async with serve(None, noted, path=path) as server:
            client = await server.connect()
            await client.open(early=text("early"))
            assert await client.read_frame() == (1, b"early")

    run(main())
    assert seen == [((path, None), None)]


# The books, and what is left behind


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b"", FrontProtocol), (b"G", HttpProtocol), (request("/"), WebSocketProtocol)],
)
def test_connection_stands_in_the_books_once_and_not_for_longer_than_it_lasts(
    run: Run, data: bytes, kind: type
) -> None:
    async def main() -> None:
        async with serve() as server:
            books = cast("set[Any]", server.state.connections)
            client = await server.connect()
            await client.write(data)
            await until(lambda: any(isinstance(protocol, kind) for protocol in books))
            assert len(books) == 1
            client.reset()
            await until(lambda: not books)

    run(main())


def test_connections_are_counted_once_each(run: Run) -> None:
    async def main() -> None:
        async with serve() as server:
            count = iter(range(10))
            server.config.on_connection = partial(next, count)  # type: ignore[attr-defined]
            for data in [request("/"), PAGE]:
                client = await server.connect()
                await client.write(data)
                await client.read_head()
            assert next(count) == 2

    run(main())


@pytest.mark.parametrize("data", [b"", PAGE, request("/")])
def test_nothing_is_left_of_a_lost_connection_for_the_garbage_collector(
    run: Run, data: bytes
) -> None:
    async def main() -> None:
        async with serve() as server:
            client = await server.connect()
            gc.disable()
            try:
                await client.write(data)
                if data:
                    await client.read_head()
                    assert server.protocols[0]() is None
                client.socket.close()
                await until(lambda: bool(server.protocols) and server.protocols[0]() is None)
            finally:
                gc.enable()

    run(main())


def test_clients_that_reset_at_once_leave_no_error(run: Run) -> None:
    errors: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        async with serve() as server:
            for data in [b"", b"G", PAGE, request("/"), request("/") + text("early")]:
                client = await server.connect()
                await client.write(data)
                client.reset()
            await until(lambda: len(server.protocols) == 5)
            await until(lambda: not server.state.connections and not server.state.tasks)

    run(main())
    assert errors == []


# Time, and the end of the server


def test_first_byte_does_not_begin_the_time_anew(run: Run) -> None:
    async def main() -> None:
        async with serve(Limits(handshake_timeout=10)) as server:
            books = cast("set[Any]", server.state.connections)
            client = await server.connect()
            await until(lambda: bool(books))
            (front,) = books
            deadline = front._timer.when()
            await asyncio.sleep(0.05)
            await client.write(b"G")
            await until(lambda: front not in books and bool(books))
            (http,) = books
            assert http._head_timer.when() == pytest.approx(deadline, abs=0.01)

    run(main())


@pytest.mark.parametrize("protocol_class", CLASSES)
def test_byte_by_byte_does_not_hold_a_connection_for_longer(
    run: Run, protocol_class: type[asyncio.Protocol]
) -> None:
    async def main() -> None:
        async with uvicorn_parts.serve(protocol_class, Limits(handshake_timeout=0.3)) as server:
            client = await server.connect()
            answer = asyncio.ensure_future(collect(client))
            with contextlib.suppress(ConnectionError):
                await client.write(b"GET / HTTP/1.1\r\nX: ")
                while not answer.done():
                    await client.write(b"x")
                    await asyncio.sleep(0.02)
            assert status_of(await answer) == 408

    run(main())


def test_websocket_has_no_timer_of_the_front(run: Run) -> None:
    async def main() -> None:
        async with serve(Limits(handshake_timeout=0.1)) as server:
            client = await server.connect()
            await client.open()
            await asyncio.sleep(0.3)
            await client.write(text("still here"))
            assert await client.read_frame() == (1, b"still here")

    run(main())


@pytest.mark.parametrize("data", [b"", request("/")])
def test_server_that_stops_says_so_to_who_has_asked_for_something(run: Run, data: bytes) -> None:
    async def main() -> None:
        async with serve() as server:
            books = cast("set[Any]", server.state.connections)
            client = await server.connect()
            if data:
                await client.open()
            await until(lambda: bool(books))
            for protocol in list(books):
                protocol.shutdown()
            if data:
                assert await client.read_close_code() == 1012
                await client.write(close(1012))
            assert await client.read_to_end() == b""
            await until(lambda: not books)

    run(main())


# TLS


class TlsClient:
    """A client whose TLS does what the test says, and nothing by itself."""

    def __init__(self, client: Client, context: ssl.SSLContext) -> None:
        self._client = client
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    async def start(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                self._incoming.write(await self._client.read_some())
            else:
                return await self._flush()

    async def write(self, data: bytes) -> None:
        self._tls.write(data)
        await self._flush()

    async def read(self) -> bytes:
        while True:
            try:
                return self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._incoming.write(await self._client.read_some())

    async def _flush(self) -> None:
        await self._client.write(self._outgoing.read())


@contextlib.asynccontextmanager
async def serve_tls(
    certificate: Certificate, limits: Limits | None = None, served: Any = application
) -> AsyncIterator[tuple[Server, TlsClient]]:
    files = {"ssl_certfile": certificate.file, "ssl_keyfile": certificate.key_file}
    async with serve(limits, served, **files) as server:
        client = TlsClient(await server.connect(), certificate.trust)
        await client.start()
        yield server, client


def test_handshake_over_tls_is_served(run: Run, certificate: Certificate) -> None:
    recorder = Recorder()

    async def main() -> None:
        async with serve_tls(certificate, None, recorder) as (_, client):
            await client.write(request("/"))
            assert status_of(await client.read()) == 101

    run(main())
    assert [scope["scheme"] for scope in recorder.scopes] == ["wss"]


def test_silent_client_that_does_not_agree_to_the_end_of_tls_is_cut(
    run: Run, certificate: Certificate
) -> None:
    async def main() -> None:
        async with serve_tls(certificate, Limits(handshake_timeout=0.1)) as (server, _):
            await until(lambda: bool(server.state.connections))
            # asyncio and uvloop would wait for half a minute, which is more than a test may take.
            await until(lambda: not server.state.connections)

    run(main())


def test_handshake_behind_the_end_is_not_served(run: Run, certificate: Certificate) -> None:
    recorder = Recorder()

    async def main() -> None:
        async with serve_tls(certificate, Limits(handshake_timeout=0.3), recorder) as (
            server,
            client,
        ):
            books = cast("set[Any]", server.state.connections)
            await until(lambda: bool(books))
            (front,) = books
            front.shutdown()
            await client.write(request("/"))
            await until(lambda: not books)

    run(main())
    assert recorder.scopes == []
