"""Groups in a real server: clients that vanish, one that is slow among a thousand, and the end."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.hostile.asking import assert_quiet
from tests.hostile.guests import Guest
from tests.hostile.wire import TEXT, Frame, Peer, close_frame
from tests.processes import ServerProcess, serve, wait_until, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator

CROWD = 1000
PATIENCE = 60.0
BACKLOG = 20

URLS = """
import asyncio
import threading

from django.http import HttpResponse, JsonResponse
from django.urls import path

from adwebsocket import compat, groups, require_websocket
from adwebsocket.groups.counts import counts


def stay(request, group):
    request.websocket.join(group)
    request.websocket.send("joined")
    for message in request.websocket:
        pass


@require_websocket
async def stay_async(request, group):
    await request.websocket.join(group)
    await request.websocket.send("joined")
    await request.websocket.wait_closed()


@require_websocket
async def overwhelmed(request, group):
    await request.websocket.join("large", slow="drop_oldest")
    await stay_async.__wrapped__(request, group)


@require_websocket
async def visit_all_the_time(request, group):
    while not request.websocket.closed:
        await request.websocket.join(group)
        await asyncio.sleep(0)
        await request.websocket.leave(group)


def send(request, group, count, size):
    for number in range(count):
        groups.send(group, f"{number}:".ljust(size, "x"))
    return HttpResponse("sent")


def send_from_threads(request, group, count, size):
    threads = [
        threading.Thread(target=send, args=[request, group, count, size]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return HttpResponse("sent")


urlpatterns = [
    path("thread/<str:group>", require_websocket(runner="thread")(stay)),
    path("greenlet/<str:group>", require_websocket(runner="greenlet")(stay)),
    path("legacy/<str:group>", compat.require_websocket(stay)),
    path("async/<str:group>", stay_async),
    path("overwhelmed/<str:group>", overwhelmed),
    path("visiting/<str:group>", visit_all_the_time),
    path("send/<str:group>/<int:count>/<int:size>", send),
    path("send-from-threads/<str:group>/<int:count>/<int:size>", send_from_threads),
    path("count/<str:group>", lambda request, group: HttpResponse(groups.count(group))),
    path("dropped", lambda request: JsonResponse(dict(counts.dropped))),
]
"""

SETTINGS = f"""
WEBSOCKET_GROUPS = {{
    "BACKEND": "memory",
    "GROUPS": {{
        "large": {{"backlog": 1}},
        "crowd": {{"backlog": {BACKLOG}}},
        "busy": {{"backlog": 100_000}},
    }},
}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write_project(tmp_path_factory.mktemp("groups"), {"mysite/urls.py": URLS}, SETTINGS)


def serve_groups(project: Any) -> Any:
    return serve(
        ["-m", "adwebsocket", "--port", "{port}", "--no-access-log"],
        cwd=project,
        env={"DJANGO_SETTINGS_MODULE": "mysite.settings"},
    )


@pytest.fixture(scope="module")
def server(project: Any) -> Iterator[ServerProcess]:
    with serve_groups(project) as server:
        yield server
        assert_quiet(server.output())


def count(server: ServerProcess, group: str) -> int:
    return int(server.get(f"/count/{group}").text)


def dropped(server: ServerProcess, reason: str) -> int:
    return int(json.loads(server.get("/dropped").text).get(reason, 0))


def join(peer: Peer, path: str) -> None:
    peer.open(path)
    assert peer.read_frame() == Frame(TEXT, b"joined")


@pytest.mark.parametrize("colour", ["thread", "greenlet", "legacy", "async"])
def test_client_is_a_member_until_it_closes_or_vanishes(server: ServerProcess, colour: str) -> None:
    with Peer(server) as polite, Peer(server) as rude, Peer(server) as other:
        for peer in (polite, rude, other):
            join(peer, f"/{colour}/room")
        server.get("/send/room/1/4")
        for peer in (polite, rude, other):
            assert peer.read_frame() == Frame(TEXT, b"0:xx")
        polite.send(close_frame(1000))
        assert polite.read_close().code == 1000
        rude.leave(abruptly=True)
        wait_until(lambda: count(server, "room") == 1, "two to be gone")
        server.get("/send/room/1/5")
        assert other.read_frame() == Frame(TEXT, b"0:xxx")
    wait_until(lambda: count(server, "room") == 0, "all to be gone")


def test_one_slow_member_of_a_thousand_is_cut_and_the_others_get_everything(
    server: ServerProcess,
) -> None:
    total = 3 * BACKLOG
    messages = [f"{number}:".ljust(64, "x").encode() for number in range(total)]

    async def stay(slow: Peer) -> None:
        guests = [Guest(server.port) for _ in range(CROWD - 1)]
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(guest.open("/async/crowd") for guest in guests))
                await asyncio.gather(*(guest.receive_until(b"\x81\x06joined") for guest in guests))
                assert await asyncio.to_thread(count, server, "crowd") == CROWD
                await asyncio.to_thread(server.get, f"/send/crowd/{total}/64")
                received = await asyncio.gather(
                    *(guest.receive_until(messages[-1]) for guest in guests)
                )
        finally:
            for guest in guests:
                guest.socket.close()
        expected = b"".join(b"\x81\x40" + message for message in messages)
        assert set(received) == {expected[: -len(messages[-1])]}

    with Peer(server, receive_buffer=4096) as slow:
        join(slow, "/overwhelmed/crowd")

        def is_stuck() -> bool:
            server.get("/send/large/10/100000")
            return dropped(server, "oldest") > 0

        wait_until(is_stuck, "more than the slow member takes")
        before = dropped(server, "disconnected")
        asyncio.run(stay(slow))
        assert dropped(server, "disconnected") == before + BACKLOG + 1
        closing = slow.read_close()
    assert closing == (1013, "too slow for the group crowd")
    wait_until(lambda: count(server, "crowd") == 0, "all to be gone")


def test_threads_that_send_while_others_come_and_go_lose_nothing(server: ServerProcess) -> None:
    with Peer(server) as member:
        visitors = [Peer(server) for _ in range(3)]
        join(member, "/async/busy")
        for visitor in visitors:
            visitor.open("/visiting/busy")
        server.get("/send-from-threads/busy/200/8")
        numbers = [int(member.read_frame().payload.partition(b":")[0]) for _ in range(800)]
        for number in range(200):
            assert numbers.count(number) == 4
        for visitor in visitors:
            visitor.leave(abruptly=True)
    wait_until(lambda: count(server, "busy") == 0, "all to be gone")


def test_server_that_stops_tells_all_members(project: Any) -> None:
    colours = ["thread", "greenlet", "legacy", "async"]
    with serve_groups(project) as server:
        peers = [Peer(server) for _ in colours]
        for peer, colour in zip(peers, colours, strict=True):
            join(peer, f"/{colour}/room")
        server.process.terminate()
        for peer in peers:
            assert peer.read_close().code == 1012
            peer.send(close_frame(1012))
        server.wait_for_exit()
        for peer in peers:
            peer.socket.close()
        assert_quiet(server.output())
