"""The HTTP protocols in front: what the head of a request may be, and what follows it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn_parts
from loopback import close, request, text
from uvicorn_parts import PAGE, application, status_of

from adwebsocket.transport.limits import Limits
from adwebsocket.transport.uvicorn_front import FrontProtocol
from adwebsocket.transport.uvicorn_http import HttpProtocol

if TYPE_CHECKING:
    from event_loops import Run
    from loopback import Receive, Send
    from uvicorn_parts import Serve


@pytest.fixture(params=[HttpProtocol, FrontProtocol])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Give ``uvicorn_parts.serve``, once for each class that uvicorn may be given."""
    return partial(uvicorn_parts.serve, request.param)


def test_page_and_websocket_are_served(run: Run, serve: Serve) -> None:
    async def main() -> None:
        async with serve() as server:
            client = await server.connect()
            await client.write(PAGE)
            assert b"200 OK" in await client.read_head()
            await client.read_some()
            # On the same connection
            await client.open()
            await client.write(text("a"))
            assert await client.read_frame() == (1, b"a")

    run(main())


@pytest.mark.parametrize("target", ["page", "websocket"])
def test_head_that_comes_byte_by_byte_is_read(run: Run, serve: Serve, target: str) -> None:
    async def main() -> None:
        async with serve() as server:
            client = await server.connect()
            for byte in PAGE if target == "page" else request("/"):
                await client.write(bytes([byte]))
                await asyncio.sleep(0)
            assert status_of(await client.read_head()) == (200 if target == "page" else 101)

    run(main())


@pytest.mark.parametrize("begun", [b"", b"G", PAGE[:-2], request("/")[:-1]])
def test_head_that_does_not_end_in_time_ends_the_connection(
    run: Run, serve: Serve, begun: bytes
) -> None:
    async def main() -> None:
        async with serve(Limits(handshake_timeout=0.1)) as server:
            client = await server.connect()
            await client.write(begun)
            answer = await client.read_to_end()
            if begun:
                assert status_of(answer) == 408
                assert answer.endswith(b"did not come in time.\n")
            else:
                assert answer == b""

    run(main())


def test_head_of_a_second_request_has_its_time_too(run: Run, serve: Serve) -> None:
    async def main() -> None:
        async with serve(Limits(handshake_timeout=0.2)) as server:
            client = await server.connect()
            await client.write(PAGE)
            assert status_of(await client.read_head()) == 200
            await client.read_some()
            # Between requests a connection may be silent for longer: that is uvicorn's setting.
            await asyncio.sleep(0.4)
            await client.write(b"GET / HT")
            assert status_of(await client.read_to_end()) == 408

    run(main())


def test_nobody_is_hurried_without_a_timeout(run: Run, serve: Serve) -> None:
    async def main() -> None:
        async with serve(Limits(handshake_timeout=None)) as server:
            client = await server.connect()
            await client.write(PAGE[:10])
            await asyncio.sleep(0.1)
            await client.write(PAGE[10:])
            assert status_of(await client.read_head()) == 200

    run(main())


@pytest.mark.parametrize("timeout", [10, None])
def test_head_without_end_is_431(run: Run, serve: Serve, timeout: float | None) -> None:
    async def main() -> None:
        limits = Limits(max_header_size=1000, handshake_timeout=timeout)
        async with serve(limits) as server:
            client = await server.connect()
            await client.write(PAGE[:-2])
            for number in range(50):
                await client.write(b"X-%d: %s\r\n" % (number, b"x" * 43))
                await asyncio.sleep(0)
            assert status_of(await client.read_to_end()) == 431

    run(main())


async def slow_page(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await asyncio.sleep(0.5)
    await application(scope, receive, send)


def test_head_behind_a_request_that_is_being_served_has_time(run: Run, serve: Serve) -> None:
    async def main() -> None:
        async with serve(Limits(handshake_timeout=0.2), slow_page) as server:
            client = await server.connect()
            await client.write(PAGE + PAGE + PAGE[:10])
            for _ in range(2):
                assert status_of(await client.read_head()) == 200
                assert await client.read_some() == b"page"
            assert status_of(await client.read_to_end()) == 408

    run(main())


def test_handshake_behind_a_request_that_is_being_served_is_not_answered_before_it(
    run: Run, serve: Serve
) -> None:
    async def main() -> None:
        async with serve(served=slow_page) as server:
            client = await server.connect()
            await client.write(PAGE + PAGE + request("/") + text("early"))
            for _ in range(2):
                assert status_of(await client.read_head()) == 200
                assert (await client.read_some()).startswith(b"page")
            assert await client.read_to_end() == b""

    run(main())


def test_overlong_head_behind_a_request_that_is_being_served_gets_no_answer(
    run: Run, serve: Serve
) -> None:
    async def main() -> None:
        limits = Limits(max_header_size=1000)
        async with serve(limits, slow_page) as server:
            client = await server.connect()
            await client.write(PAGE)
            await asyncio.sleep(0.1)
            await client.write(b"GET / HTTP/1.1\r\nX-Long: ")
            await asyncio.sleep(0.1)
            with contextlib.suppress(ConnectionError):
                for _ in range(10):
                    await client.write(b"x" * 500)
                    await asyncio.sleep(0)
                assert await client.read_to_end() == b""

    run(main())


@pytest.mark.parametrize("piece", [b"X-%d: y\r\n", b"%d"])
def test_endless_trailers_end_the_connection(run: Run, serve: Serve, piece: bytes) -> None:
    async def main() -> None:
        async with serve(Limits(max_header_size=1000), slow_page) as server:
            client = await server.connect()
            await client.write(
                b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"3\r\nabc\r\n0\r\nX-First: "
            )
            with contextlib.suppress(ConnectionError):
                for number in range(2000):
                    await client.write(piece % number)
                    await asyncio.sleep(0)
                await client.read_to_end()

    run(main())


def test_chunks_as_small_as_can_be_are_a_body_all_the_same(run: Run, serve: Serve) -> None:
    async def main() -> None:
        async with serve(Limits(max_header_size=200)) as server:
            client = await server.connect()
            await client.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(500):
                await client.write(b"1\r\nx\r\n")
            await client.write(b"0\r\nX-Trailer: y\r\n\r\n")
            assert status_of(await client.read_head()) == 200

    run(main())


def test_blank_line_behind_a_response_begins_a_head(run: Run, serve: Serve) -> None:
    async def main() -> None:
        async with serve(Limits(handshake_timeout=0.2)) as server:
            client = await server.connect()
            await client.write(PAGE)
            assert status_of(await client.read_head()) == 200
            await client.read_some()
            await client.write(b"\r\n")
            await client.read_to_end()

    run(main())


def test_handshake_in_one_piece_that_is_too_long_is_431(run: Run, serve: Serve) -> None:
    async def main() -> None:
        async with serve(Limits(max_header_size=1000)) as server:
            client = await server.connect()
            await client.write(request("/", f"X-Long: {'x' * 1000}"))
            answer = await client.read_to_end()
            assert status_of(answer) == 431
            assert b"may have 1000 bytes, got 1" in answer

    run(main())


def test_body_has_no_part_in_the_size_of_the_head(run: Run, serve: Serve) -> None:
    async def main() -> None:
        async with serve(Limits(max_header_size=1000)) as server:
            client = await server.connect()
            head = b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 5000\r\n\r\n"
            await client.write(head + b"x" * 2500)
            await client.write(b"x" * 2500)
            assert status_of(await client.read_head()) == 200

    run(main())


@pytest.mark.parametrize(
    "lines",
    [
        ["Upgrade: h2c, websocket", "Connection: Upgrade"],
        ["Upgrade: websocket", "Connection: keep-alive, Upgrade"],
        ["Upgrade: websocket", "Connection: keep-alive", "Connection: Upgrade"],
        ["Upgrade: h2c", "Upgrade: WebSocket", "Connection: upgrade"],
    ],
)
def test_tokens_in_lists_and_in_several_lines_are_found(
    run: Run, serve: Serve, lines: list[str]
) -> None:
    plain = request("/").decode().split("\r\n")
    head = [line for line in plain if not line.startswith(("Upgrade", "Connection"))]
    head[2:2] = lines

    async def main() -> None:
        async with serve() as server:
            client = await server.connect()
            await client.write("\r\n".join(head).encode())
            assert status_of(await client.read_head()) == 101

    run(main())


@pytest.mark.parametrize("cut", [0, 1, 10])
def test_frames_in_the_segment_of_the_handshake_are_read(run: Run, serve: Serve, cut: int) -> None:
    data = request("/") + text("early") + text("bird")

    async def main() -> None:
        async with serve() as server:
            client = await server.connect()
            await client.write(data[: len(data) - cut])
            assert status_of(await client.read_head()) == 101
            await client.write(data[len(data) - cut :])
            assert await client.read_frame() == (1, b"early")
            assert await client.read_frame() == (1, b"bird")

    run(main())


def test_websocket_keeps_nothing_of_what_has_read_its_handshake(run: Run, serve: Serve) -> None:
    async def main() -> None:
        async with serve() as server:
            client = await server.connect()
            gc.disable()
            try:
                await client.open()
                await client.write(text("a"))
                assert await client.read_frame() == (1, b"a")
                assert server.protocols[0]() is None
            finally:
                gc.enable()
            await client.write(close(1000))

    run(main())
