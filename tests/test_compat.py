"""The dwebsocket dialect: what its socket does where the native one does something else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from adwebsocket import compat
from adwebsocket.transport.bridge import get_bridge
from tests.connections import RecordingChannel, on_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable


def new_socket(*messages: str | bytes, end: bool = False) -> tuple[compat.WebSocket, Any]:
    """Give an accepted socket with messages in its queue, and the end behind them."""
    channel = RecordingChannel(asyncio.get_running_loop())
    socket = compat.WebSocket(channel, get_bridge())
    socket.accept()
    for message in messages:
        channel.inbox.put(message)
    if end:
        channel.end(1001, "")
    return socket, channel


async def let_the_loop_run() -> None:
    """Let what was sent and closed reach the channel."""
    for _ in range(3):
        await asyncio.sleep(0)


@on_event_loop
async def test_text_and_binary_messages_are_bytes() -> None:
    socket, _ = new_socket("héllo", b"\xff", "")

    assert [socket.wait(), socket.read(), socket.wait()] == ["héllo".encode(), b"\xff", b""]


@on_event_loop
async def test_end_is_one_none_and_then_eof_error() -> None:
    socket, _ = new_socket("last", end=True)

    assert [socket.wait(), socket.wait()] == [b"last", None]
    for call in (socket.wait, socket.read, socket.wait):
        with pytest.raises(EOFError):
            call()


@on_event_loop
async def test_iteration_yields_the_final_none() -> None:
    socket, _ = new_socket("one", "", "two", end=True)

    assert list(socket) == [b"one", b"", b"two", None]
    assert list(socket) == []


@on_event_loop
async def test_end_is_seen_without_waiting_as_a_queued_none() -> None:
    socket, _ = new_socket("last", end=True)

    assert (socket.has_messages(), socket.count_messages(), socket.is_closed()) == (True, 2, False)
    assert socket.read("nothing") == b"last"
    assert (socket.has_messages(), socket.count_messages(), socket.is_closed()) == (True, 1, True)
    assert socket.read("nothing") is None


@on_event_loop
async def test_reading_gives_the_fallback_while_nothing_is_there() -> None:
    socket, _ = new_socket()

    assert socket.read() is None
    assert socket.read("nothing") == "nothing"
    assert await asyncio.to_thread(socket.wait, 0) is None


@on_event_loop
async def test_everything_goes_out_as_text_except_what_cannot_be_text() -> None:
    socket, channel = new_socket()
    for message in ("é", "é".encode(), bytearray(b"a"), memoryview(b"b"), b"\xff"):
        socket.send(message)
    socket.send(b"flag", True)
    await let_the_loop_run()

    assert channel.written == ["é", "é", "a", "b", b"\xff", "flag"]


@pytest.mark.parametrize("message", [None, 1, {}, []], ids=repr)
@on_event_loop
async def test_other_types_are_an_error_while_open_and_nothing_after_the_end(message: Any) -> None:
    socket, channel = new_socket()
    with pytest.raises(TypeError, match="must be str"):
        socket.send(message)

    channel.end(1006, "")

    socket.send(message)
    socket.send("late")
    await let_the_loop_run()
    assert channel.written == []


@on_event_loop
async def test_after_the_own_close_everything_reads_as_none_for_ever() -> None:
    socket, channel = new_socket("unread")
    socket.send("before")
    assert not socket.closed
    socket.close()
    socket.close()
    await let_the_loop_run()

    assert socket.closed
    assert socket.is_closed()
    assert [socket.wait(), socket.wait(), socket.read(), socket.read("x")] == [None] * 4
    assert (socket.has_messages(), socket.count_messages()) == (False, 0)
    assert list(socket) == [None]
    socket.send("late")
    await let_the_loop_run()
    assert (channel.written, channel.closes) == (["before"], [(1000, "")])


@on_event_loop
async def test_closed_tells_of_the_own_close_only() -> None:
    socket, _ = new_socket(end=True)

    assert not socket.closed
    assert socket.is_closed()


@on_event_loop
async def test_socket_is_an_object_like_any_other() -> None:
    socket, _ = new_socket()
    other, _ = new_socket()
    socket.user = "me"  # type: ignore[attr-defined]

    assert socket
    assert len({socket, other, socket}) == 2
    assert socket != other
    assert str(socket) == str(socket) != str(other)


@on_event_loop
async def test_any_exception_is_a_quiet_end_once_the_connection_has_ended() -> None:
    socket, channel = new_socket()
    assert not socket.ends_quietly(AttributeError())
    channel.end(1006, "")
    assert socket.ends_quietly(AttributeError())
    assert not socket.ends_quietly(SystemExit())


@pytest.mark.parametrize(
    ("decorator", "status"), [(compat.accept_websocket, 200), (compat.require_websocket, 400)]
)
def test_plain_request_reaches_the_view_or_is_refused(
    decorator: Callable[..., Any], status: int
) -> None:
    @decorator
    def view(request: Any) -> HttpResponse:
        assert request.is_websocket() is False
        assert request.websocket is None
        return HttpResponse("page")

    assert view(RequestFactory().get("/")).status_code == status
    assert view.accept_websocket is True
