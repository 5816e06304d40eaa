"""Two runners with two workers each, as on two machines, whose sockets meet over Redis."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.groups.redis_servers import redis_servers
from tests.processes import DEADLINE, ServerProcess, run, serve, wait_until, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

ASGI = """
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
from adwebsocket.asgi import get_asgi_application

application = get_asgi_application()
"""

URLS = """
import os

from django.http import HttpResponse
from django.urls import path

from adwebsocket import groups, require_websocket


@require_websocket
def sync_room(request):
    request.websocket.join("room", presence="sync")
    request.websocket.send(str(os.getpid()))
    for message in request.websocket:
        groups.send("room", message)


@require_websocket
async def async_room(request):
    await request.websocket.join("room", presence="async")
    await request.websocket.send(str(os.getpid()))
    async for message in request.websocket:
        await groups.asend("room", message)


def send(request):
    groups.send("room", request.GET["text"])
    return HttpResponse(f"sent to {groups.count('room')}")


urlpatterns = [
    path("sync/", sync_room),
    path("async/", async_room),
    path("send/", send),
]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(
        tmp_path_factory.mktemp("project"),
        {"mysite/urls.py": URLS, "mysite/asgi.py": ASGI},
        f"WEBSOCKET_GROUPS = {redis_servers.single.url!r}",
    )


@pytest.fixture(scope="module")
def runners(project: Path) -> Iterator[list[ServerProcess]]:
    arguments = ["-m", "adwebsocket", "mysite.asgi:application", "--workers", "2"]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(serve([*arguments, "--port", "{port}"], cwd=project))
            for _ in range(2)
        ]


def open_room(runner: ServerProcess, path: str, stack: contextlib.ExitStack) -> Member:
    url = runner.url("ws", path)
    return Member(stack.enter_context(connect(url, open_timeout=DEADLINE, proxy=None)))


class Member:
    """A client in the room, and the process that has it."""

    def __init__(self, client: ClientConnection) -> None:
        self._client = client
        self.process = int(self.read())

    def read(self) -> str:
        return str(self._client.recv(timeout=DEADLINE))

    def send(self, text: str) -> None:
        self._client.send(text)


def fill(runners: list[ServerProcess], stack: contextlib.ExitStack) -> list[Member]:
    """Let clients of both kinds into the room until each worker has one of each runner."""
    members: list[Member] = []

    def is_full() -> bool:
        for runner in runners:
            members.extend(open_room(runner, path, stack) for path in ("/sync/", "/async/"))
        return len({member.process for member in members}) == 4

    wait_until(is_full, "a member in each worker")
    return members


def test_message_reaches_all_workers_in_order_wherever_it_comes_from(
    runners: list[ServerProcess], project: Path
) -> None:
    with contextlib.ExitStack() as stack:
        members = fill(runners, stack)
        wait_until(lambda: runners[0].answers(f"sent to {len(members)}", "/send/?text=x"), "all")
        members[0].send("from a sync view")
        members[1].send("from an async view")
        runners[1].get("/send/?text=http")
        code = "from adwebsocket import groups; [groups.send('room', str(n)) for n in range(100)]"
        result = run(["manage.py", "shell", "-c", code], cwd=project)
        assert result.returncode == 0, result.stdout
        for member in members:
            received = [member.read()]
            while received[-1] != "99":
                received.append(member.read())
            views = {"from a sync view", "from an async view", "http"}
            others = [text for text in received if text != "x"]
            assert {text for text in others if text in views} == views
            assert [text for text in others if text not in views] == [str(n) for n in range(100)]


def test_worker_that_is_killed_takes_only_its_own_sockets_along(
    runners: list[ServerProcess],
) -> None:
    with contextlib.ExitStack() as stack:
        members = fill(runners, stack)
        victim = members[0].process
        rest = [member for member in members if member.process != victim]
        os.kill(victim, signal.SIGKILL)
        runners[1].get("/send/?text=still%20here")
        for member in rest:
            while member.read() != "still here":
                pass
        # Another worker takes its place.
        before = {member.process for member in members}
        wait_until(lambda: has_room_elsewhere(runners[0], before), "another worker")


def has_room_elsewhere(runner: ServerProcess, processes: set[int]) -> bool:
    try:
        with contextlib.ExitStack() as stack:
            return open_room(runner, "/async/", stack).process not in processes
    except (OSError, WebSocketException):
        return False
