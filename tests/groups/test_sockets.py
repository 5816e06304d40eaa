"""Sockets in groups: ``join`` and ``leave`` in views of all kinds, and how memberships end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path

from adwebsocket import ConnectionClosed, compat, groups, require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.groups.membership import Membership
from adwebsocket.groups.registry import get_backend, get_hub
from tests.connections import WebSocketConversation, on_event_loop
from tests.groups.scripted import count_alive, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

notes: list[Any] = []


class Fault(Exception):
    """What a view raises."""


def act(request: Any, how: str) -> Any:
    """Join, and end in one of several ways; the view of all blocking kinds."""
    socket = request.websocket
    notes.append(socket.join("room", presence=how))
    socket.send("joined")
    for message in socket:
        if message in ("raise", b"raise"):
            raise Fault
        if message in ("return", b"return"):
            return "ignored"
        if message in ("close", b"close"):
            socket.close(4000, "own")
        elif message in ("leave", b"leave"):
            socket.leave("room")
            socket.leave("room")
            socket.send("left")
        elif message is not None:
            groups.send("room", message)
    return None


@require_websocket
async def act_async(request: Any, how: str) -> Any:
    socket = request.websocket
    notes.append(await socket.join("room", presence=how))
    await socket.send("joined")
    async for message in socket:
        if message == "raise":
            raise Fault
        if message == "return":
            return "ignored"
        if message == "close":
            await socket.close(4000, "own")
        elif message == "leave":
            await socket.leave("room")
            await socket.leave("room")
            await socket.send("left")
        else:
            await groups.asend("room", message)
    return None


def manual(request: Any, how: str) -> Any:
    """Join before the handshake is answered, and then answer it in one of several ways."""
    socket = request.websocket
    try:
        socket.join("room")
    except RuntimeError as error:
        notes.append(str(error))
    if how == "refuse":
        socket.close()
        with pytest.raises(ConnectionClosed):
            socket.join("room")
        return None
    if how == "respond":
        return HttpResponse("no", status=403)
    socket.accept()
    socket.join("room")
    socket.send("joined")
    socket.wait()
    return None


@require_websocket(accept="manual")
async def manual_async(request: Any, how: str) -> Any:
    socket = request.websocket
    try:
        await socket.join("room")
    except RuntimeError as error:
        notes.append(str(error))
    if how == "refuse":
        await socket.close()
        with pytest.raises(ConnectionClosed):
            await socket.join("room")
        return None
    if how == "respond":
        return HttpResponse("no", status=403)
    socket.accept()
    await socket.join("room")
    await socket.send("joined")
    await socket.wait()
    return None


def late(request: Any, how: str) -> None:
    """Join a connection that is over."""
    socket = request.websocket
    if how == "closed":
        socket.close(4000)
    else:
        socket.wait_closed()
    socket.leave("room")
    try:
        socket.join("room")
    except ConnectionClosed as error:
        notes.append(error.code)
        raise


@require_websocket
async def late_async(request: Any, how: str) -> None:
    socket = request.websocket
    if how == "closed":
        await socket.close(4000)
    else:
        await socket.wait_closed()
    await socket.leave("room")
    try:
        await socket.join("room")
    except ConnectionClosed as error:
        notes.append(error.code)
        raise


@require_websocket
def on_loop(request: Any) -> None:
    """Use the blocking socket where it must not be used: on the event loop."""
    socket = request.websocket

    async def call(function: Callable[..., Any]) -> str:
        with pytest.raises(RuntimeError) as caught:
            function("room")
        return str(caught.value)

    for function in (socket.join, socket.leave):
        task = call(function)
        notes.append(asyncio.run_coroutine_threadsafe(task, request.channel.loop).result(10))


@require_websocket
def mistaken(request: Any) -> None:
    """Join with arguments that are wrong, each with its own sentence."""
    for arguments in (
        {"group": "a b"},
        {"group": 5},
        {"group": "room", "since": -1},
        {"group": "room", "slow": "wait"},
        {"group": "room", "presence": {1, 2}},
        {"group": "room", "gap": object()},
    ):
        try:
            request.websocket.join(**arguments)
        except (TypeError, ValueError) as error:
            notes.append(str(error))


COLOURS = {
    "thread": require_websocket(runner="thread"),
    "greenlet": require_websocket(runner="greenlet"),
    "legacy": compat.require_websocket,
}
urlpatterns = [
    *(path(f"{colour}/act/<str:how>", decorate(act)) for colour, decorate in COLOURS.items()),
    path("async/act/<str:how>", act_async),
    path("thread/manual/<str:how>", require_websocket(accept="manual")(manual)),
    path("async/manual/<str:how>", manual_async),
    path("thread/late/<str:how>", require_websocket(late)),
    path("greenlet/late/<str:how>", require_websocket(runner="greenlet")(late)),
    path("async/late/<str:how>", late_async),
    path("on-loop", on_loop),
    path("mistaken", mistaken),
]


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[],
        WEBSOCKET_GROUPS={"BACKEND": "memory", "GROUPS": {"kept*": {"history": 10}}},
    ):
        yield
    notes.clear()


@pytest.fixture(params=[*COLOURS, "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.asynccontextmanager
async def member(
    application: ASGIApplication, colour: str, how: str = "x"
) -> AsyncIterator[WebSocketConversation]:
    async with WebSocketConversation(application, f"/{colour}/act/{how}") as peer:
        await peer.accepted()
        assert await peer.message() == "joined"
        yield peer


def nobody_is_left() -> bool:
    return get_hub().groups() == [] and get_backend().members("room") == []


@on_event_loop
async def test_sockets_of_all_kinds_are_in_one_group() -> None:
    application = ASGIApplication()
    async with contextlib.AsyncExitStack() as stack:
        peers = {
            colour: await stack.enter_async_context(member(application, colour, colour))
            for colour in (*COLOURS, "async")
        }
        assert sorted(get_backend().members("room")) == sorted(peers)
        for sender in peers.values():
            sender.send("é")
            # What the legacy dialect receives is bytes, so it passes on bytes.
            expected = "é".encode() if sender is peers["legacy"] else "é"
            assert [await peer.message() for peer in peers.values()] == [expected] * 4
    assert notes == [(None, None)] * 4
    assert nobody_is_left()


@on_event_loop
async def test_member_that_leaves_gets_nothing_more(colour: str) -> None:
    application = ASGIApplication()
    async with member(application, colour) as leaving, member(application, "async") as other:
        await groups.asend("room", "1")
        assert await leaving.message() == await other.message() == "1"
        leaving.send("leave")
        assert await leaving.message() == "left"
        await groups.asend("room", "2")
        assert await other.message() == "2"
        assert leaving.unread_events() == []


@pytest.mark.parametrize("how", ["return", "raise", "close", "vanish", "lose", "cut"])
@on_event_loop
async def test_membership_ends_with_the_connection_however_that_ends(colour: str, how: str) -> None:
    before = count_alive(Membership)
    application = ASGIApplication()
    async with member(application, "async") as witness:
        async with contextlib.AsyncExitStack() as stack:
            peer = await stack.enter_async_context(member(application, colour))
            if how == "vanish":
                peer.disconnect(1001)
            elif how == "lose":
                peer.disconnect(1006)
            elif how == "cut":
                await groups.aclose("room", 4001, "cut")
                assert await peer.closed() == (4001, "cut")
                assert await witness.closed() == (4001, "cut")
            else:
                peer.send(how)
                code, _ = await peer.closed()
                assert code == {"return": 1000, "close": 4000}.get(how, 1011) or colour == "legacy"
        if how != "cut":
            assert get_backend().members("room") == ["x"]
            await groups.asend("room", "still there?")
            assert await witness.message() == "still there?"
    await until(nobody_is_left)
    del peer, witness, stack
    await until(lambda: count_alive(Membership) <= before)


@pytest.mark.parametrize("colour", ["thread", "async"])
@pytest.mark.parametrize("how", ["accept", "refuse", "respond"])
@on_event_loop
async def test_handshake_must_be_accepted_before(colour: str, how: str) -> None:
    async with WebSocketConversation(ASGIApplication(), f"/{colour}/manual/{how}") as peer:
        if how == "accept":
            await peer.accepted()
            assert await peer.message() == "joined"
            await groups.asend("room", "1")
            assert await peer.message() == "1"
        else:
            assert (await peer.refused()).status == 403
            assert get_hub().groups() == []
    assert notes == [
        "the handshake has not been accepted yet: call request.websocket.accept() first"
    ]
    await until(nobody_is_left)


@pytest.mark.parametrize("colour", ["thread", "greenlet", "async"])
@pytest.mark.parametrize(("how", "code"), [("closed", 4000), ("gone", 1001)])
@on_event_loop
async def test_connection_that_is_over_cannot_join_and_the_view_ends_quietly(
    colour: str, how: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with WebSocketConversation(ASGIApplication(), f"/{colour}/late/{how}") as peer:
        await peer.accepted()
        if how == "closed":
            assert await peer.closed() == (4000, "")
        else:
            peer.disconnect(1001)
    assert notes == [code]
    assert nobody_is_left()
    assert caplog.records == []


@on_event_loop
async def test_client_that_has_gone_before_the_view_runs_leaves_nothing(colour: str) -> None:
    application = ASGIApplication()
    async with WebSocketConversation(application, f"/{colour}/act/x", is_there=False):
        pass
    await until(nobody_is_left)


@on_event_loop
async def test_blocking_socket_refuses_to_wait_on_the_event_loop() -> None:
    async with WebSocketConversation(ASGIApplication(), "/on-loop") as peer:
        await peer.accepted()
        await peer.closed()
    assert len(notes) == 2
    assert all("event loop" in note for note in notes)


@on_event_loop
async def test_arguments_that_are_wrong_are_told_and_open_nothing() -> None:
    async with WebSocketConversation(ASGIApplication(), "/mistaken") as peer:
        await peer.accepted()
        await peer.closed()
    for note, word in zip(
        notes,
        ["not 'a b'", "not int", "not -1", "not 'wait'", "not JSON serializable", "JSON"],
        strict=True,
    ):
        assert word in note
    assert get_hub().groups() == []


@on_event_loop
async def test_server_that_cancels_its_applications_leaves_no_member() -> None:
    application = ASGIApplication()
    peer = WebSocketConversation(application, "/async/act/x")
    await peer.__aenter__()
    await peer.accepted()
    assert await peer.message() == "joined"
    await peer.cancel()
    await until(nobody_is_left)
