"""The protocol class on real sockets: silence, pings that are waited for, peers that are stuck."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from event_loops import until
from loopback import ACCEPT, Client, binary, channel_of, close, in_thread, on_loop, serve, text
from websockets.frames import Frame, Opcode

from adwebsocket.exceptions import ConnectionClosed
from adwebsocket.transport.bridge import get_bridge
from adwebsocket.transport.limits import Limits
from adwebsocket.websocket import WebSocket

if TYPE_CHECKING:
    from event_loops import Run
    from loopback import Receive, Send

    from adwebsocket.async_websocket import AsyncWebSocket


QUICK = Limits(ping_interval=0.1, ping_timeout=0.2, close_timeout=0.1)
NO_PINGS = Limits(ping_interval=None)


def pong(payload: bytes) -> bytes:
    """Write a pong."""
    return Frame(Opcode.PONG, payload).serialize(mask=True)


class Listener:
    """An application that notes what it receives."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        while not self.events or self.events[-1]["type"] != "websocket.disconnect":
            self.events.append(await receive())


async def read_ping(client: Client) -> bytes:
    opcode, payload = await client.read_frame()
    assert opcode == Opcode.PING
    return payload


def test_client_that_has_gone_without_a_word_is_cut(run: Run) -> None:
    listener = Listener()

    async def main() -> None:
        async with serve(listener, QUICK) as server:
            client = await server.connect()
            await client.open()
            assert await read_ping(client) == b""
            # It reads, so that the close frame reaches it, and says nothing.
            assert await client.read_close_code() == 1011
            await server.wait_until_empty()

    run(main())
    assert listener.events == [
        {
            "type": "websocket.disconnect",
            "code": 1011,
            "reason": "no sign of life 0.2 seconds after a ping",
        }
    ]


@pytest.mark.parametrize(
    "answer",
    [pong(b""), text("busy"), text("half a fra")[:-3]],
    ids=["pong", "message", "half a message"],
)
def test_client_that_sends_anything_stays(run: Run, answer: bytes) -> None:
    async def main() -> None:
        async with serve(Listener(), QUICK) as server:
            client = await server.connect()
            await client.open()
            await read_ping(client)
            await client.write(answer)
            # Pinged again, so it has not been cut at the end of its time.
            await read_ping(client)

    run(main())


def test_client_whose_messages_nobody_takes_stays_and_its_close_frame_is_seen(run: Run) -> None:
    go_on = asyncio.Event()
    taken: list[Any] = []

    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send(ACCEPT)
        await go_on.wait()
        while (event := await receive())["type"] == "websocket.receive":
            taken.append(event["text"])
        taken.append(event["code"])

    async def main() -> None:
        limits = Limits(ping_interval=0.1, ping_timeout=0.1, inbox_messages=4, inbox_bytes=1000)
        async with serve(application, limits) as server:
            client = await server.connect()
            await client.open()
            await client.write(text("x") * 10)
            await until(lambda: server.protocols[0].inbox.paused)
            await client.write(text("y") * 10 + close(4000))
            # Many times as long as a silent client would have.
            await asyncio.sleep(1)
            assert not server.protocols[0].ended
            go_on.set()
            assert await client.read_close_code() == 4000

    run(main())
    assert taken == ["x"] * 10 + ["y"] * 10 + [4000]


def test_client_whose_answer_lies_unread_while_the_loop_is_stuck_stays(run: Run) -> None:
    async def main() -> None:
        async with serve(Listener(), QUICK) as server:
            client = await server.connect()
            await client.open()
            protocol = server.protocols[0]
            await until(lambda: protocol.pinged_at is not None)
            answer = threading.Timer(0.05, client.socket.send, [pong(b"")])
            answer.start()
            # Three times as long as the client has: nobody reads its answer meanwhile.
            time.sleep(0.6)  # noqa: ASYNC251
            answer.join()
            await asyncio.sleep(0.1)
            assert not protocol.ended

    run(main())


def test_client_that_is_still_taking_what_came_before_the_ping_stays(run: Run) -> None:
    async def view(socket: AsyncWebSocket) -> None:
        # All of it fits into the buffers of the system: to the transport it is gone.
        await socket.send(b"x" * 1_000_000)
        await socket.wait_closed()

    async def main() -> None:
        limits = Limits(ping_interval=0.2, ping_timeout=0.2, close_timeout=0.1)
        async with serve(on_loop(view), limits) as server:
            client = await server.connect(receive_buffer=20_000)
            await client.open()
            taken = 0
            for _ in range(150):
                await asyncio.sleep(0.01)
                # In small pieces: a client that reads without a pause, on a slow line.
                taken += len(await asyncio.get_running_loop().sock_recv(client.socket, 4000))
            assert taken < 1_000_000
            assert not server.protocols[0].ended

    run(main())


@pytest.mark.parametrize("reads_on", [True, False])
def test_silence_of_a_client_that_is_slower_than_we_are_does_not_count(
    run: Run, reads_on: bool
) -> None:
    async def view(socket: AsyncWebSocket) -> None:
        await socket.send(b"x" * 20_000_000)
        await socket.wait_closed()

    async def main() -> None:
        limits = Limits(ping_interval=0.1, ping_timeout=0.1, send_timeout=None, outbox_bytes=1000)
        async with serve(on_loop(view), limits) as server:
            client = await server.connect()
            await client.open()
            await until(lambda: not server.protocols[0].writable)
            await asyncio.sleep(1)
            assert not server.protocols[0].ended
            if reads_on:
                opcode, payload = await client.read_frame()
                assert (opcode, len(payload)) == (Opcode.BINARY, 20_000_000)
                # From now on it counts.
                assert await client.read_close_code() == 1011

    run(main())


def test_nobody_is_pinged_without_an_interval(run: Run) -> None:
    async def main() -> None:
        async with serve(Listener(), NO_PINGS) as server:
            client = await server.connect()
            await client.open()
            await asyncio.sleep(0.3)
            await client.write(close(1000))
            assert await client.read_frame() == (Opcode.CLOSE, b"\x03\xe8")

    run(main())


# Pings of a view


class PingView:
    """A view in either colour that pings once and notes what came of it."""

    def __init__(self, timeout: float | None = 20) -> None:
        self.timeout = timeout
        self.results: list[Any] = []

    def in_thread(self, socket: WebSocket) -> None:
        try:
            self.results.append(socket.ping(self.timeout))
        except Exception as error:
            self.results.append(error)

    async def on_loop(self, socket: AsyncWebSocket) -> None:
        try:
            self.results.append(await socket.ping(self.timeout))
        except Exception as error:
            self.results.append(error)

    def application(self, colour: str) -> Any:
        return in_thread(self.in_thread) if colour == "thread" else on_loop(self.on_loop)


both_colours = pytest.mark.parametrize("colour", ["thread", "loop"])


@both_colours
def test_ping_gives_the_time_until_the_pong(run: Run, colour: str) -> None:
    view = PingView()

    async def main() -> None:
        async with serve(view.application(colour), NO_PINGS) as server:
            client = await server.connect()
            await client.open()
            payload = await read_ping(client)
            await asyncio.sleep(0.05)
            await client.write(pong(b"another") + text("between") + pong(payload))
            assert await client.read_close_code() == 1000

    run(main())
    (latency,) = view.results
    assert 0.03 <= latency < 20


@both_colours
def test_ping_without_a_pong_times_out_and_is_forgotten(run: Run, colour: str) -> None:
    view = PingView(timeout=0.05)

    async def main() -> None:
        async with serve(view.application(colour), NO_PINGS) as server:
            client = await server.connect()
            await client.open()
            payload = await read_ping(client)
            assert await client.read_close_code() == 1000
            await client.write(pong(payload) + close(1000))
            await server.wait_until_empty()

    run(main())
    (error,) = view.results
    assert isinstance(error, TimeoutError)
    assert str(error) == "no pong came within 0.05 seconds"


@both_colours
@pytest.mark.parametrize("how", ["close frame", "end of stream"])
def test_ping_to_a_client_that_goes_raises(run: Run, colour: str, how: str) -> None:
    view = PingView(timeout=None)

    async def main() -> None:
        async with serve(view.application(colour), NO_PINGS) as server:
            client = await server.connect()
            await client.open()
            await read_ping(client)
            if how == "close frame":
                await client.write(close(4000))
            else:
                client.end_writing()
            await server.wait_until_empty()

    run(main())
    (error,) = view.results
    assert isinstance(error, ConnectionClosed)
    assert error.code == (4000 if how == "close frame" else 1006)


@both_colours
def test_ping_of_a_closed_socket_raises(run: Run, colour: str) -> None:
    errors: list[BaseException] = []

    def view(socket: WebSocket) -> None:
        socket.close(4001)
        with pytest.raises(ConnectionClosed) as caught:
            socket.ping()
        errors.append(caught.value)

    async def async_view(socket: AsyncWebSocket) -> None:
        socket.close(4001)
        with pytest.raises(ConnectionClosed) as caught:
            await socket.ping()
        errors.append(caught.value)

    async def main() -> None:
        application = in_thread(view) if colour == "thread" else on_loop(async_view)
        async with serve(application, NO_PINGS) as server:
            client = await server.connect()
            await client.open()
            assert await client.read_close_code() == 4001

    run(main())
    assert "4001" in str(errors[0])


def test_cancelled_ping_is_forgotten(run: Run) -> None:
    done: list[bool] = []

    async def view(socket: AsyncWebSocket) -> None:
        task = asyncio.create_task(socket.ping())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await socket.wait() == "go on"
        done.append(True)

    async def main() -> None:
        async with serve(on_loop(view), NO_PINGS) as server:
            client = await server.connect()
            await client.open()
            await client.write(pong(await read_ping(client)) + text("go on"))
            assert await client.read_close_code() == 1000

    run(main())
    assert done == [True]


def test_pings_of_several_threads_each_get_their_pong(run: Run) -> None:
    latencies: list[float] = []

    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        socket = WebSocket(channel_of(scope, receive, send), get_bridge())
        socket.accept()
        loop = asyncio.get_running_loop()
        pings = [loop.run_in_executor(None, socket.ping) for _ in range(4)]
        latencies.extend(await asyncio.gather(*pings))

    async def main() -> None:
        async with serve(application, NO_PINGS) as server:
            client = await server.connect()
            await client.open()
            payloads = [await read_ping(client) for _ in range(4)]
            # The last pong stands for those that are missing (section 5.5.3).
            await client.write(pong(payloads[0]) + pong(payloads[3]))
            assert await client.read_close_code() == 1000

    run(main())
    assert len(latencies) == 4


# Clients that take nothing

STUCK = Limits(send_timeout=0.4, outbox_bytes=1000, ping_interval=None, close_timeout=0.1)


def test_client_that_takes_nothing_is_cut_and_the_view_told(run: Run) -> None:
    errors: list[ConnectionClosed] = []

    async def view(socket: AsyncWebSocket) -> None:
        try:
            while True:
                await socket.send(b"x" * 1_000_000)
        except ConnectionClosed as error:
            errors.append(error)

    async def main() -> None:
        async with serve(on_loop(view), STUCK) as server:
            client = await server.connect()
            await client.open()
            await server.wait_until_empty()

    run(main())
    assert (errors[0].code, errors[0].reason) == (
        1013,
        "nothing that was sent has been taken for 0.4 seconds",
    )


def test_blocking_send_to_a_client_that_takes_nothing_raises(run: Run) -> None:
    errors: list[ConnectionClosed] = []

    def view(socket: WebSocket) -> None:
        try:
            while True:
                socket.send(b"x" * 1_000_000)
        except ConnectionClosed as error:
            errors.append(error)

    async def main() -> None:
        async with serve(in_thread(view), STUCK) as server:
            client = await server.connect()
            await client.open()
            await server.wait_until_empty()

    run(main())
    assert errors[0].code == 1013


def test_client_that_takes_little_by_little_is_not_cut(run: Run) -> None:
    size = 8_000_000
    received: list[int] = []

    async def view(socket: AsyncWebSocket) -> None:
        await socket.send(b"x" * size)

    async def main() -> None:
        async with serve(on_loop(view), STUCK) as server:
            # A small buffer, so that the server's system hears of each byte that is taken.
            client = await server.connect(receive_buffer=50_000)
            await client.open()
            # Far longer than the timeout in all, but never without a byte for so long.
            count = 0
            for _ in range(20):
                await asyncio.sleep(0.05)
                count += len(await client.read_some())
            while count < size:
                count += len(await client.read_some())
            received.append(count)

    run(main())
    assert received[0] >= size


def test_client_that_is_sent_little_may_leave_it_unread(run: Run) -> None:
    async def view(socket: AsyncWebSocket) -> None:
        await socket.send(binary(b"x" * 10))
        assert await socket.wait() == "still here"

    async def main() -> None:
        async with serve(on_loop(view), STUCK) as server:
            client = await server.connect()
            await client.open()
            await asyncio.sleep(0.6)
            await client.write(text("still here"))
            assert await client.read_close_code() == 1000

    run(main())


def test_without_a_timeout_a_client_may_take_its_time(run: Run) -> None:
    async def view(socket: AsyncWebSocket) -> None:
        await socket.send(b"x" * 10_000_000)

    async def main() -> None:
        limits = Limits(send_timeout=None, outbox_bytes=1000, ping_interval=None)
        async with serve(on_loop(view), limits) as server:
            client = await server.connect()
            await client.open()
            await asyncio.sleep(0.6)
            assert not server.protocols[0].ended
            assert await client.read_close_code() == 1000

    run(main())
