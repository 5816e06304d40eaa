"""The protocol class on real sockets: messages both ways, compressed or not, and slow peers."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from event_loops import let_others_run, until
from loopback import ACCEPT, binary, echo, ping, serve, text
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.uri import parse_uri

from adwebsocket.protocol.deflate import DeflateOptions
from adwebsocket.transport.asgi_interface import find_channel
from adwebsocket.transport.limits import Limits

if TYPE_CHECKING:
    from event_loops import Run
    from loopback import Receive, Send

Scope = dict[str, Any]


# Messages


def test_messages_go_both_ways_in_order(run: Run) -> None:
    messages = ["", "one", b"two", b"", "é" * 63, b"x" * 125, "y" * 126, b"z" * 70_000]

    async def main() -> None:
        async with serve(echo) as server:
            client = await server.connect()
            await client.open()
            for message in messages:
                await client.write(text(message) if isinstance(message, str) else binary(message))
            for message in messages:
                expected = (1, message.encode()) if isinstance(message, str) else (2, message)
                assert await client.read_frame() == expected

    run(main())


def test_ping_is_answered_while_the_application_is_busy(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await client.write(ping(b"1") + ping(b""))
            assert await client.read_frame() == (10, b"1")
            assert await client.read_frame() == (10, b"")
            for task in server.state.tasks:
                task.cancel()

    run(main())


@pytest.mark.parametrize("configured_by", ["uvicorn", "application"])
def test_message_above_the_limit_closes_with_1009(run: Run, configured_by: str) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if configured_by == "application":
            channel = find_channel(scope, receive, send)
            assert channel is not None
            channel.configure(Limits(max_message_size=100))
        await echo(scope, receive, send)

    async def main() -> None:
        options = {"ws_max_size": 100} if configured_by == "uvicorn" else {}
        async with serve(application, **options) as server:
            client = await server.connect()
            await client.open()
            await client.write(binary(b"x" * 100))
            assert await client.read_frame() == (2, b"x" * 100)
            await client.write(binary(b"x" * 101))
            assert await client.read_close_code() == 1009

    run(main())


# Compression


@pytest.mark.parametrize("takeover", [True, False])
def test_messages_are_compressed_where_the_client_offers_it(run: Run, takeover: bool) -> None:
    options = DeflateOptions(context_takeover=takeover)
    message = "again and again " * 1000

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel = find_channel(scope, receive, send)
        assert channel is not None
        channel.configure(Limits(compression=options))
        await echo(scope, receive, send)

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            websockets_client = ClientProtocol(
                parse_uri("ws://example.com/"), extensions=[ClientPerMessageDeflateFactory()]
            )
            websockets_client.send_request(websockets_client.connect())
            await client.write(b"".join(websockets_client.data_to_send()))
            websockets_client.receive_data(await client.read_head())
            assert len(websockets_client.extensions) == 1
            websockets_client.events_received()
            for _ in range(3):
                websockets_client.send_text(message.encode())
                await client.write(b"".join(websockets_client.data_to_send()))
                events: list[Any] = []
                while not events:
                    data = await client.read_some()
                    assert len(data) < len(message) // 10
                    websockets_client.receive_data(data)
                    events = websockets_client.events_received()
                assert [bytes(event.data).decode() for event in events] == [message]

    run(main())


@pytest.mark.parametrize("offered", [True, False])
def test_nothing_is_compressed_unless_both_sides_want_it(run: Run, offered: bool) -> None:
    async def main() -> None:
        async with serve(echo, ws_per_message_deflate=not offered) as server:
            client = await server.connect()
            lines = ["Sec-WebSocket-Extensions: permessage-deflate"] if offered else []
            head = await client.open(*lines)
            assert b"extensions" not in head.lower()
            await client.write(text("x" * 1000))
            assert await client.read_frame() == (1, b"x" * 1000)

    run(main())


# Slow sides


def test_flood_waits_in_the_network_while_the_application_does_not_read(run: Run) -> None:
    read = asyncio.Event()
    messages = [str(number) * 1000 for number in range(20_000)]

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await read.wait()
        for message in messages:
            assert await receive() == {"type": "websocket.receive", "text": message}
        await send({"type": "websocket.send", "text": "all"})

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            flood = asyncio.ensure_future(client.write(b"".join(map(text, messages))))
            await until(lambda: not server.transports[0].is_reading())
            # The limit, and what one read may bring above it.
            assert server.protocols[0].inbox.count() < 5000
            assert not flood.done()
            read.set()
            await flood
            assert await client.read_frame() == (1, b"all")

    run(main())


@pytest.mark.parametrize("limit", [10_000, 1_000_000])
def test_application_waits_while_the_client_does_not_read(run: Run, limit: int) -> None:
    # More in all than the kernel takes for either side.
    payload, number = b"x" * 100_000, 500
    progress: list[int] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel = find_channel(scope, receive, send)
        assert channel is not None
        channel.configure(Limits(outbox_bytes=limit))
        await send(ACCEPT)
        for count in range(number):
            progress.append(count)
            await send({"type": "websocket.send", "bytes": payload})

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await until(lambda: not server.protocols[0].writable)
            await let_others_run()
            sent = len(progress)
            assert limit < server.transports[0].get_write_buffer_size() <= limit + 2 * len(payload)
            await let_others_run()
            assert len(progress) == sent < number
            for _ in range(number):
                assert await client.read_frame() == (2, payload)
            assert await client.read_close_code() == 1000

    run(main())


def test_pongs_to_a_client_that_does_not_read_have_a_bound(run: Run) -> None:
    bound = 1024 * 1024

    async def main() -> None:
        async with serve(echo) as server:
            client = await server.connect()
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await client.open()
            flood = ping(b"x" * 125) * 500
            rest = b""
            for _ in range(1000):
                try:
                    rest = rest or flood
                    rest = rest[client.socket.send(rest) :]
                except BlockingIOError:
                    pass  # the network is full, as it should be soon
                await let_others_run(2)
                assert server.transports[0].get_write_buffer_size() <= bound

    run(main())


def test_all_pings_are_answered_once_the_client_reads(run: Run) -> None:
    number = 150_000  # more than the kernel takes for both sides

    async def main() -> None:
        async with serve(echo) as server:
            client = await server.connect()
            await client.open()
            flood = asyncio.ensure_future(client.write(ping(b"x" * 125) * number + text("Hello")))
            await until(lambda: not server.transports[0].is_reading())
            # A message may overtake pongs that wait.
            frames = Counter([await client.read_frame() for _ in range(number + 1)])
            assert frames == {(10, b"x" * 125): number, (1, b"Hello"): 1}
            await flood

    run(main())
