"""How many messages a second a peer may send: the meter, and the channels that hold it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from event_loops import let_others_run, until
from loopback import ACCEPT, binary, channel_of, close, in_thread, on_loop, ping, serve, text
from test_asgi_channel import connected, received, take
from websockets.frames import Frame, Opcode

from adwebsocket.transport.inbox import END
from adwebsocket.transport.limits import Limits
from adwebsocket.transport.rate import RateMeter

if TYPE_CHECKING:
    from event_loops import Run
    from loopback import Client, Receive, Send, Server

    from adwebsocket.async_websocket import AsyncWebSocket
    from adwebsocket.transport.channel import Channel
    from adwebsocket.websocket import WebSocket

NO_PINGS = Limits(ping_interval=None, rate_limit=5)
REASON = "more than 5 messages a second"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def meter_of(rate: float) -> tuple[RateMeter, Clock]:
    clock = Clock()
    return RateMeter(rate, clock), clock


def exchange_meter(channel: Channel) -> Clock:
    """Give a channel a meter of the same rate whose clock is set by hand."""
    assert channel.meter is not None
    channel.meter, clock = meter_of(channel.meter.rate)
    return clock


class TestMeter:
    @pytest.mark.parametrize("rate", [0.5, 1, 5, 1000])
    def test_one_second_and_one_message_may_come_at_once(self, rate: float) -> None:
        meter, _ = meter_of(rate)
        assert meter.admit(10_000) == int(rate + 1)
        assert meter.admit(1) == 0

    def test_it_makes_no_difference_in_which_portions_they_come(self) -> None:
        meter, _ = meter_of(5)
        assert [meter.admit(1) for _ in range(8)] == [1] * 6 + [0] * 2

    def test_peer_that_keeps_to_the_rate_may_go_on_for_ever(self) -> None:
        meter, clock = meter_of(3)
        for number in range(10_000):
            # Each second message is late, and the next one in time.
            clock.time = 1000 + number / 3 + (0.3 if number % 2 else 0)
            assert meter.admit(1) == 1

    def test_peer_a_little_above_the_rate_is_found(self) -> None:
        meter, clock = meter_of(10)
        admitted = 0
        for _ in range(1000):
            clock.time += 1 / 11
            admitted += meter.admit(1)
        assert admitted < 1000

    def test_silence_saves_up_no_more_than_that(self) -> None:
        meter, clock = meter_of(5)
        clock.time += 3600
        assert meter.admit(100) == 6

    def test_what_is_left_over_can_be_used_later(self) -> None:
        meter, clock = meter_of(5)
        assert meter.admit(6) == 6
        clock.time += 0.5
        assert meter.admit(3) == 2
        clock.time += 0.1
        assert meter.admit(1) == 1

    def test_time_in_which_nothing_is_read_counts_in_full(self) -> None:
        meter, clock = meter_of(5)
        assert meter.admit(6) == 6
        meter.pause()
        clock.time += 10
        meter.pause()
        clock.time += 10
        meter.resume()
        meter.resume()
        assert meter.admit(1000) == 100
        clock.time += 10
        assert meter.admit(1000) == 6

    def test_what_comes_during_a_pause_is_counted_once(self) -> None:
        meter, clock = meter_of(5)
        meter.pause()
        clock.time += 10
        assert meter.admit(1000) == 6
        clock.time += 10
        meter.resume()
        assert meter.admit(1000) == 50

    def test_what_is_asked_for_may_come_besides(self) -> None:
        meter, clock = meter_of(5)
        meter.allow(2)
        clock.time += 3600
        assert meter.admit(100) == 8


class Listener:
    """An application that notes what it receives, once it is told to."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.may_read = asyncio.Event()
        self.channel: Channel | None = None

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.channel = channel_of(scope, receive, send)
        await receive()
        await send(ACCEPT)
        await self.may_read.wait()
        while (event := await receive())["type"] == "websocket.receive":
            self.heard.append(event.get("text"))
        self.heard.append((event["code"], event["reason"]))


def pong(payload: bytes) -> bytes:
    return Frame(Opcode.PONG, payload).serialize(mask=True)


async def open_client(server: Server) -> tuple[Client, Clock]:
    client = await server.connect()
    await client.open()
    return client, exchange_meter(server.protocols[-1])


@pytest.mark.parametrize("in_one_read", [True, False])
def test_peer_above_the_rate_is_failed_with_1008_behind_what_was_within(
    run: Run, in_one_read: bool
) -> None:
    listener = Listener()
    messages = [str(number) for number in range(20)]

    async def main() -> None:
        listener.may_read.set()
        async with serve(listener, NO_PINGS) as server:
            client, _ = await open_client(server)
            frames = [text(message) for message in messages]
            for data in [b"".join(frames)] if in_one_read else frames:
                await client.write(data)
            opcode, payload = await client.read_frame()
            assert (opcode, payload) == (Opcode.CLOSE, b"\x03\xf0" + REASON.encode())

    run(main())
    assert listener.heard == [*messages[:6], (1008, REASON)]


def test_peer_within_the_rate_stays(run: Run) -> None:
    listener = Listener()

    async def main() -> None:
        listener.may_read.set()
        async with serve(listener, NO_PINGS) as server:
            client, clock = await open_client(server)
            for number in range(30):
                await client.write(text(str(number)))
                await until(lambda: len(listener.heard) == number + 1)  # noqa: B023
                clock.time += 0.2
            await client.write(close(1000))
            assert await client.read_close_code() == 1000

    run(main())
    assert listener.heard == [*map(str, range(30)), (1000, "")]


@pytest.mark.parametrize(
    "frame", [ping(b""), pong(b""), ping(b"x" * 125)], ids=["ping", "pong", "long ping"]
)
def test_control_frames_count_as_messages_do(run: Run, frame: bytes) -> None:
    listener = Listener()

    async def main() -> None:
        listener.may_read.set()
        async with serve(listener, NO_PINGS) as server:
            client, _ = await open_client(server)
            await client.write(frame * 1000)
            assert await client.read_close_code() == 1008

    run(main())
    assert listener.heard == [(1008, REASON)]


def test_fragments_count_as_the_one_message_that_they_are(run: Run) -> None:
    listener = Listener()

    async def main() -> None:
        listener.may_read.set()
        async with serve(listener, NO_PINGS) as server:
            client, _ = await open_client(server)
            first = Frame(Opcode.TEXT, b"a", fin=False).serialize(mask=True)
            middle = Frame(Opcode.CONT, b"b", fin=False).serialize(mask=True)
            last = Frame(Opcode.CONT, b"c").serialize(mask=True)
            await client.write(first + middle * 100 + last + close(1000))
            assert await client.read_close_code() == 1000

    run(main())
    assert listener.heard == ["a" + "b" * 100 + "c", (1000, "")]


def test_answers_to_our_own_pings_do_not_count(run: Run) -> None:
    latencies: list[float] = []

    async def view(socket: AsyncWebSocket) -> None:
        latencies.extend([await socket.ping() for _ in range(20)])
        await socket.close()

    async def main() -> None:
        async with serve(on_loop(view), Limits(ping_interval=None, rate_limit=0.001)) as server:
            client, _ = await open_client(server)
            while (frame := await client.read_frame())[0] == Opcode.PING:
                await client.write(pong(frame[1]))

    run(main())
    assert len(latencies) == 20


def test_close_frame_behind_too_many_messages_stands_and_the_excess_is_dropped(run: Run) -> None:
    listener = Listener()

    async def main() -> None:
        listener.may_read.set()
        async with serve(listener, NO_PINGS) as server:
            client, _ = await open_client(server)
            await client.write(text("x") * 100 + close(4000, "bye"))
            assert await client.read_close_code() == 4000

    run(main())
    assert listener.heard == [*["x"] * 6, (4000, "bye")]


def test_what_waited_while_nothing_was_read_is_not_held_against_the_peer(run: Run) -> None:
    listener = Listener()
    limits = Limits(ping_interval=None, rate_limit=5, inbox_messages=4, inbox_bytes=10**6)

    async def main() -> None:
        async with serve(listener, limits) as server:
            client, clock = await open_client(server)
            channel = server.protocols[0]
            await client.write(text("x") * 6)
            await until(lambda: channel.inbox.paused)
            await client.write(text("y") * 50)
            clock.time += 10
            listener.may_read.set()
            await until(lambda: len(listener.heard) == 56)
            await client.write(text("z"))
            assert await client.read_close_code() == 1008

    run(main())
    assert listener.heard == [*["x"] * 6, *["y"] * 50, (1008, REASON)]


def test_peer_that_floods_a_connection_that_we_close_is_not_listened_to(run: Run) -> None:
    listener = Listener()
    limits = Limits(ping_interval=None, rate_limit=5, close_timeout=20)

    async def main() -> None:
        async with serve(listener, limits) as server:
            client, _ = await open_client(server)
            assert listener.channel is not None
            listener.channel.close(4001)
            await client.write(ping(b"flood") * 1000)
            # Its close frame would be behind them, and is not waited for.
            answer = await client.read_to_end()
            assert Frame(Opcode.CLOSE, b"\x0f\xa1").serialize(mask=False) in answer
            listener.may_read.set()

    run(main())


def test_early_messages_count(run: Run) -> None:
    listener = Listener()

    async def main() -> None:
        listener.may_read.set()
        async with serve(listener, Limits(ping_interval=None, rate_limit=0.001)) as server:
            client = await server.connect()
            await client.open(early=text("x") * 10)
            assert await client.read_close_code() == 1008

    run(main())
    assert listener.heard[0] == "x"
    assert len(listener.heard) == 2


def test_view_in_a_thread_is_woken_and_told(run: Run) -> None:
    heard: list[Any] = []

    def view(socket: WebSocket) -> None:
        heard.extend(socket)
        heard.append((socket.close_code, socket.close_reason))

    async def main() -> None:
        async with serve(in_thread(view), NO_PINGS) as server:
            client, _ = await open_client(server)
            await client.write(binary(b"x") * 10)
            assert await client.read_close_code() == 1008

    run(main())
    assert heard == [*[b"x"] * 6, (1008, REASON)]


def test_channel_without_a_limit_has_no_meter(run: Run) -> None:
    listener = Listener()

    async def main() -> None:
        async with serve(listener) as server:
            client = await server.connect()
            await client.open()
            assert server.protocols[0].meter is None
            listener.may_read.set()
            await client.write(text("x") * 1000)
            await until(lambda: len(listener.heard) == 1000)

    run(main())


class TestForeignServer:
    def test_peer_above_the_rate_is_closed_with_1008(self, run: Run) -> None:
        async def main() -> None:
            async with connected(rate_limit=5) as (server, channel):
                exchange_meter(channel)
                server.give(*[received(str(number)) for number in range(20)])
                await until(lambda: channel.ended)
                await let_others_run()
                assert [await take(channel) for _ in range(7)] == [*"012345", END]
                assert server.sent[-1] == {
                    "type": "websocket.close",
                    "code": 1008,
                    "reason": REASON,
                }

        run(main())

    def test_what_waited_while_nothing_was_taken_is_not_held_against_the_peer(
        self, run: Run
    ) -> None:
        async def main() -> None:
            async with connected(rate_limit=5, inbox_messages=4) as (server, channel):
                clock = exchange_meter(channel)
                server.give(*[received(str(number)) for number in range(50)])
                await until(lambda: channel.inbox.paused)
                clock.time += 10
                assert [await take(channel) for _ in range(50)] == list(map(str, range(50)))
                assert not channel.ended

        run(main())

    def test_channel_without_a_limit_has_no_meter(self, run: Run) -> None:
        async def main() -> None:
            async with connected() as (_, channel):
                assert channel.meter is None

        run(main())
