"""The channel on a foreign ASGI server, which is a queue and a list here."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from event_loops import let_others_run, until

from adwebsocket.transport.asgi_channel import AsgiChannel
from adwebsocket.transport.inbox import END
from adwebsocket.transport.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping

    from event_loops import Run

    from adwebsocket.transport.inbox import Item

# So long that a test in which it matters fails by its own deadline before.
NEVER = 3600.0
CONNECT = {"type": "websocket.connect"}
DISCONNECT = {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}
ACCEPTED = {"type": "websocket.accept", "subprotocol": None, "headers": []}


def received(message: str | bytes) -> dict[str, Any]:
    """Give the event of a message, with both keys as most servers have it."""
    if isinstance(message, str):
        return {"type": "websocket.receive", "text": message, "bytes": None}
    return {"type": "websocket.receive", "text": None, "bytes": message}


class ForeignServer:
    """An ASGI server in memory.

    Attributes:
        incoming: the events that ``receive`` gives; an exception among them is raised.
        sent: the events that ``send`` got; a close event among them is followed by a disconnect.
        receiving: how many calls of ``receive`` are waiting.
        gate: ``send`` waits while it is clear.
        fault: what ``send`` raises.
    """

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any] | Exception] = asyncio.Queue()
        self.sent: list[MutableMapping[str, Any]] = []
        self.receiving = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault: Exception | None = None

    async def receive(self) -> dict[str, Any]:
        self.receiving += 1
        try:
            event = await self.incoming.get()
        finally:
            self.receiving -= 1
        if isinstance(event, Exception):
            raise event
        return event

    async def send(self, event: MutableMapping[str, Any]) -> None:
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.sent.append(event)
        if event["type"] == "websocket.close":
            self.give(DISCONNECT)  # the peer has answered

    def give(self, *events: dict[str, Any] | Exception) -> None:
        for event in events:
            self.incoming.put_nowait(event)


@asynccontextmanager
async def connected(
    *, extensions: dict[str, Any] | None = None, accept: bool = True, **limits: float
) -> AsyncIterator[tuple[ForeignServer, AsgiChannel]]:
    """Connect a channel as the application does, and leave no task behind."""
    server = ForeignServer()
    scope = {"type": "websocket", "extensions": extensions}
    channel = AsgiChannel(scope, server.receive, server.send, Limits(**limits))  # type: ignore[arg-type]
    server.give(CONNECT)
    await channel.connect()
    if accept:
        channel.accept()
    try:
        yield server, channel
    finally:
        server.gate.set()
        channel.close()
        server.give(DISCONNECT)
        await channel.disconnect()
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def take(channel: AsgiChannel) -> Item | None:
    await channel.inbox.wait_for_item()
    return channel.inbox.take() if channel.inbox.items else None


# The handshake


def test_acceptance_is_sent_with_subprotocol_and_headers(run: Run) -> None:
    async def main() -> None:
        async with connected(accept=False) as (server, channel):
            channel.accept("chat", ((b"a", b"b"),))
            await let_others_run()
            assert server.sent == [
                {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"a", b"b")]}
            ]
            assert channel.accepted
            assert channel.subprotocol == "chat"

    run(main())


def test_refusal_is_a_response_where_the_server_can(run: Run) -> None:
    async def main() -> None:
        extensions = {"websocket.http.response": {}}
        async with connected(extensions=extensions, accept=False) as (server, channel):
            channel.refuse(302, [(b"Location", b"/login")], b"Go.")
            await let_others_run()
            assert server.sent == [
                {
                    "type": "websocket.http.response.start",
                    "status": 302,
                    "headers": [(b"location", b"/login")],
                },
                {"type": "websocket.http.response.body", "body": b"Go."},
            ]
            assert channel.refused
            assert await take(channel) is END

    run(main())


@pytest.mark.parametrize("extensions", [None, {}, {"tls": {}}])
def test_refusal_is_a_close_where_the_server_knows_no_other(
    run: Run, extensions: dict[str, Any] | None
) -> None:
    async def main() -> None:
        async with connected(extensions=extensions, accept=False) as (server, channel):
            channel.refuse(302, [(b"Location", b"/login")], b"Go.")
            await let_others_run()
            assert server.sent == [{"type": "websocket.close"}]
            assert channel.ended

    run(main())


def test_second_answer_raises_and_sends_nothing(run: Run) -> None:
    async def main() -> None:
        async with connected() as (server, channel):
            for answer in (channel.accept, lambda: channel.refuse(403, (), b"")):
                with pytest.raises(RuntimeError, match="answered already"):
                    answer()
            await let_others_run()
            assert server.sent == [ACCEPTED]
            assert not channel.refused

    run(main())


def test_client_that_has_gone_before_ends_the_channel(run: Run) -> None:
    async def main() -> None:
        server = ForeignServer()
        channel = AsgiChannel({}, server.receive, server.send, Limits())
        server.give(DISCONNECT)
        await channel.connect()

        assert (channel.close_code, channel.close_reason) == (1001, "bye")
        assert await take(channel) is END
        await channel.disconnect()

    run(main())


@pytest.mark.parametrize("answer", ["accept", "refuse"])
def test_answer_to_a_client_that_has_gone_is_not_sent(run: Run, answer: str) -> None:
    async def main() -> None:
        async with connected(accept=False) as (server, channel):
            server.give(DISCONNECT)
            await channel.wait_ended()
            if answer == "accept":
                channel.accept()
            else:
                channel.refuse(403, (), b"")
            await let_others_run()

            assert (channel.accepted, channel.refused) == (answer == "accept", answer == "refuse")
            assert server.sent == []

    run(main())


# Receiving


def test_messages_are_received_in_order(run: Run) -> None:
    async def main() -> None:
        async with connected() as (server, channel):
            server.give(*map(received, ["one", b"two", "", b""]))
            assert [await take(channel) for _ in range(4)] == ["one", b"two", "", b""]

    run(main())


def test_message_with_one_key_is_received_and_one_without_is_not(run: Run) -> None:
    async def main() -> None:
        async with connected() as (server, channel):
            server.give(
                {"type": "websocket.receive", "text": "one"},
                {"type": "websocket.receive"},
                {"type": "websocket.receive", "bytes": b"two"},
            )
            assert [await take(channel), await take(channel)] == ["one", b"two"]

    run(main())


@pytest.mark.parametrize(
    ("event", "code", "reason"),
    [
        (DISCONNECT, 1001, "bye"),
        ({"type": "websocket.disconnect"}, 1005, ""),
        ({"type": "websocket.disconnect", "code": None, "reason": None}, 1005, ""),
        ({"type": "websocket.disconnect", "code": 1006}, 1006, ""),
    ],
)
def test_disconnect_ends_the_channel_behind_the_messages(
    run: Run, event: dict[str, Any], code: int, reason: str
) -> None:
    async def main() -> None:
        async with connected() as (server, channel):
            server.give(received("last"), event)
            assert [await take(channel), await take(channel)] == ["last", END]
            assert (channel.close_code, channel.close_reason) == (code, reason)

    run(main())


def test_server_that_fails_to_receive_ends_the_channel_and_is_logged(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with connected() as (server, channel):
            server.give(ZeroDivisionError("of the server"))
            assert await take(channel) is END
            assert channel.close_code == 1006

    run(main())
    (record,) = caplog.records
    assert "receive() failed" in record.message
    assert record.exc_info is not None


def test_receiving_stops_while_the_inbox_is_full(run: Run) -> None:
    async def main() -> None:
        async with connected(inbox_messages=4) as (server, channel):
            server.give(*(received(str(number)) for number in range(20)))
            await let_others_run(40)
            # One more than the limit closes the gate, and none was taken out behind it.
            assert channel.inbox.count() == 5
            assert server.incoming.qsize() == 15

            assert [await take(channel) for _ in range(20)] == [str(n) for n in range(20)]

    run(main())


@pytest.mark.parametrize("message", [b"x" * 11, "x" * 11, "é" * 6, "€" * 4], ids=repr)
def test_message_that_is_too_big_closes_with_1009(run: Run, message: str | bytes) -> None:
    async def main() -> None:
        async with connected(max_message_size=10) as (server, channel):
            server.give(received(message), received("late"))
            assert await take(channel) is END
            await let_others_run()

            assert channel.close_code == 1009
            assert [event.get("code") for event in server.sent] == [None, 1009]

    run(main())


@pytest.mark.parametrize("message", [b"x" * 10, "x" * 10, "é" * 5])
def test_message_of_the_greatest_size_is_received(run: Run, message: str | bytes) -> None:
    async def main() -> None:
        async with connected(max_message_size=10) as (server, channel):
            server.give(received(message))
            assert await take(channel) == message

    run(main())


# Sending


def test_messages_are_sent_in_order_behind_the_acceptance_and_before_the_close(run: Run) -> None:
    async def main() -> None:
        async with connected(accept=False) as (server, channel):
            server.gate.clear()
            channel.accept()
            channel.write(channel.prepare("one"))
            await let_others_run()
            channel.write(channel.prepare(bytearray(b"two")))
            channel.close(4000, "bye")
            assert server.sent == []

            server.gate.set()
            await let_others_run()

            assert server.sent == [
                ACCEPTED,
                {"type": "websocket.send", "text": "one"},
                {"type": "websocket.send", "bytes": b"two"},
                {"type": "websocket.close", "code": 4000, "reason": "bye"},
            ]

    run(main())


def test_message_of_another_type_raises_when_it_is_prepared(run: Run) -> None:
    async def main() -> None:
        async with connected() as (_, channel):
            with pytest.raises(TypeError, match="must be str"):
                channel.prepare(5)  # type: ignore[arg-type]
            with pytest.raises(UnicodeEncodeError):
                channel.prepare("\ud800")

    run(main())


def test_mutable_message_is_copied_when_it_is_prepared(run: Run) -> None:
    async def main() -> None:
        async with connected() as (server, channel):
            message = bytearray(b"before")
            channel.write(channel.prepare(message))
            message[:] = b"after!"
            await let_others_run()
            assert server.sent[-1] == {"type": "websocket.send", "bytes": b"before"}

    run(main())


def test_server_that_takes_no_message_for_too_long_ends_the_channel(run: Run) -> None:
    async def main() -> None:
        async with connected(outbox_bytes=100, send_timeout=0.2) as (server, channel):
            await let_others_run()
            server.gate.clear()
            channel.write(channel.prepare("x" * 200))
            await channel.drain()

            assert channel.ended
            assert channel.close_code == 1013
            assert channel.close_reason == "nothing that was sent has been taken for 0.2 seconds"

    run(main())


def test_channel_is_not_writable_above_the_limit_until_all_is_sent(run: Run) -> None:
    async def main() -> None:
        async with connected(outbox_bytes=100) as (server, channel):
            await let_others_run()
            server.gate.clear()
            writable = []
            for _ in range(3):
                channel.write(channel.prepare("x" * 48))  # 50 bytes as a frame
                writable.append(channel.writable)
            assert writable == [True, True, False]
            task = asyncio.ensure_future(channel.drain())
            await let_others_run()
            assert not task.done()

            server.gate.set()
            await task

            assert channel.writable
            assert len(server.sent) == 4

    run(main())


def test_write_behind_the_end_is_dropped(run: Run) -> None:
    async def main() -> None:
        async with connected() as (server, channel):
            channel.close()
            channel.write(channel.prepare("late"))
            channel.close(4000)
            await let_others_run()

            assert [event["type"] for event in server.sent] == [
                "websocket.accept",
                "websocket.close",
            ]
            assert channel.close_code == 1000

    run(main())


@pytest.mark.parametrize(("code", "reason"), [(1005, ""), (999, ""), (1000, "x" * 124)])
def test_close_that_must_not_be_sent_raises_and_changes_nothing(
    run: Run, code: int, reason: str
) -> None:
    async def main() -> None:
        async with connected() as (server, channel):
            with pytest.raises(ValueError, match="close"):
                channel.close(code, reason)
            await let_others_run()
            assert server.sent == [ACCEPTED]
            assert not channel.ended

    run(main())


def test_close_before_the_answer_does_nothing(run: Run) -> None:
    async def main() -> None:
        async with connected(accept=False) as (server, channel):
            channel.close()
            await let_others_run()
            assert server.sent == []
            assert not channel.ended

    run(main())


@pytest.mark.parametrize("fault", [OSError("gone"), RuntimeError("closed"), ZeroDivisionError()])
def test_server_that_fails_to_send_ends_the_channel_and_wakes_who_waits(
    run: Run, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    async def main() -> None:
        async with connected(outbox_bytes=10) as (server, channel):
            await let_others_run()
            server.gate.clear()
            server.fault = fault
            channel.write(channel.prepare("x" * 20))
            channel.write(channel.prepare("never sent"))
            tasks = [
                asyncio.ensure_future(waiting)
                for waiting in (
                    channel.drain(),
                    channel.wait_ended(),
                    channel.inbox.wait_for_item(),
                )
            ]
            await let_others_run()
            server.gate.set()
            await asyncio.gather(*tasks)
            server.fault = None
            channel.write(channel.prepare("late"))
            await let_others_run()

            assert channel.close_code == 1006
            assert server.sent == [ACCEPTED]

    with caplog.at_level(logging.DEBUG, "adwebsocket"):
        run(main())
    (record,) = [record for record in caplog.records if record.name == "adwebsocket"]
    assert record.levelname == "DEBUG"
    assert repr(fault) in record.message


def test_disconnect_of_the_peer_drops_what_was_to_be_sent(run: Run) -> None:
    async def main() -> None:
        async with connected() as (server, channel):
            await let_others_run()
            server.gate.clear()
            for text in ("on its way", "behind it"):
                channel.write(channel.prepare(text))
            await let_others_run()
            server.give(DISCONNECT)
            await channel.wait_ended()
            server.gate.set()
            await let_others_run()

            assert [event.get("text") for event in server.sent] == [None, "on its way"]

    run(main())


# The end of the application


class Application:
    """What the application does around a channel, step by step."""

    def __init__(self, server: ForeignServer, **limits: float) -> None:
        self.channel = AsgiChannel({}, server.receive, server.send, Limits(**limits))  # type: ignore[arg-type]
        self.server = server

    async def connect(self) -> AsgiChannel:
        self.server.give(CONNECT)
        await self.channel.connect()
        self.channel.accept()
        return self.channel


def test_disconnecting_sends_what_is_left(run: Run) -> None:
    async def main() -> None:
        server = ForeignServer()
        channel = await Application(server, close_timeout=NEVER).connect()
        channel.write(channel.prepare("last"))
        channel.close()
        await channel.disconnect()

        assert [event["type"] for event in server.sent] == [
            "websocket.accept",
            "websocket.send",
            "websocket.close",
        ]

    run(main())


def test_disconnecting_gives_up_a_server_that_does_not_send(run: Run) -> None:
    async def main() -> None:
        server = ForeignServer()
        server.gate.clear()
        channel = await Application(server, close_timeout=0.05).connect()
        await channel.disconnect()

        assert server.sent == []

    run(main())


def test_disconnecting_gives_up_a_server_that_never_says_that_it_is_over(run: Run) -> None:
    async def main() -> None:
        server = ForeignServer()
        channel = await Application(server, close_timeout=0.05).connect()
        await channel.disconnect()

        assert server.receiving == 0

    run(main())


def test_close_is_sent_while_nobody_receives(run: Run) -> None:
    # granian sends no close frame else.
    receiving: list[int] = []

    class Server(ForeignServer):
        async def send(self, event: MutableMapping[str, Any]) -> None:
            if event["type"] == "websocket.close":
                receiving.append(self.receiving)
            await super().send(event)

    async def main() -> None:
        server = Server()
        channel = await Application(server, close_timeout=NEVER).connect()
        await let_others_run()
        assert server.receiving == 1
        channel.close()
        await channel.disconnect()

        assert receiving == [0]

    run(main())


@pytest.mark.parametrize("queued", [0, 10], ids=["inbox empty", "inbox full"])
def test_messages_behind_our_close_are_received_until_the_disconnect(run: Run, queued: int) -> None:
    # hypercorn does not read the peer's close frame else.
    async def main() -> None:
        server = ForeignServer()
        channel = await Application(server, close_timeout=NEVER, inbox_messages=2).connect()
        server.give(*[received("early")] * queued)
        await let_others_run(30)
        server.give(*[received("late")] * 10)
        channel.close(4000)
        await channel.disconnect()

        assert server.incoming.empty()
        assert channel.close_code == 4000

    run(main())


def test_server_that_waits_for_the_peer_within_its_close_is_received_from(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # uvicorn's older class does.
    monkeypatch.setattr("adwebsocket.transport.asgi_channel._CLOSE_HEAD_START", 0.01)

    class Server(ForeignServer):
        async def send(self, event: MutableMapping[str, Any]) -> None:
            await super().send(event)
            if event["type"] == "websocket.close":
                await until(self.incoming.empty)

    async def main() -> None:
        server = Server()
        channel = await Application(server, close_timeout=NEVER, inbox_messages=2).connect()
        server.give(*[received("x")] * 20)
        await let_others_run(30)
        channel.close()
        await channel.disconnect()

        assert server.sent[-1]["type"] == "websocket.close"

    run(main())


class ServerThatCannotClose(ForeignServer):
    """A server that fails at the close event; daphne does at most codes."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def send(self, event: MutableMapping[str, Any]) -> None:
        if event["type"] == "websocket.close":
            raise self._error
        await super().send(event)


def test_error_of_a_server_that_cannot_close_is_raised_in_the_end(run: Run) -> None:
    async def main() -> None:
        server = ServerThatCannotClose(ZeroDivisionError("of the server"))
        channel = await Application(server, close_timeout=NEVER).connect()
        channel.close(1012)
        with pytest.raises(ZeroDivisionError, match="of the server"):
            await channel.disconnect()

        assert server.receiving == 0

    run(main())


def test_peer_that_has_gone_before_our_close_raises_nothing(run: Run) -> None:
    async def main() -> None:
        server = ServerThatCannotClose(OSError("gone"))
        channel = await Application(server, close_timeout=NEVER).connect()
        channel.close()
        await channel.disconnect()

        assert server.receiving == 0

    run(main())


def test_peer_that_goes_within_our_close_raises_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adwebsocket.transport.asgi_channel._CLOSE_HEAD_START", 0.01)

    class Server(ServerThatCannotClose):
        async def send(self, event: MutableMapping[str, Any]) -> None:
            if event["type"] == "websocket.close":
                self.give(DISCONNECT)
                await until(self.incoming.empty)
            await super().send(event)

    async def main() -> None:
        # What the server says of its close does not matter when the disconnect event came.
        channel = await Application(Server(ZeroDivisionError()), close_timeout=NEVER).connect()
        channel.close()
        await channel.disconnect()

    run(main())


def test_disconnecting_does_not_wait_for_messages_that_nobody_will_take(run: Run) -> None:
    async def main() -> None:
        server = ForeignServer()
        channel = await Application(server, close_timeout=NEVER, inbox_messages=2).connect()
        server.give(*[received("x")] * 10)
        await let_others_run(30)
        # The inbox is full, and the peer is found to have gone by sending to it.
        server.fault = OSError("gone")
        channel.write(channel.prepare("x"))
        await channel.wait_ended()
        server.give(DISCONNECT)
        await channel.disconnect()

    run(main())
