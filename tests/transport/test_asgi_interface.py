"""ASGI for the application behind a channel: events both ways, and what is said of wrong ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from event_loops import let_others_run
from memory_channel import MemoryChannel

from adwebsocket.transport.asgi_interface import (
    EXTENSION,
    AsgiInterface,
    ClientDisconnected,
    find_channel,
)
from adwebsocket.transport.limits import Limits

if TYPE_CHECKING:
    from event_loops import Run

ACCEPT = {"type": "websocket.accept"}
CLOSE = {"type": "websocket.close"}
START = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x", b"y")]}
BODY = {"type": "websocket.http.response.body", "body": b"No."}
TEXT = {"type": "websocket.send", "text": "x"}


def new_interface(**limits: int) -> tuple[MemoryChannel, AsgiInterface]:
    channel = MemoryChannel(asyncio.get_running_loop(), Limits(**limits))
    return channel, AsgiInterface(channel)


# receive


def test_first_event_is_connect(run: Run) -> None:
    async def main() -> None:
        _, interface = new_interface()
        assert await interface.receive() == {"type": "websocket.connect"}

    run(main())


def test_messages_come_in_order_as_text_and_bytes(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.receive()
        for message in ("one", b"two", "", b""):
            channel.inbox.put(message)

        assert [await interface.receive() for _ in range(4)] == [
            {"type": "websocket.receive", "text": "one"},
            {"type": "websocket.receive", "bytes": b"two"},
            {"type": "websocket.receive", "text": ""},
            {"type": "websocket.receive", "bytes": b""},
        ]

    run(main())


def test_receiving_waits_for_a_message(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.receive()
        task = asyncio.ensure_future(interface.receive())
        await let_others_run()
        assert not task.done()

        channel.inbox.put("x")

        assert await task == {"type": "websocket.receive", "text": "x"}

    run(main())


def test_disconnect_comes_behind_the_messages_and_then_each_time(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.receive()
        channel.inbox.put("last")
        channel.end(1001, "bye")
        disconnect = {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}

        assert (await interface.receive())["text"] == "last"
        assert [await interface.receive() for _ in range(3)] == [disconnect] * 3

    run(main())


def test_every_task_that_receives_is_told_of_the_end(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.receive()
        tasks = [asyncio.ensure_future(interface.receive()) for _ in range(3)]
        await let_others_run()
        channel.end(1006, "")

        assert [event["type"] for event in await asyncio.gather(*tasks)] == [
            "websocket.disconnect"
        ] * 3

    run(main())


def test_cancelled_receive_loses_no_message(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.receive()
        task = asyncio.ensure_future(interface.receive())
        await let_others_run()
        channel.inbox.put("x")
        task.cancel()
        await let_others_run()

        assert (await interface.receive())["text"] == "x"

    run(main())


def test_receiving_lets_a_full_channel_read_again(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface(inbox_messages=2)
        await interface.receive()
        for _ in range(3):
            channel.inbox.put("x")
        assert not channel.reading
        await interface.receive()
        await interface.receive()

        assert channel.reading

    run(main())


# send


def test_accept_passes_subprotocol_and_headers(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.send(
            {"type": "websocket.accept", "subprotocol": "chat", "headers": [[b"a", b"b"]]}
        )
        assert channel.answers == [("accept", "chat", [(b"a", b"b")])]

    run(main())


@pytest.mark.parametrize("event", [ACCEPT, {**ACCEPT, "subprotocol": None, "headers": None}])
def test_accept_needs_nothing_else(run: Run, event: dict[str, Any]) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.send(event)
        assert channel.answers == [("accept", None, [])]

    run(main())


def test_close_before_accepting_refuses_with_403(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.receive()
        await interface.send(CLOSE)

        assert channel.answers == [("refuse", 403, [], b"")]
        assert (await interface.receive())["type"] == "websocket.disconnect"

    run(main())


def test_response_before_accepting_refuses_with_it_when_it_is_whole(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.send(START)
        await interface.send({**BODY, "more_body": True})
        await interface.send({"type": BODY["type"], "more_body": True})
        assert channel.answers == []

        await interface.send({**BODY, "body": b" Go.", "more_body": False})

        assert channel.answers == [("refuse", 401, [(b"x", b"y")], b"No. Go.")]

    run(main())


def test_messages_are_written_in_order(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.send(ACCEPT)
        for event in (
            {"text": "a"},
            {"bytes": b"b"},
            {"text": "c", "bytes": None},
            {"text": None, "bytes": b""},
            {"text": ""},
        ):
            await interface.send({"type": "websocket.send", **event})

        assert channel.written == [
            b"\x81\x01a",
            b"\x82\x01b",
            b"\x81\x01c",
            b"\x82\x00",
            b"\x81\x00",
        ]

    run(main())


def test_sending_waits_while_the_peer_is_slow(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.send(ACCEPT)
        channel.set_writable(False)
        task = asyncio.ensure_future(interface.send(TEXT))
        await let_others_run()
        assert channel.written
        assert not task.done()

        channel.set_writable(True)
        await task

    run(main())


@pytest.mark.parametrize(
    ("event", "code", "reason"),
    [
        (CLOSE, 1000, ""),
        ({**CLOSE, "code": None, "reason": None}, 1000, ""),
        ({**CLOSE, "code": 4001, "reason": "bye"}, 4001, "bye"),
    ],
)
def test_close_after_accepting_closes(
    run: Run, event: dict[str, Any], code: int, reason: str
) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.send(ACCEPT)
        await interface.send(event)
        await interface.send(event)

        assert (channel.close_code, channel.close_reason) == (code, reason)

    run(main())


def test_sending_to_a_peer_who_has_gone_raises_an_os_error(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        await interface.send(ACCEPT)
        channel.end(1006, "")

        with pytest.raises(ClientDisconnected):
            await interface.send(TEXT)
        assert issubclass(ClientDisconnected, OSError)

    run(main())


@pytest.mark.parametrize(
    ("before", "event", "sentence"),
    [
        (
            [],
            TEXT,
            "expected 'websocket.accept', 'websocket.close' or 'websocket.http.response.start', "
            "got 'websocket.send'",
        ),
        ([], BODY, "got 'websocket.http.response.body'"),
        ([], {"type": "http.response.start"}, "got 'http.response.start'"),
        ([START], TEXT, "expected 'websocket.http.response.body', got 'websocket.send'"),
        ([START], ACCEPT, "expected 'websocket.http.response.body', got 'websocket.accept'"),
        (
            [ACCEPT],
            ACCEPT,
            "expected 'websocket.send' or 'websocket.close', got 'websocket.accept'",
        ),
        ([ACCEPT], START, "got 'websocket.http.response.start'"),
        ([ACCEPT], {"type": "websocket.send"}, "'websocket.send' needs 'bytes' or 'text'"),
        (
            [ACCEPT],
            {"type": "websocket.send", "text": None, "bytes": None},
            "'websocket.send' needs 'bytes' or 'text'",
        ),
        ([CLOSE], CLOSE, "got 'websocket.close' after the handshake was refused"),
        ([CLOSE], ACCEPT, "got 'websocket.accept' after the handshake was refused"),
        ([START, BODY], BODY, "got 'websocket.http.response.body' after the handshake was refused"),
    ],
)
def test_event_that_is_not_allowed_raises_and_says_which_one_is(
    run: Run, before: list[dict[str, Any]], event: dict[str, Any], sentence: str
) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        for earlier in before:
            await interface.send(earlier)
        answers, written = list(channel.answers), list(channel.written)

        with pytest.raises(RuntimeError) as caught:
            await interface.send(event)

        assert sentence in str(caught.value)
        assert (channel.answers, channel.written) == (answers, written)

    run(main())


# find_channel


def test_channel_is_found_by_its_own_receive_and_send(run: Run) -> None:
    async def main() -> None:
        channel, interface = new_interface()
        scope = {"type": "websocket", "extensions": interface.extensions()}
        assert find_channel(scope, interface.receive, interface.send) is channel
        # A middleware may hand on a scope of its own making.
        assert find_channel({**scope}, interface.receive, interface.send) is channel

    run(main())


def test_channel_is_not_found_behind_somebody_who_listens(run: Run) -> None:
    async def main() -> None:
        _, interface = new_interface()
        _, other = new_interface()
        scope = {"type": "websocket", "extensions": interface.extensions()}

        async def receive() -> Any:
            return await interface.receive()

        async def send(event: Any) -> None:
            await interface.send(event)

        for pair in (
            (receive, interface.send),
            (interface.receive, send),
            (receive, send),
            (interface.receive, other.send),
            (interface.send, interface.receive),
        ):
            assert find_channel(scope, *pair) is None

    run(main())


@pytest.mark.parametrize(
    "scope",
    [{}, {"extensions": None}, {"extensions": {}}, {"extensions": {"websocket.http.response": {}}}],
)
def test_channel_is_not_found_on_a_foreign_server(run: Run, scope: dict[str, Any]) -> None:
    async def main() -> None:
        _, interface = new_interface()
        assert find_channel(scope, interface.receive, interface.send) is None

    run(main())


def test_extensions_say_what_can_be_done(run: Run) -> None:
    async def main() -> None:
        _, interface = new_interface()
        assert interface.extensions() == {"websocket.http.response": {}, EXTENSION: {}}

    run(main())
