"""The protocol class on real sockets: every way in which a connection ends."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from event_loops import let_others_run, until
from loopback import ACCEPT, Client, Server, binary, channel_of, close, ping, request, serve, text

from adwebsocket.transport.asgi_interface import ClientDisconnected
from adwebsocket.transport.limits import Limits
from adwebsocket.transport.uvicorn_protocol import WebSocketProtocol

if TYPE_CHECKING:
    from event_loops import Run
    from loopback import Receive, Send


Scope = dict[str, Any]

# So long that a test in which it matters fails by its own deadline before.
NEVER = 3600.0


class Listener:
    """An application that accepts, notes what it receives, and returns at the end."""

    def __init__(self, close_timeout: float = NEVER) -> None:
        self.close_timeout = close_timeout
        self.events: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        channel_of(scope, receive, send).configure(Limits(close_timeout=self.close_timeout))
        await send(ACCEPT)
        self.events.append(await receive())
        while self.events[-1]["type"] != "websocket.disconnect":
            self.events.append(await receive())

    @property
    def end(self) -> tuple[int, str]:
        return self.events[-1]["code"], self.events[-1]["reason"]


# The client ends it


@pytest.mark.parametrize(
    ("frame", "end", "answer"),
    [
        (close(1000), (1000, ""), 1000),
        (close(4001, "bye ✓"), (4001, "bye ✓"), 4001),
        (close(), (1005, ""), 1000),
    ],
    ids=["1000", "4001", "no code"],
)
def test_client_that_closes_is_answered_and_the_application_told(
    run: Run, frame: bytes, end: tuple[int, str], answer: int
) -> None:
    listener = Listener()

    async def main() -> None:
        async with serve(listener) as server:
            client = await server.connect()
            await client.open()
            await client.write(text("last") + frame)
            assert await client.read_close_code() == answer
            # Section 7.1.1: the server closes the TCP connection first.
            assert await client.read_to_end() == b""
            await server.wait_until_empty()

    run(main())
    assert listener.events[1]["text"] == "last"
    assert listener.end == end


@pytest.mark.parametrize("how", ["close", "reset", "end_writing"])
def test_client_that_goes_without_a_close_frame_is_1006(run: Run, how: str) -> None:
    listener = Listener()

    async def main() -> None:
        async with serve(listener) as server:
            client = await server.connect()
            await client.open()
            await client.write(text("last"))
            await until(lambda: len(listener.events) == 2)
            {
                "close": client.socket.close,
                "reset": client.reset,
                "end_writing": client.end_writing,
            }[how]()
            await server.wait_until_empty()

    run(main())
    assert listener.end == (1006, "")


@pytest.mark.parametrize("close_timeout", [0.05, NEVER], ids=["aborted", "patient"])
def test_client_that_ends_its_half_without_reading_ends_the_connection(
    run: Run, close_timeout: float
) -> None:
    # What is left to write to it must not keep the connection, nor the application in the dark.
    told: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        channel.configure(Limits(close_timeout=close_timeout))
        await receive()
        await send(ACCEPT)
        while channel.writable:
            channel.write(channel.prepare(b"x" * 100_000))
            await asyncio.sleep(0)
        told.append((await receive())["code"])

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await until(lambda: not server.protocols[0].writable)
            client.end_writing()
            await until(lambda: bool(told))
            if close_timeout == NEVER:
                assert server.state.connections, "it was told while there was still data to write"
                client.reset()
            await server.wait_until_empty()
            assert told == [1006]

    run(main())


def test_close_of_a_slow_client_is_answered_behind_what_was_sent(run: Run) -> None:
    written: list[bytes] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        await send(ACCEPT)
        while channel.writable:
            written.append(b"x" * 100_000)
            channel.write(channel.prepare(written[-1]))
            await asyncio.sleep(0)
        await channel.wait_ended()

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await until(lambda: not server.protocols[0].writable)
            await client.write(ping(b"?") + close(1001))
            await until(lambda: server.protocols[0].ended)
            for message in written:
                assert await client.read_frame() == (2, message)
            assert await client.read_frame() == (10, b"?")
            assert await client.read_close_code() == 1001
            assert await client.read_to_end() == b""

    run(main())


def test_sending_to_a_client_who_has_gone_raises_and_is_not_logged(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    raised: list[type] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        while True:
            try:
                await send({"type": "websocket.send", "text": "tick"})
            except ClientDisconnected as error:
                raised.append(type(error))
                raise
            await asyncio.sleep(0)

    async def main() -> None:
        async with serve(application, access_log=False) as server:
            client = await server.connect()
            await client.open()
            await client.read_frame()
            client.reset()
            await server.wait_until_empty()

    run(main())
    assert raised == [ClientDisconnected]
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_application_that_sends_without_a_break_is_told_that_the_client_has_gone(run: Run) -> None:
    clients: list[Client] = []
    raised: list[int] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await until(lambda: bool(clients))
        clients[0].reset()
        # The loop learns of it when it has its turn, which none of these need give to it.
        for count in range(100_000):
            try:
                await send({"type": "websocket.send", "text": "tick"})
            except ClientDisconnected:
                raised.append(count)
                break

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            clients.append(client)
            await server.wait_until_empty()

    run(main())
    assert raised


# The application ends it


async def return_after_accepting(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)


async def raise_after_accepting(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    raise ZeroDivisionError("of the application")


async def close_after_accepting(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    await send({"type": "websocket.send", "text": "last"})
    await send({"type": "websocket.close", "code": 4001, "reason": "bye"})
    with pytest.raises(ClientDisconnected):
        await send({"type": "websocket.send", "text": "late"})
    await receive()
    assert (await receive())["code"] == 4001


@pytest.mark.parametrize(
    ("application", "code"),
    [(return_after_accepting, 1000), (raise_after_accepting, 1011), (close_after_accepting, 4001)],
)
def test_application_that_ends_closes_and_the_client_may_answer(
    run: Run, caplog: pytest.LogCaptureFixture, application: Any, code: int
) -> None:
    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            assert await client.read_close_code() == code
            await client.write(close(code))
            assert await client.read_to_end() == b""
            await server.wait_until_empty()

    run(main())
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == (code == 1011)


def test_application_that_is_cancelled_closes_with_1012(run: Run) -> None:
    async def main() -> None:
        async with serve(Listener()) as server:
            client = await server.connect()
            await client.open()
            (task,) = server.state.tasks
            task.cancel()
            assert await client.read_close_code() == 1012

    run(main())


def test_closing_again_or_writing_behind_it_sends_nothing(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        channel.accept()
        channel.close(4001)
        channel.close(4002)
        channel.write(channel.prepare("late"))

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await client.write(close(4001))
            assert await client.read_to_end() == b"\x88\x02\x0f\xa1"

    run(main())


# The close timer


async def close_soon(scope: Scope, receive: Receive, send: Send) -> None:
    """Close, and give the client little time to answer."""
    channel_of(scope, receive, send).configure(Limits(close_timeout=0.05))
    await send(ACCEPT)


def test_client_that_never_answers_a_close_frame_is_aborted(run: Run) -> None:
    async def main() -> None:
        async with serve(close_soon) as server:
            client = await server.connect()
            await client.open()
            assert await client.read_close_code() == 1000
            await client.read_until_gone()
            await server.wait_until_empty()

    run(main())


def test_client_that_goes_on_talking_behind_a_close_frame_is_aborted(run: Run) -> None:
    async def main() -> None:
        async with serve(close_soon) as server:
            client = await server.connect()
            await client.open()
            with pytest.raises(ConnectionError):
                await client.write_for_ever(text("I have not heard you"))
            await server.wait_until_empty()

    run(main())


def test_client_that_does_not_read_is_aborted_after_a_close_frame(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        channel.configure(Limits(close_timeout=0.05))
        channel.accept()
        while channel.writable:
            channel.write(channel.prepare(b"x" * 100_000))
            await asyncio.sleep(0)

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await server.wait_until_empty()

    run(main())


def test_client_that_closes_and_does_not_read_the_rest_is_aborted(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        channel.configure(Limits(close_timeout=0.05))
        channel.accept()
        while channel.writable:
            channel.write(channel.prepare(b"x" * 100_000))
            await asyncio.sleep(0)
        await channel.wait_ended()

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await until(lambda: not server.protocols[0].writable)
            await client.write(close(1000))
            await server.wait_until_empty()

    run(main())


def test_refused_client_that_does_not_read_the_response_is_aborted(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        channel.configure(Limits(close_timeout=0.05))
        channel.refuse(403, [], bytes(64 * 1024 * 1024))

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.write(request())
            await until(lambda: bool(server.protocols))
            await server.wait_until_empty()

    run(main())


def test_answer_to_our_close_frame_is_found_behind_messages_that_nobody_took(run: Run) -> None:
    go_on = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        channel.configure(Limits(close_timeout=NEVER, inbox_messages=2))
        await send(ACCEPT)
        await go_on.wait()

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await client.write(text("x") * 10)
            await until(lambda: not server.transports[0].is_reading())
            flood = asyncio.ensure_future(client.write(binary(bytes(1000)) * 10_000 + close(1000)))
            await let_others_run()
            go_on.set()
            assert await client.read_close_code() == 1000
            await flood
            assert await client.read_to_end() == b""
            await server.wait_until_empty()

    run(main())


def test_nothing_is_kept_of_a_connection_that_is_over(run: Run) -> None:
    references: list[weakref.ref[Any]] = []

    async def main() -> None:
        async with serve(Listener()) as server:
            client = await server.connect()
            await client.open()
            references.extend(map(weakref.ref, server.transports))
            await client.write(close(1000))
            await client.read_to_end()
            client.socket.close()
            await server.wait_until_empty()
            server.transports.clear()
            server.protocols.clear()
            await let_others_run()
            gc.collect()
            assert [reference() for reference in references] == [None]
            # Not isinstance(): it asks every lazy object of Django's to load.
            kept = [thing for thing in gc.get_objects() if type(thing) is WebSocketProtocol]
            assert kept == []

    run(main())


# The protocol was broken


def test_failed_connection_ends_our_half_and_discards_the_rest(run: Run) -> None:
    listener = Listener()

    async def main() -> None:
        async with serve(listener) as server:
            client = await server.connect()
            await client.open()
            # More than the buffers of both sides hold: it goes through only if somebody reads it.
            await client.write(b"\xff" * 20 + bytes(32 * 1024 * 1024))
            # Had the server closed with input unread, this would be a reset instead.
            assert await client.read_close_code() == 1002
            assert await client.read_to_end() == b""
            await client.write(text("never mind"))
            client.socket.close()
            await server.wait_until_empty()

    run(main())
    assert [event["type"] for event in listener.events] == [
        "websocket.connect",
        "websocket.disconnect",
    ]
    assert listener.end[0] == 1002


def test_fault_behind_our_close_frame_ends_our_half_and_discards_the_rest(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel_of(scope, receive, send).configure(Limits(close_timeout=NEVER))
        await send(ACCEPT)

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            await until(lambda: not server.state.tasks)
            await client.write(b"\xff" * 20 + bytes(32 * 1024 * 1024))
            assert await client.read_close_code() == 1000
            assert await client.read_to_end() == b""
            await client.write(text("never mind"))
            client.socket.close()
            await server.wait_until_empty()

    run(main())


def test_failed_connection_reads_on_although_the_inbox_was_full(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        channel = channel_of(scope, receive, send)
        channel.configure(Limits(close_timeout=NEVER, inbox_messages=2))
        await send(ACCEPT)
        await channel.wait_ended()

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.open()
            # In one piece, so that the pause and the fault come of the same read.
            await client.write(text("x") * 10 + b"\xff" * 20)
            assert await client.read_close_code() == 1002
            await client.write(bytes(32 * 1024 * 1024))
            assert await client.read_to_end() == b""
            client.socket.close()
            await server.wait_until_empty()

    run(main())


def test_failed_client_that_does_not_go_is_aborted(run: Run) -> None:
    async def main() -> None:
        async with serve(Listener(close_timeout=0.05)) as server:
            client = await server.connect()
            await client.open()
            await client.write(b"\xff" * 20)
            assert await client.read_close_code() == 1002
            assert await client.read_to_end() == b""
            # It keeps its half open, and is let go all the same.
            await server.wait_until_empty()

    run(main())


def test_messages_before_the_fault_are_received(run: Run) -> None:
    listener = Listener()

    async def main() -> None:
        async with serve(listener) as server:
            client = await server.connect()
            await client.open()
            await client.write(text("one") + text("two") + b"\xff" * 20)
            assert await client.read_close_code() == 1002

    run(main())
    assert [event.get("text") for event in listener.events] == [None, "one", "two", None]


# uvicorn stops


async def open_connections(server: Server, number: int) -> list[Client]:
    clients = [await server.connect() for _ in range(number)]
    for client in clients:
        await client.open()
    return clients


def test_shutdown_closes_with_1012(run: Run) -> None:
    listener = Listener()

    async def main() -> None:
        async with serve(listener) as server:
            clients = await open_connections(server, 3)
            for protocol in list(server.state.connections):
                protocol.shutdown()  # type: ignore[union-attr]
            for client in clients:
                assert await client.read_close_code() == 1012
                await client.write(close(1012))
                assert await client.read_to_end() == b""
            await server.wait_until_empty()

    run(main())
    assert listener.end == (1012, "")


def test_shutdown_refuses_who_has_not_been_answered_with_503(run: Run) -> None:
    events: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        events.append((await receive())["type"])
        events.append((await receive())["type"])

    async def main() -> None:
        async with serve(application) as server:
            client = await server.connect()
            await client.write(request())
            await until(lambda: bool(events))
            server.protocols[0].shutdown()
            assert (await client.read_to_end()).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
            await server.wait_until_empty()

    run(main())
    assert events == ["websocket.connect", "websocket.disconnect"]


def test_application_that_answers_behind_the_shutdown_meets_a_client_that_has_gone(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    shut_down = asyncio.Event()
    outcome: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        outcome.append((await receive())["type"])
        await shut_down.wait()
        # It has done nothing wrong: to accept does nothing, as with any client that has gone.
        await send(ACCEPT)
        outcome.append((await receive())["type"])
        await send({"type": "websocket.send", "text": "late"})

    async def main() -> None:
        async with serve(application, access_log=False) as server:
            client = await server.connect()
            await client.write(request())
            await until(lambda: bool(outcome))
            server.protocols[0].shutdown()
            shut_down.set()
            assert (await client.read_to_end()).startswith(b"HTTP/1.1 503 ")
            await server.wait_until_empty()

    run(main())
    assert outcome == ["websocket.connect", "websocket.disconnect"]
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_shutdown_of_what_is_ending_does_nothing(run: Run) -> None:
    async def main() -> None:
        async with serve(return_after_accepting) as server:
            client = await server.connect()
            await client.open()
            assert await client.read_close_code() == 1000
            server.protocols[0].shutdown()
            server.protocols[0].shutdown()
            await client.write(close(1000))
            assert await client.read_to_end() == b""

    run(main())
