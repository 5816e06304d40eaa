"""Groups over the workers of the real runner, with messages from all that a project is made of."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from adwebsocket.groups.registry import WORKERS_VARIABLE
from adwebsocket.supervising import WORKERS_VARIABLE as VARIABLE_OF_THE_RUNNER
from tests.processes import DEADLINE, ServerProcess, run, serve, wait_until, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

WORKERS = 3

URLS = """\
import os
import threading

from django.db import transaction
from django.http import HttpResponse
from django.urls import path

from adwebsocket import groups, require_websocket


@require_websocket
def sync_room(request):
    request.websocket.join("room", presence={"pid": os.getpid()})
    request.websocket.send(str(os.getpid()))
    for message in request.websocket:
        groups.send("room", message)


@require_websocket
async def async_room(request):
    await request.websocket.join("room", presence={"pid": os.getpid()})
    await request.websocket.send(str(os.getpid()))
    async for message in request.websocket:
        await groups.asend("room", message)


@require_websocket
def kept_room(request):
    request.websocket.join("kept", since=request.GET.get("since"), positions=True)
    for message in request.websocket:
        groups.send("kept", message)


def say(request):
    groups.send(request.GET.get("group", "room"), request.GET["text"])
    return HttpResponse(status=204)


async def say_async(request):
    await groups.asend("room", request.GET["text"])
    return HttpResponse(status=204)


def say_on_commit(request):
    with transaction.atomic():
        transaction.on_commit(lambda: groups.send("room", request.GET["text"]))
    return HttpResponse(status=204)


def say_in_thread(request):
    thread = threading.Thread(target=groups.send, args=["room", request.GET["text"]])
    thread.start()
    thread.join()
    return HttpResponse(status=204)


def close(request):
    groups.close("room", 4001, "over")
    return HttpResponse(status=204)


def pids(request):
    return HttpResponse(" ".join(sorted(str(each["pid"]) for each in groups.members("room"))))


urlpatterns = [
    path("sync", sync_room),
    path("async", async_room),
    path("kept", kept_room),
    path("say", say),
    path("say-async", say_async),
    path("say-on-commit", say_on_commit),
    path("say-in-thread", say_in_thread),
    path("close", close),
    path("pids", pids),
]
"""

# No back-end is named: with several workers it is the default, and the shell is told by the
# environment how many there are.
SETTINGS = """
WEBSOCKET_RUNTIME_DIR = BASE_DIR / "run"
WEBSOCKET_GROUPS = {"GROUPS": {"kept": {"history": 1000}}}
LOGGING = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"adwebsocket": {"handlers": ["console"], "level": "INFO"}},
    "disable_existing_loggers": False,
}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("local")
    return write_project(directory, {"mysite/urls.py": URLS}, settings=SETTINGS)


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[ServerProcess]:
    arguments = ["-m", "adwebsocket", "--settings", "mysite.settings", "--port", "{port}"]
    with serve([*arguments, "--workers", str(WORKERS)], cwd=project) as server:
        yield server


class Guest:
    """A client in a room: which worker it is at, and what it has received."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client
        self.pid = int(client.recv(timeout=DEADLINE))

    def receives(self, *messages: str) -> None:
        for message in messages:
            assert self.client.recv(timeout=DEADLINE) == message


@pytest.fixture
def guests(server: ServerProcess) -> Iterator[list[Guest]]:
    """Return members at all workers, some in sync and some in async views."""
    with ExitStack() as stack:
        guests: list[Guest] = []

        def is_everywhere() -> bool:
            for path in ("/sync", "/async"):
                client = connect(server.url("ws", path), proxy=None)
                guests.append(Guest(stack.enter_context(client)))
            return len({guest.pid for guest in guests}) == WORKERS

        wait_until(is_everywhere, "members at all workers")
        yield guests
    wait_until(lambda: server.answers("", "/pids"), "their end")


def assert_all_receive(guests: list[Guest], *messages: str) -> None:
    for guest in guests:
        guest.receives(*messages)


def shell(project: Path, code: str) -> None:
    environment = {WORKERS_VARIABLE: str(WORKERS)}
    result = run(["manage.py", "shell", "-c", code], cwd=project, env=environment)
    assert result.returncode == 0, result.stdout


class TestWorkers:
    def test_message_of_any_socket_reaches_all_workers_in_order(self, guests: list[Guest]) -> None:
        for guest in guests[:2]:
            messages = [str(number) for number in range(100)]
            for message in messages:
                guest.client.send(message)
            assert_all_receive(guests, *messages)

    @pytest.mark.parametrize("path", ["say", "say-async", "say-on-commit", "say-in-thread"])
    def test_message_of_an_http_view_reaches_all_workers(
        self, server: ServerProcess, guests: list[Guest], path: str
    ) -> None:
        assert server.get(f"/{path}?text={path}").status == 204
        assert_all_receive(guests, path)

    def test_message_of_the_shell_reaches_all_workers(
        self, project: Path, guests: list[Guest]
    ) -> None:
        shell(
            project,
            "from adwebsocket import groups\n"
            "for number in range(1000): groups.send('room', f'from outside {number}')",
        )
        assert_all_receive(guests, *[f"from outside {number}" for number in range(1000)])

    def test_members_of_all_workers_are_known_to_each(
        self, server: ServerProcess, guests: list[Guest]
    ) -> None:
        expected = " ".join(sorted(str(guest.pid) for guest in guests))
        for _ in range(2 * WORKERS):
            assert server.get("/pids").text == expected

    def test_group_is_closed_at_all_workers(
        self, server: ServerProcess, guests: list[Guest]
    ) -> None:
        server.get("/close")
        for guest in guests:
            with pytest.raises(ConnectionClosed):
                guest.client.recv(timeout=DEADLINE)
            assert guest.client.close_code == 4001

    def test_senders_at_all_workers_have_one_history(self, server: ServerProcess) -> None:
        with ExitStack() as stack:
            clients = [
                stack.enter_context(connect(server.url("ws", "/kept"), proxy=None))
                for _ in range(2 * WORKERS)
            ]
            for client in clients:
                client.recv(timeout=DEADLINE)  # where the history stands
            for number in range(50):
                for client in clients:
                    client.send(str(number))
            logs = [
                [client.recv(timeout=DEADLINE) for _ in range(50 * len(clients))]
                for client in clients
            ]
        assert all(log == logs[0] for log in logs)
        assert len(set(logs[0])) == len(logs[0])


class TestDeath:
    def test_worker_that_is_killed_takes_only_its_own_sockets_along(
        self, server: ServerProcess, project: Path, guests: list[Guest]
    ) -> None:
        victim = guests[0].pid
        others = [guest for guest in guests if guest.pid != victim]
        for number in range(200):
            if number == 100:
                os.kill(victim, signal.SIGKILL)
            others[number % len(others)].client.send(str(number))
            others[0].receives(str(number))
        for other in others[1:]:
            received = [int(other.client.recv(timeout=DEADLINE)) for _ in range(200)]
            # Messages of different senders may overtake each other.
            for sender in range(len(others)):
                own = [number for number in received if number % len(others) == sender]
                assert own == list(range(sender, 200, len(others)))
        for guest in guests:
            if guest not in others:
                with pytest.raises(ConnectionClosed):
                    list(guest.client)
        names = {str(guest.pid) for guest in others}
        wait_until(lambda: set(server.get("/pids").text.split()) == names, "the death")

        def sockets() -> list[str]:
            return [path.name for path in (project / "run").glob("*.groups")]

        # Somebody who sends finds the new worker, and removes what the old one has left behind.
        def is_replaced() -> bool:
            server.get("/say?group=nobody&text=hello")
            found = sockets()
            return len(found) == WORKERS and not any(
                name.startswith(f"{victim}-") for name in found
            )

        wait_until(is_replaced, "another worker")


def test_runner_and_groups_mean_the_same_variable() -> None:
    assert VARIABLE_OF_THE_RUNNER == WORKERS_VARIABLE


def test_history_survives_all_server_processes(project: Path) -> None:
    arguments = ["-m", "adwebsocket", "--settings", "mysite.settings", "--port", "{port}"]

    def talk(path: str) -> list[dict[str, Any]]:
        """Join, say something, and return all up to that."""
        with (
            serve([*arguments, "--workers", "2"], cwd=project) as server,
            connect(server.url("ws", path), proxy=None) as client,
        ):
            client.send("hello")
            received = [json.loads(client.recv(timeout=DEADLINE))]
            while received[-1].get("message") != "hello":
                received.append(json.loads(client.recv(timeout=DEADLINE)))
            return received

    before = talk("/kept")[-1]["position"]
    shell(project, "from adwebsocket import groups; groups.send('kept', 'in between')")
    joined, missed, _ = talk(f"/kept?since={before}")
    assert joined["recovered"] is True
    assert missed["message"] == "in between"
