"""``adwebsocket.groups`` as projects call it, from every kind of code that they have."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.dispatch import Signal, receiver
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from adwebsocket import accept_websocket, groups, require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.groups.counts import counts
from adwebsocket.groups.registry import get_backend, get_hub
from tests.connections import (
    HttpConversation,
    RecordingChannel,
    WebSocketConversation,
    on_event_loop,
)
from tests.groups.nodes import Node
from tests.groups.scripted import settle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest

announcement = Signal()
EXPLANATION = (
    "groups.{0}() may wait, which would stop the event loop: use await groups.a{0}()".format
)


@require_websocket
async def member(request: Any) -> None:
    await request.websocket.join("room", presence={"name": "Ann"})
    await request.websocket.send("joined")
    await request.websocket.wait_closed()


def send_all(request: Any) -> None:
    for message in request.websocket:
        groups.send("room", message)


@require_websocket
async def async_view(request: Any) -> None:
    async for message in request.websocket:
        try:
            groups.send("room", "wrong")
        except SynchronousOnlyOperation as error:
            await groups.asend("room", f"{message}: {error}")


@receiver(announcement)
def announce(text: str, **_: Any) -> None:
    groups.send("room", text)


def page(request: HttpRequest, way: str) -> HttpResponse:
    """Send to the group, in one way or another."""
    if way == "view":
        groups.send("room", way)
    elif way == "signal":
        announcement.send(None, text=way)
    elif way == "commit":
        with transaction.atomic():
            transaction.on_commit(lambda: groups.send("room", way))
            assert groups.count("room") == 1
    elif way == "rollback":
        with transaction.atomic():
            transaction.on_commit(lambda: groups.send("room", "never"))
            transaction.set_rollback(True)
        groups.send("room", way)
    else:
        thread = threading.Thread(target=groups.send, args=["room", way])
        thread.start()
        thread.join()
    return HttpResponse(f"{groups.count('room')} {json.dumps(groups.members('room'))}")


async def async_page(request: HttpRequest, way: str) -> HttpResponse:
    if way == "awaited":
        await groups.asend("room", way)
    elif way == "sync-to-async":
        await sync_to_async(groups.send)("room", way)
    else:
        await asyncio.to_thread(groups.send, "room", way)
    return HttpResponse(
        f"{await groups.acount('room')} {json.dumps(await groups.amembers('room'))}"
    )


@accept_websocket
def echo(request: Any) -> None:
    """Send to all others what comes."""
    request.websocket.join("room")
    request.websocket.send("joined")
    for message in request.websocket:
        groups.send("room", message, exclude=request.websocket)


urlpatterns = [
    path("member/", member),
    path("thread/", require_websocket(runner="thread")(send_all)),
    path("greenlet/", require_websocket(runner="greenlet")(send_all)),
    path("async/", async_view),
    path("echo/", echo),
    path("page/<str:way>", page),
    path("async-page/<str:way>", async_page),
]


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[],
        WEBSOCKET_GROUPS={
            "BACKEND": "memory",
            "GROUPS": {"small": {"max_message_size": 5}, "kept": {"history": 10}},
        },
    ):
        yield


@pytest.fixture
def node() -> Iterator[Node]:
    """An event loop with a hub of the project's back-end, so that tests can send as any code."""
    node = Node(get_backend())
    yield node
    node.stop()


async def open_member(peer: WebSocketConversation) -> None:
    await peer.accepted()
    assert await peer.message() == "joined"


# From where


@pytest.mark.parametrize("view", ["thread", "greenlet"])
@on_event_loop
async def test_sync_view_sends(view: str) -> None:
    application = ASGIApplication()
    async with (
        WebSocketConversation(application, "/member/") as peer,
        WebSocketConversation(application, f"/{view}/") as sender,
    ):
        await open_member(peer)
        await sender.accepted()
        for message in ("1", b"2", "3"):
            sender.send(message)
        assert [await peer.message() for _ in range(3)] == ["1", b"2", "3"]


@on_event_loop
async def test_async_view_is_told_to_await_and_sends() -> None:
    application = ASGIApplication()
    async with (
        WebSocketConversation(application, "/member/") as peer,
        WebSocketConversation(application, "/async/") as sender,
    ):
        await open_member(peer)
        await sender.accepted()
        sender.send("1")
        assert await peer.message() == f"1: {EXPLANATION('send')}"


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    "page",
    [
        *("page/view", "page/signal", "page/commit", "page/rollback", "page/thread"),
        *("async-page/awaited", "async-page/sync-to-async", "async-page/to-thread"),
    ],
)
@on_event_loop
async def test_page_sends_and_knows_who_is_there(page: str) -> None:
    application = ASGIApplication()
    async with WebSocketConversation(application, "/member/") as peer:
        await open_member(peer)
        async with HttpConversation(application, f"/{page}") as client:
            assert (await client.response()).text == '1 [{"name": "Ann"}]'
        assert await peer.message() == page.partition("/")[2]


@on_event_loop
async def test_sender_may_be_left_out() -> None:
    application = ASGIApplication()
    async with (
        WebSocketConversation(application, "/echo/") as first,
        WebSocketConversation(application, "/echo/") as second,
    ):
        await open_member(first)
        await open_member(second)
        first.send("from the first")
        assert await second.message() == "from the first"
        second.send("from the second")
        assert await first.message() == "from the second"


@pytest.mark.parametrize("name", ["send", "close", "count", "members"])
@on_event_loop
async def test_what_may_wait_is_refused_on_the_event_loop_with_the_way_out(name: str) -> None:
    arguments = ["room", "x"] if name == "send" else ["room"]
    with pytest.raises(SynchronousOnlyOperation) as caught:
        getattr(groups, name)(*arguments)
    assert str(caught.value) == EXPLANATION(name)


# What


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("text é", "text é"),
        ("", ""),
        (mark_safe("<b>"), "<b>"),
        (b"\0\xff", b"\0\xff"),
        (bytearray(b"ab"), b"ab"),
        pytest.param(memoryview(b"abcd")[::2], b"ac", id="memoryview"),
        ({"a": [1, None, True]}, '{"a":[1,null,true]}'),
        ([], "[]"),
        (None, "null"),
        (5, "5"),
        ({"day": date(2024, 2, 29)}, '{"day":"2024-02-29"}'),
        (Decimal("1.10"), '"1.10"'),
        (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (gettext_lazy("Yes"), '"Yes"'),
        ({"lone": "\ud800"}, '{"lone":"\\ud800"}'),
    ],
    ids=repr,
)
def test_message_goes_out_as_its_type_says(node: Node, message: Any, sent: str | bytes) -> None:
    member = node.join("room")
    groups.send("room", message)
    member.has_received(sent)


@pytest.mark.parametrize(
    ("message", "error"),
    [("\ud800", UnicodeEncodeError), (object(), TypeError), ({1, 2}, TypeError)],
    ids=["surrogate", "object", "set"],
)
def test_what_cannot_be_sent_is_refused_and_nobody_gets_it(
    node: Node, message: Any, error: type[Exception]
) -> None:
    member = node.join("room")
    with pytest.raises(error):
        groups.send("room", message)
    groups.send("room", "next")
    member.has_received("next")


def test_message_over_the_limit_is_refused(node: Node) -> None:
    member = node.join("small")
    for message in ("123456", b"123456", {"a": 1}):
        with pytest.raises(ValueError, match=r"small may have 5 bytes \(max_message_size\), not "):
            groups.send("small", message)
    groups.send("small", "12345")
    member.has_received("12345")


@pytest.mark.parametrize("function", ["send", "count", "members", "close"])
@pytest.mark.parametrize("name", ["", "a b", "room*", "x" * 151])
def test_names_are_checked_everywhere(function: str, name: str) -> None:
    arguments = [name, "x"] if function == "send" else [name]
    with pytest.raises(ValueError, match="name of a group"):
        getattr(groups, function)(*arguments)
    with pytest.raises(ValueError, match="name of a group"):
        asyncio.run(getattr(groups, f"a{function}")(*arguments))


def test_group_that_nobody_is_in_is_no_mistake() -> None:
    groups.send("nobody", "x")
    groups.close("nobody")
    assert groups.count("nobody") == 0
    assert groups.members("nobody") == []


def test_key_must_be_a_text(node: Node) -> None:
    with pytest.raises(TypeError, match="key must be a str, not int"):
        groups.send("room", "x", key=5)  # type: ignore[arg-type]


def test_newest_value_of_each_key_reaches_a_slow_member(node: Node) -> None:
    member = node.join("room", slow="latest")
    member.set_writable(False)
    for value in range(3):
        for key in ("a", "b"):
            groups.send("room", {key: value}, key=key)
    node.call(lambda: None)
    member.set_writable(True)
    member.has_received('{"a":2}', '{"b":2}')


# Whom not


class Sock:
    """What ``exclude`` asks of a socket, for members of nodes."""

    def __init__(self, member: Any) -> None:
        self._memberships = member.channel.memberships

    def address_in(self, group: str) -> str | None:
        membership = (self._memberships or {}).get(group)
        return None if membership is None else membership.address


def test_socket_of_another_event_loop_may_be_left_out(node: Node) -> None:
    other = Node(get_backend())
    here, there = node.join("room"), other.join("room")
    groups.send("room", "1", exclude=Sock(here))  # type: ignore[arg-type]
    groups.send("room", "2", exclude=Sock(there))  # type: ignore[arg-type]
    groups.send("room", "3")
    here.has_received("2", "3")
    there.has_received("1", "3")
    other.stop()


def test_socket_that_is_no_member_excludes_nobody(node: Node) -> None:
    member, stranger, ended = node.join("room"), node.join("other"), node.join("room")
    ended.disconnect()
    groups.send("room", "1", exclude=Sock(stranger))  # type: ignore[arg-type]
    groups.send("room", "2", exclude=Sock(ended))  # type: ignore[arg-type]
    member.has_received("1", "2")


@on_event_loop
async def test_socket_whose_view_has_returned_excludes_nobody() -> None:
    from adwebsocket.async_websocket import AsyncWebSocket

    channel = RecordingChannel(asyncio.get_running_loop())
    channel.accept()
    await get_hub().join(channel, "room")
    gone = AsyncWebSocket(RecordingChannel(channel.loop))
    gone.detach()
    await groups.asend("room", "1", exclude=gone)
    await settle()
    assert channel.written == ["1"]


# Closing, counting


def test_group_is_closed_with_code_and_reason(node: Node) -> None:
    members = [node.join("room"), node.join("room")]
    groups.close("room", 4000, "over")
    for member in members:
        node.call(lambda: None)
        assert member.channel.closes == [(4000, "over")]
    assert groups.count("room") == 0


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (["room", 1005], ValueError, "close code must be"),
        (["room", "4000"], TypeError, "close code must be an int"),
        (["room", 4000, "x" * 124], ValueError, "123 bytes"),
        ([5], TypeError, "name of a group or a user that is saved, not 5"),
        ([None], TypeError, "name of a group or a user that is saved"),
        ([AnonymousUser()], TypeError, "name of a group or a user that is saved"),
    ],
)
def test_what_cannot_be_closed_is_told(
    arguments: list[Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        groups.close(*arguments)
    with pytest.raises(TypeError, match="saved"):
        groups.close(get_user_model()(username="new"))


def test_user_is_named_to_all_processes_by_the_primary_key(node: Node) -> None:
    groups.close(get_user_model()(pk=17), 4401, "logged out")
    node.call(lambda: None)
    assert node.closed_users == [groups.Closing(None, "17", 4401, "logged out")]


def test_members_are_counted_and_named_over_all_loops(node: Node) -> None:
    other = Node(get_backend())
    node.join("room", presence={"name": "Ann"})
    other.join("room")
    assert groups.count("room") == 2
    assert sorted(groups.members("room"), key=str) == [None, {"name": "Ann"}]
    other.stop()


# The books


def test_messages_are_counted_from_end_to_end(node: Node) -> None:
    before = (counts.published, counts.received, counts.delivered)
    members = [node.join("room") for _ in range(3)]
    members[0].disconnect()
    groups.send("room", "1")
    groups.send("nobody", "1")
    members[1].has_received("1")
    assert (counts.published, counts.received, counts.delivered) == (
        before[0] + 2,
        before[1] + 1,
        before[2] + 2,
    )


def test_message_that_cannot_be_handed_over_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise groups.GroupsUnavailable("no way")

    monkeypatch.setattr(get_backend(), "publish", fail)
    before, published = counts.unpublished["GroupsUnavailable"], counts.published
    with pytest.raises(groups.GroupsUnavailable):
        groups.send("room", "x")
    with pytest.raises(groups.GroupsUnavailable):
        asyncio.run(groups.asend("room", "x"))
    assert counts.unpublished["GroupsUnavailable"] == before + 2
    assert counts.published == published
