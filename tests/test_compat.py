"""The dwebsocket dialect: what its socket does where the native one does something else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import select
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from adwebsocket import accept_websocket, compat
from adwebsocket.decorators import ensure_websocket_view
from adwebsocket.transport.bridge import get_bridge
from tests.connections import RecordingChannel, on_event_loop, wait_on

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
    for call in (socket.wait, socket.read, socket.has_messages, socket.count_messages):
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


# Loops that do not stop


@on_event_loop
async def test_calls_after_the_end_take_longer_and_longer_and_are_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    naps: list[float] = []
    monkeypatch.setattr(compat, "pause", naps.append)
    socket, _ = new_socket(end=True)
    assert socket.wait() is None

    def spin() -> None:
        for call in (socket.wait, socket.read, socket.wait, lambda: list(socket), socket.wait) * 3:
            with contextlib.suppress(EOFError):
                call()

    await asyncio.to_thread(spin)

    assert naps[:4] == pytest.approx([0.05, 0.1, 0.2, 0.4], abs=0.02)
    assert max(naps) == pytest.approx(1, abs=0.02)
    assert len(naps) == 14
    (record,) = caplog.records
    assert "goes on reading" in record.getMessage()
    assert f"{__file__}:" in record.getMessage()


@on_event_loop
async def test_reading_none_after_the_own_close_is_braked_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    naps: list[float] = []
    monkeypatch.setattr(compat, "pause", naps.append)
    socket, _ = new_socket()
    socket.close()

    def spin() -> None:
        assert [socket.wait(), socket.read(), socket.has_messages()] == [None, None, False]

    await asyncio.to_thread(spin)

    assert naps == pytest.approx([0.05, 0.1], abs=0.02)


@on_event_loop
async def test_who_looks_at_many_ended_sockets_in_turn_is_not_braked_by_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    naps: list[float] = []
    sockets = [new_socket(end=True)[0] for _ in range(10)]

    def look() -> None:
        for _ in range(3):
            for socket in sockets:
                with contextlib.suppress(EOFError):
                    socket.read()

    await asyncio.to_thread(look)
    await asyncio.sleep(0.25)
    monkeypatch.setattr(compat, "pause", naps.append)
    await asyncio.to_thread(look)

    # The first look came long after the one before.
    assert naps[:10] == [0.0] * 10


@on_event_loop
async def test_reason_may_be_bytes_as_the_original_had_it() -> None:
    socket, channel = new_socket()
    socket.close(1000, "tschüß".encode())
    await let_the_loop_run()

    assert channel.closes == [(1000, "tschüß")]


@on_event_loop
async def test_event_loop_is_never_braked(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr(compat, "pause", naps.append)
    socket, _ = new_socket()
    for _ in range(500):
        assert socket.read() is None
    socket.close()
    for _ in range(10):
        assert socket.read() is None

    assert naps == []


class Naps:
    """Waiters that note how long they would have waited."""

    def __init__(self) -> None:
        self.lengths: list[float] = []

    def __call__(self) -> Naps:
        return self

    def park(self, timeout: float | None) -> bool:
        assert timeout is not None
        self.lengths.append(timeout)
        return False

    def wake(self, _: None) -> None:
        raise AssertionError("nothing comes")


@on_event_loop
async def test_empty_polls_without_a_pause_wait_and_others_do_not() -> None:
    naps = Naps()
    socket = compat.WebSocket(RecordingChannel(asyncio.get_running_loop()), get_bridge())
    socket.accept()

    def poll() -> None:
        for _ in range(4):
            socket.read()
            socket.has_messages()
        assert naps.lengths == []
        for _ in range(20):
            socket.read()
            socket.count_messages()
        assert 30 <= len(naps.lengths) <= 40
        # Sending between polls is no idle loop.
        naps.lengths.clear()
        for _ in range(10):
            socket.send(b"x")
            socket.read()
        assert naps.lengths == []

    await asyncio.to_thread(wait_on, naps, poll)


@on_event_loop
async def test_message_ends_the_wait_of_a_busy_poll() -> None:
    socket, channel = new_socket()
    loop = asyncio.get_running_loop()

    def poll() -> Any:
        while (message := socket.read()) is None:
            pass
        return message

    polling = asyncio.create_task(asyncio.to_thread(poll))
    await asyncio.sleep(0.2)
    loop.call_soon(channel.inbox.put, "at last")

    assert await polling == b"at last"
    assert list(channel.inbox.waiters) == []


@on_event_loop
async def test_push_loop_that_does_not_notice_the_end_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    socket, channel = new_socket(end=True)
    for _ in range(3000):
        socket.send("lost")

    assert channel.written == []
    (record,) = caplog.records
    assert "has sent 1000 messages" in record.getMessage()


# Below the socket


@on_event_loop
async def test_descriptor_is_readable_while_something_is_queued() -> None:
    socket, channel = new_socket()

    def readable() -> bool:
        return bool(select.select([socket.protocol.sock], [], [], 0)[0])

    assert not readable()
    channel.inbox.put("one")
    channel.inbox.put("two")
    assert readable()
    assert readable()
    socket.read()
    assert readable()
    socket.read()
    assert not readable()
    channel.end(1000, "")
    assert readable()
    assert socket.read() is None
    assert readable()


@on_event_loop
async def test_select_wakes_up_for_a_message_and_takes_it_from_nobody() -> None:
    socket, channel = new_socket()
    number = socket.protocol.sock.fileno()
    waiting = asyncio.create_task(asyncio.to_thread(socket.wait, 20))
    selecting = asyncio.create_task(asyncio.to_thread(select.select, [number], [], [], 20))
    while len(channel.inbox.waiters) < 2:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.01)
    channel.inbox.put("one")
    # The thread in wait() may have taken the first before the other has come to its select().
    channel.inbox.put("two")

    assert await selecting == ([number], [], [])
    assert await waiting == b"one"


@on_event_loop
async def test_protocol_closes_and_tells_so() -> None:
    socket, channel = new_socket()
    assert not socket.protocol.is_closed()
    socket.protocol.close()
    await let_the_loop_run()

    assert socket.protocol.is_closed()
    assert channel.closes == [(1000, "")]


@on_event_loop
async def test_socket_that_outlives_its_connection_is_small_and_silent() -> None:
    socket, channel = new_socket("unread")
    socket.protocol.sock.fileno()
    socket.close()
    await let_the_loop_run()
    socket.detach()
    gone = weakref.ref(channel)
    del channel
    gc.collect()

    assert gone() is None
    assert [socket.wait(), socket.read(), socket.count_messages()] == [None, None, 0]
    socket.send("to nobody")
    socket.close()
    assert socket.closed
    assert socket.is_closed()
    assert (socket.close_code, socket.close_reason) == (1000, "")
    assert select.select([socket.protocol.sock], [], [], 0)[0]


def test_view_is_found_behind_decorators_that_hide_it() -> None:
    def outer(view: Callable[..., Any]) -> Callable[..., Any]:
        def decorated(request: Any, *args: Any) -> Any:
            return view(request, *args)

        return decorated

    def plain(request: Any) -> None:
        pass

    class View:
        get = staticmethod(outer(compat.accept_websocket(plain)))

    def as_view(request: Any) -> None:
        pass

    as_view.view_class = View  # type: ignore[attr-defined]

    for hidden in (outer(outer(compat.accept_websocket(plain))), as_view):
        assert ensure_websocket_view(hidden, compat.accept_websocket) is hidden
    for other in (outer(plain), outer(accept_websocket(plain))):
        assert ensure_websocket_view(other, compat.accept_websocket) is None


@on_event_loop
async def test_burst_from_the_event_loop_itself_goes_out_whole() -> None:
    socket, channel = new_socket()
    for number in range(100):
        socket.send(str(number))
    await let_the_loop_run()

    assert channel.written == [str(number) for number in range(100)]
