"""Real server processes, asked by the command and by each other."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from tests.processes import ServerProcess, run, serve, wait_until, write_project
from tests.servers.clients import HANDSHAKE, exchange

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

URLS = """\
import time
from pathlib import Path

from django.urls import include, path

from adwebsocket import require_websocket


@require_websocket
def sync_echo(request):
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket
async def async_echo(request):
    async for message in request.websocket:
        if message == "block":
            while not Path("go").exists():
                time.sleep(0.01)  # blocks
        await request.websocket.send(message)


urlpatterns = [
    path("sync/", sync_echo, name="sync"),
    path("async/", async_echo, name="async"),
    path("ops/", include("adwebsocket.monitoring.urls")),
]
"""
SETTINGS = """\
WEBSOCKET_RUNTIME_DIR = str(BASE_DIR / "run")
WEBSOCKET_STATS_TOKEN = "token"
"""
COMMAND = ["manage.py", "websocket_status"]


class Project:
    """A served project.

    Attributes:
        directory: that of ``manage.py``.
        server: the runner, with two workers.
        runner: what runs its sync views.
    """

    def __init__(self, directory: Path, server: ServerProcess, runner: str) -> None:
        self.directory = directory
        self.server = server
        self.runner = runner

    def ask(self, *options: str) -> str:
        """Run the command, and return what it prints."""
        result = run([*COMMAND, *options], cwd=self.directory)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def ask_json(self, *options: str) -> Any:
        return json.loads(self.ask("--json", *options))

    def open(self, stack: ExitStack, path: str, count: int) -> list[ClientConnection]:
        """Open clients, and let each have an echo."""
        clients = []
        for _ in range(count):
            url = self.server.url("ws", path)
            client = stack.enter_context(connect(url, compression=None, proxy=None))
            client.send("x" * 10)
            assert client.recv() == "x" * 10
            clients.append(client)
        return clients


# For what has nothing to do with the runner of sync views.
once = pytest.mark.parametrize("project", ["thread"], indirect=True)


def sockets_in(directory: Path) -> list[Path]:
    # Groups have theirs beside them.
    return sorted((directory / "run").glob("*.status"))


@pytest.fixture(scope="module", params=["thread", "greenlet"])
def project(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    directory = write_project(
        tmp_path_factory.mktemp("project"), {"mysite/urls.py": URLS}, SETTINGS
    )
    arguments = ["-m", "adwebsocket", "--settings", "mysite.settings", "--port", "{port}"]
    with serve(
        [*arguments, "--workers", "2"],
        cwd=directory,
        env={"ADWEBSOCKET_TEST_RUNNER": request.param},
        ready=lambda server: len(sockets_in(directory)) == 2,
    ) as server:
        yield Project(directory, server, request.param)
    assert sockets_in(directory) == []


def total(processes: list[dict[str, Any]], section: str, key: str) -> int:
    return sum(process[section][key] for process in processes)


class TestWorkers:
    def test_command_sees_the_connections_of_both(self, project: Project) -> None:
        before = project.ask_json()["processes"]
        with ExitStack() as stack:
            project.open(stack, "/sync/", 20)
            project.open(stack, "/async/", 20)
            looked_at = project.ask_json("--views", "100")
        processes = looked_at["processes"]
        assert len(processes) == 2
        rows = [
            (row["view"], row["runner"], row["open"])
            for process in processes
            for row in process["connections"]["views"]
        ]
        for view, runner in (("sync", project.runner), ("async", "async")):
            assert sum(row[2] for row in rows if row[:2] == (view, runner)) == 20
        assert total(processes, f"{project.runner}s", "parked") == 20
        grown = {
            (section, key): total(processes, section, key) - total(before, section, key)
            for section in ("messages", "bytes")
            for key in ("in", "out")
        }
        # A frame of ours has two bytes before the message, one of the client's six.
        assert grown == {
            ("messages", "in"): 40,
            ("messages", "out"): 40,
            ("bytes", "in"): 640,
            ("bytes", "out"): 480,
        }
        standing = [view for answer in looked_at["standing"] for view in answer["views"]]
        line = URLS[: URLS.index("for message in request")].count("\n") + 1
        assert {view["line"] for view in standing} == {f"{project.directory}/mysite/urls.py:{line}"}
        assert len(standing) == 20

    @once
    def test_scrape_of_one_has_both(self, project: Project) -> None:
        with ExitStack() as stack:
            project.open(stack, "/async/", 5)
            headers = {"Authorization": "Bearer token"}
            answer = exchange(project.server, "GET", "/ops/metrics", headers, None)
        assert answer.status == 200
        families = {each.name: each for each in text_string_to_metric_families(answer.text)}
        assert [sample.value for sample in families["adwebsocket_up"].samples] == [1, 1]
        connections = families["adwebsocket_connections"].samples
        assert sum(each.value for each in connections if each.labels["view"] == "async") == 5
        assert len({each.labels["pid"] for each in families["adwebsocket_messages"].samples}) == 2

    @once
    def test_closes_are_told_apart(self, project: Project) -> None:
        before = project.ask_json()["processes"]

        def ended(processes: list[dict[str, Any]], closer: str, code: str) -> int:
            return sum(process["closes"][closer].get(code, 0) for process in processes)

        with ExitStack() as stack:
            leaving, lost = project.open(stack, "/async/", 2)
            leaving.close(4321)
            lost.socket.close()

            def are_counted() -> bool:
                after = project.ask_json()["processes"]
                return (
                    ended(after, "client", "4321") == ended(before, "client", "4321") + 1
                    and ended(after, "nobody", "1006") == ended(before, "nobody", "1006") + 1
                )

            wait_until(are_counted, "both ends")

    @once
    def test_faults_of_clients_are_refused_and_closed_by_the_server(self, project: Project) -> None:
        def numbers() -> tuple[int, int]:
            processes = project.ask_json()["processes"]
            handshakes = [process["handshakes"] for process in processes]
            return (
                sum(each["refused_by"].get("handshake", 0) for each in handshakes),
                sum(process["closes"]["server"].get("1002", 0) for process in processes),
            )

        refused, closed = numbers()
        headers = {**HANDSHAKE, "Sec-WebSocket-Version": "12"}
        assert exchange(project.server, "GET", "/async/", headers, None).status == 426
        with ExitStack() as stack:
            (client,) = project.open(stack, "/async/", 1)
            client.socket.sendall(b"\x83\x80mask")
            wait_until(lambda: numbers() == (refused + 1, closed + 1), "both faults")

    @once
    def test_event_loop_that_is_stuck_says_where(self, project: Project) -> None:
        line = URLS[: URLS.index("# blocks")].count("\n") + 1
        with ExitStack() as stack:
            (client,) = project.open(stack, "/async/", 1)
            client.send("block")
            try:
                wait_until(
                    lambda: f"urls.py:{line}\n" in project.ask("--once"), "the line that blocks"
                )
            finally:
                (project.directory / "go").touch()
            assert client.recv() == "block"


class TestCommand:
    def test_table_has_a_row_for_each_process_and_view(self, project: Project) -> None:
        with ExitStack() as stack:
            project.open(stack, "/sync/", 3)
            text = project.ask("--once", "--views")
        for path in sockets_in(project.directory):
            pid = path.stem.partition("-")[0]
            assert f"\n{pid} " in text
        assert f"sync  {project.runner}" in text
        assert "Sync views: 3 of 3" in text

    def test_project_that_is_not_served_is_an_error(self, tmp_path: Path) -> None:
        directory = write_project(tmp_path, {"mysite/urls.py": URLS}, SETTINGS)
        result = run([*COMMAND, "--once"], cwd=directory)
        assert result.returncode == 1
        assert "No server process of this project answers" in result.stdout


class TestEnds:
    def test_killed_process_is_cleaned_away_and_a_stopped_one_is_not_answering(
        self, tmp_path: Path
    ) -> None:
        directory = write_project(tmp_path, {"mysite/urls.py": URLS}, SETTINGS)
        arguments = ["-m", "adwebsocket", "--settings", "mysite.settings", "--port", "{port}"]
        with serve(
            arguments, cwd=directory, ready=lambda server: len(sockets_in(directory)) == 1
        ) as server:
            server.send_signal(signal.SIGSTOP)
            result = run([*COMMAND, "--once"], cwd=directory)
            assert f"\n{server.process.pid}  not answering" in result.stdout
            server.send_signal(signal.SIGKILL)
            server.wait_for_exit()
            assert len(sockets_in(directory)) == 1
            assert run([*COMMAND, "--once"], cwd=directory).returncode == 1
            assert sockets_in(directory) == []

    def test_reload_of_the_development_server_leaves_nothing(self, tmp_path: Path) -> None:
        directory = write_project(tmp_path, {"mysite/urls.py": URLS}, SETTINGS)
        with serve(
            ["manage.py", "runserver", "{port}"],
            cwd=directory,
            ready=lambda server: len(sockets_in(directory)) == 1,
        ):
            (before,) = sockets_in(directory)

            def has_reloaded() -> bool:
                if before in (left := sockets_in(directory)):
                    # Once more: what changes before Django's first look is no change.
                    os.utime(directory / "mysite/urls.py")
                return before not in left and len(left) == 1

            wait_until(has_reloaded, "the new process alone")
