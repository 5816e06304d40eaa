"""The protocol class on real sockets: a peer that breaks the protocol behind good messages."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from event_loops import until
from loopback import ACCEPT, channel_of, close, echo, in_thread, serve, text

from adwebsocket.exceptions import ConnectionClosed
from adwebsocket.protocol.frames import encode_message
from adwebsocket.transport import stream_channel
from adwebsocket.transport.bridge import get_bridge
from adwebsocket.websocket import WebSocket

if TYPE_CHECKING:
    from event_loops import Run
    from loopback import Receive, Send


RESERVED_OPCODE = bytes((0x83, 0x80, 0, 0, 0, 0))
CLOSE_1002 = b"\x03\xea"


def echo_view(socket: WebSocket) -> None:
    for message in socket:
        socket.send(message)


@pytest.mark.parametrize("application", [echo, in_thread(echo_view)], ids=["ASGI", "thread"])
def test_what_the_view_says_to_the_messages_before_comes_before_the_close_frame(
    run: Run, application: Any
) -> None:
    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await client.write(text("a") + text("b") + RESERVED_OPCODE + text("ignored"))

            assert await client.read_frame() == (1, b"a")
            assert await client.read_frame() == (1, b"b")
            opcode, payload = await client.read_frame()
            assert (opcode, payload[:2]) == (8, CLOSE_1002)
            assert await client.read_to_end() == b""

    run(main())


def test_view_meets_the_end_behind_the_messages_with_its_code(run: Run) -> None:
    met: list[Any] = []

    def view(socket: WebSocket) -> None:
        met.append(socket.wait())
        met.append((socket.is_closed(), socket.closed, socket.close_code))
        met.append(socket.wait())
        met.append((socket.is_closed(), socket.closed, socket.close_code))
        with pytest.raises(ConnectionClosed, match="1002"):
            socket.send("late")
        with pytest.raises(ConnectionClosed, match="1002"):
            socket.wait()

    async def main() -> None:
        async with serve(in_thread(view)) as server:
            client = await server.connect()
            await client.open()
            await client.write(text("a") + RESERVED_OPCODE)
            assert await client.read_close_code() == 1002

    run(main())
    assert met == ["a", (False, False, None), None, (True, True, 1002)]


def test_view_that_does_not_come_back_is_not_waited_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_channel, "_GRACE", 0.05)
    go_on = threading.Event()
    met: list[Any] = []

    def view(socket: WebSocket) -> None:
        go_on.wait(20)
        met.extend([socket.wait(), socket.wait(), socket.close_code])
        with pytest.raises(ConnectionClosed):
            socket.send("late")

    async def main() -> None:
        async with serve(in_thread(view)) as server:
            client = await server.connect()
            await client.open()
            await client.write(text("a") + RESERVED_OPCODE)
            assert await client.read_close_code() == 1002
            go_on.set()

    run(main())
    assert met == ["a", None, 1002]


def test_view_that_returns_lets_the_close_frame_out(run: Run) -> None:
    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        channel.accept()
        await channel.inbox.wait_for_item()
        channel.write(encode_message("bye"))

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await client.write(text("a") + RESERVED_OPCODE)
            assert await client.read_frame() == (1, b"bye")
            assert await client.read_close_code() == 1002
            assert server.protocols[0].close_code == 1002

    run(main())


@pytest.mark.parametrize("how", ["end_writing", "reset"])
def test_client_that_goes_meanwhile_is_not_waited_for(run: Run, how: str) -> None:
    ready = threading.Event()
    ends: list[Any] = []

    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        await send(ACCEPT)
        await receive()
        ready.set()
        await channel.wait_ended()
        ends.append(channel.close_code)

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await client.write(text("a") + RESERVED_OPCODE)
            await until(ready.is_set)
            getattr(client, how)()
            if how == "end_writing":
                assert await client.read_close_code() == 1002
            await server.wait_until_empty()

    run(main())
    assert ends == [1002]


def test_server_that_stops_meanwhile_lets_the_close_frame_out(run: Run) -> None:
    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        await send(ACCEPT)
        await channel.wait_ended()

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await client.write(text("a") + RESERVED_OPCODE)
            await until(lambda: len(server.protocols[0].inbox.items) == 2)
            server.protocols[0].shutdown()
            assert await client.read_close_code() == 1002

    run(main())


def test_violation_behind_our_own_close_frame_needs_no_second_one(run: Run) -> None:
    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 4000})

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            assert await client.read_close_code() == 4000
            await client.write(RESERVED_OPCODE + close(1000))
            assert await client.read_to_end() == b""
            assert server.protocols[0].close_code == 4000

    run(main())


def test_many_takers_each_learn_of_the_end_once(run: Run) -> None:
    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        socket = WebSocket(channel, get_bridge())
        socket.accept()

        def take() -> str | bytes | None:
            try:
                return socket.wait()
            except ConnectionClosed:
                return "closed"

        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*(loop.run_in_executor(None, take) for _ in range(4)))
        assert sorted(map(str, results)) == ["None", "a", "closed", "closed"]
        done.append(True)

    done: list[bool] = []

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await until(lambda: len(server.protocols[0].inbox.waiters) == 4)
            await client.write(text("a") + RESERVED_OPCODE)
            assert await client.read_close_code() == 1002

    run(main())
    assert done == [True]
