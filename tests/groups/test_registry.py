"""Which back-end a process gets, and which hub an event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from adwebsocket import groups
from adwebsocket.asgi import ASGIApplication
from adwebsocket.groups import registry
from adwebsocket.groups.hub import Hub
from adwebsocket.groups.memory import MemoryBackend
from tests.connections import Conversation, RecordingChannel, on_event_loop
from tests.groups.scripted import count_alive, settle
from tests.processes import run, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NO_BACKEND = "not a class"


class OwnBackend(MemoryBackend):
    """A back-end of a project."""

    closed = 0

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the registry be as it is in a new process, and the settings be the usual ones."""
    with override_settings(WEBSOCKET_GROUPS=None):
        monkeypatch.setattr(registry, "_serves", False)
        monkeypatch.setattr(registry, "_has_warned", False)
        monkeypatch.delenv(registry.WORKERS_VARIABLE, raising=False)
        yield


# The back-end


def test_process_has_one_backend_until_the_setting_changes() -> None:
    backend = registry.get_backend()
    assert type(backend) is MemoryBackend
    assert registry.get_backend() is backend
    with override_settings(WEBSOCKET_GROUPS=f"{__name__}.OwnBackend"):
        own = registry.get_backend()
        assert type(own) is OwnBackend
    assert OwnBackend.closed == 1
    assert type(registry.get_backend()) is MemoryBackend
    with override_settings(WEBSOCKET_MAX_THREADS=5):
        assert registry.get_backend() is registry.get_backend()


def test_threads_that_ask_at_once_get_the_same_backend() -> None:
    barrier = threading.Barrier(8)
    seen: list[Any] = []

    def ask() -> None:
        barrier.wait(10)
        seen.append(registry.get_backend())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert len(set(map(id, seen))) == 1


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("mermory", r"'mermory', which cannot be imported: .* Expected 'memory', .* dotted path"),
        ("mysite.missing.Backend", r"'mysite.missing.Backend', which cannot be imported"),
        (f"{__name__}.Missing", r"Missing', which cannot be imported"),
        (f"{__name__}.NO_BACKEND", r"which is no class derived from adwebsocket.groups.Backend"),
        (f"{__name__}.Hub", r"which is no class derived from adwebsocket.groups.Backend"),
        ({"BACKEND": "memory", "LOCATION": "x"}, r'"memory" .* takes neither LOCATION nor OPTIONS'),
        ({"OPTIONS": {"x": 1}}, r'"memory" .* takes neither LOCATION nor OPTIONS'),
        ({"BACKEND": 5}, r"BACKEND in WEBSOCKET_GROUPS must be"),
    ],
)
def test_mistake_in_the_setting_turns_out_at_the_start(value: Any, sentence: str) -> None:
    with override_settings(WEBSOCKET_GROUPS=value):
        with pytest.raises(ImproperlyConfigured, match=sentence):
            ASGIApplication()
        with pytest.raises(ImproperlyConfigured, match=sentence):
            groups.send("room", "x")


# Hubs


@on_event_loop
async def test_event_loop_has_one_hub_from_its_start_to_its_end() -> None:
    async with Conversation(ASGIApplication(), {"type": "lifespan"}) as server:
        server.farewell = {"type": "lifespan.shutdown"}
        server.put({"type": "lifespan.startup"})
        assert (await server.next_event())["type"] == "lifespan.startup.complete"
        (hub,) = [hub for hub in registry.all_hubs() if hub is registry.get_hub()]
        channel = RecordingChannel(asyncio.get_running_loop())
        channel.accept()
        await hub.join(channel, "room")
        await groups.asend("room", "1")
        await settle()
        server.put(server.farewell)
        assert (await server.next_event())["type"] == "lifespan.shutdown.complete"
    assert hub not in registry.all_hubs()
    await groups.asend("room", "2")
    await settle()
    assert channel.written == ["1"]


def test_event_loop_that_ends_without_a_word_leaves_nothing() -> None:
    before = count_alive(Hub)

    async def visit() -> None:
        channel = RecordingChannel(asyncio.get_running_loop())
        channel.accept()
        await registry.get_hub().join(channel, "room")
        await groups.asend("room", "x")
        await settle()
        assert channel.written == ["x"]
        channel.end(1001, "")

    for _ in range(3):
        asyncio.run(visit())
    groups.send("room", "x")
    assert groups.count("room") == 0
    assert count_alive(Hub) == before


# The warning of a process that reaches nobody


def test_process_without_sockets_warns_once_that_it_reaches_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for _ in range(3):
        groups.send("room", "x")
    asyncio.run(groups.asend("room", "x"))
    groups.count("room")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "adwebsocket.groups"
    for word in ("WEBSOCKET_GROUPS", '"local"', '"redis"', '"memory"'):
        assert word in record.message


@pytest.mark.parametrize("value", ["memory", f"{__name__}.OwnBackend", {"BACKEND": "memory"}])
def test_who_has_chosen_a_backend_is_not_warned(
    value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with override_settings(WEBSOCKET_GROUPS=value):
        groups.send("room", "x")
    assert caplog.records == []


def test_process_that_serves_sockets_is_not_warned(caplog: pytest.LogCaptureFixture) -> None:
    ASGIApplication()
    groups.send("room", "nobody has joined yet")
    assert caplog.records == []


def test_process_with_a_hub_is_not_warned(caplog: pytest.LogCaptureFixture) -> None:
    async def serve() -> None:
        registry.get_hub()
        await groups.asend("room", "x")
        await registry.stop_hub()

    asyncio.run(serve())
    groups.send("room", "x")
    assert caplog.records == []


TASK = """
import django
django.setup()

from adwebsocket import groups

groups.send("room", {"a": "task queue"})
groups.send("room", "once more")
print("sent", groups.count("room"))
"""


@pytest.mark.parametrize("arguments", [["manage.py", "shell", "-c"], ["-c"]])
def test_processes_beside_the_server_can_send(tmp_path: Path, arguments: list[str]) -> None:
    """Neither a shell nor a worker of a task queue has a request or an event loop."""
    project = write_project(tmp_path, {"mysite/urls.py": "urlpatterns = []\n"})
    done = run([*arguments, TASK], cwd=project, env={"DJANGO_SETTINGS_MODULE": "mysite.settings"})
    assert done.returncode == 0, done.stdout
    assert "sent 0" in done.stdout
    assert done.stdout.count("WEBSOCKET_GROUPS is not set") == 1
