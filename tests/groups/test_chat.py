"""examples/chat as it is, on one process, on several, and on several servers with Redis between."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import connect

from tests.groups.redis_servers import redis_servers
from tests.processes import DEADLINE, ServerProcess, run, serve, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.sync.client import ClientConnection

CHAT = Path(__file__).parent.parent.parent / "examples" / "chat"
SERVE = ["-m", "adwebsocket", "chatsite.asgi:application", "--port", "{port}"]
NAMES = ("ada", "bob", "cid", "dan", "eve", "fay")

# As many sessions as there are names.
PREPARE = f"""
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client

call_command("migrate", verbosity=0)
for name in {NAMES}:
    client = Client()
    client.force_login(get_user_model().objects.create_user(name))
    print("session:" + client.cookies["sessionid"].value)
"""


class Person:
    """Somebody in a room, by a client that keeps what it was sent."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client
        self.texts: list[str] = []
        (self.history,) = self.read(1)

    def read(self, count: int) -> list[Any]:
        return [json.loads(self.client.recv(timeout=DEADLINE)) for _ in range(count)]

    def hears(self, *texts: str) -> None:
        messages = [each["message"] for each in self.read(len(texts))]
        assert sorted(message["text"] for message in messages) == sorted(texts)


class House:
    """The servers of the chat, and the people in it.

    Arguments:
        servers: where the people go in turn.
        sessions: one for each of them.
    """

    def __init__(self, servers: list[ServerProcess], sessions: list[str]) -> None:
        self.servers = servers
        self.sessions = sessions

    def open(self, number: int, path: str) -> ClientConnection:
        server = self.servers[number % len(self.servers)]
        headers = {"Cookie": f"sessionid={self.sessions[number]}"}
        return connect(server.url("ws", path), proxy=None, additional_headers=headers)

    def sees(self, **expected: Any) -> bool:
        """Tell whether a stranger at each server is told this."""

        def look(server: ServerProcess) -> dict[str, Any]:
            with connect(server.url("ws", "/ws/ticker/lobby/"), proxy=None) as client:
                seen: dict[str, Any] = json.loads(client.recv(timeout=DEADLINE))
                return seen

        return all(expected.items() <= look(server).items() for server in self.servers)


@pytest.fixture
def open_house(tmp_path: Path) -> Callable[..., Any]:
    """Return what serves the chat, by as many servers as there are lists of options."""

    @contextmanager
    def open_house(*options: list[str], groups: str | None = None) -> Iterator[House]:
        with ExitStack() as stack:
            # Not below that of pytest, whose path is too long for a socket.
            runtime = stack.enter_context(tempfile.TemporaryDirectory())
            env = {"CHAT_DATABASE": str(tmp_path / "chat.sqlite3"), "XDG_RUNTIME_DIR": runtime}
            if groups is not None:
                env["CHAT_GROUPS"] = groups
            prepared = run(["manage.py", "shell", "-c", PREPARE], cwd=CHAT, env=env)
            assert prepared.returncode == 0, prepared.stdout
            found = [line for line in prepared.stdout.split() if line.startswith("session:")]
            servers = [
                stack.enter_context(serve([*SERVE, *each], cwd=CHAT, env=env)) for each in options
            ]
            yield House(servers, [line.removeprefix("session:") for line in found])

    return open_house


def talk(house: House) -> None:
    """Let six people meet in a room, talk, and leave; whoever comes later reads what was said."""
    with ExitStack() as stack:
        people = [
            Person(stack.enter_context(house.open(number, "/ws/room/lobby/")))
            for number in range(len(NAMES))
        ]
        wait_until(lambda: house.sees(online=len(NAMES), here=sorted(NAMES)), "six people")
        for name, person in zip(NAMES, people, strict=True):
            assert person.history == {"type": "history", "messages": []}
            person.client.send(f"I am {name}")
        for person in people:
            person.hears(*[f"I am {name}" for name in NAMES])
    wait_until(lambda: house.sees(online=0, here=[]), "an empty house")
    with house.open(0, "/ws/room/lobby/") as client:
        assert len(Person(client).history["messages"]) == len(NAMES)


def test_chat_on_one_process(open_house: Callable[..., Any]) -> None:
    with open_house([]) as house:
        talk(house)


def test_chat_on_four_workers(open_house: Callable[..., Any]) -> None:
    with open_house(["--workers", "4"]) as house:
        talk(house)


def test_chat_on_two_servers_with_redis_between(open_house: Callable[..., Any]) -> None:
    redis = redis_servers.single
    with open_house(["--workers", "2"], [], groups=redis.url) as house:
        talk(house)
