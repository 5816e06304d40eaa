"""Workers that die, hang, or never come up, and who notices: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import signal
from inspect import signature
from typing import TYPE_CHECKING

import pytest
from uvicorn.config import Config

from tests.hostile.wire import TEXT, Peer, close_frame, frame
from tests.processes import DEADLINE, ServerProcess, run, serve, wait_until, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

URLS = """\
import os
import time

from django.http import HttpResponse
from django.urls import path

from adwebsocket import require_websocket


@require_websocket
def echo(request):
    request.websocket.send(str(os.getpid()))
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket(runner="thread")
def deaf(request):
    request.websocket.send(str(os.getpid()))
    time.sleep(10_000)


urlpatterns = [
    path("", lambda request: HttpResponse("hello")),
    path("echo", echo),
    path("deaf", deaf),
]
"""

SETTINGS = """\
WEBSOCKET_DRAIN_SECONDS = 0
if (BASE_DIR / "broken").exists():
    raise RuntimeError("the settings are broken")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the directory of a project that starts unless there is a file named ``broken``."""
    return write_project(tmp_path, {"mysite/urls.py": URLS}, SETTINGS)


def adwebsocket(project: Path, *options: str) -> AbstractContextManager[ServerProcess]:
    arguments = ["--settings", "mysite.settings", "--timeout-graceful-shutdown", "0", *options]
    return serve(["-m", "adwebsocket", "--port", "{port}", *arguments], cwd=project)


@contextlib.contextmanager
def peers_of_both_workers(
    server: ServerProcess, path: str = "/echo"
) -> Iterator[dict[int, list[Peer]]]:
    """Open connections until each of two workers has one, and give those of each."""
    peers: dict[int, list[Peer]] = {}
    with contextlib.ExitStack() as stack:

        def both() -> bool:
            peer = stack.enter_context(Peer(server))
            peers.setdefault(open_at(peer, path), []).append(peer)
            return len(peers) == 2

        wait_until(both, "a connection to each worker")
        yield peers


def open_at(peer: Peer, path: str) -> int:
    """Shake hands, and return the worker's process number."""
    peer.open(path)
    return int(peer.read_frame().payload)


def assert_echo(peer: Peer) -> None:
    peer.send(frame(TEXT, b"still there"))
    assert peer.read_frame().payload == b"still there"


def has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_worker_that_dies_is_replaced_and_the_other_one_does_not_notice(project: Path) -> None:
    with (
        adwebsocket(project, "--workers", "2") as server,
        peers_of_both_workers(server) as peers,
    ):
        server.wait_for_output("Application startup complete", count=2)
        victim, survivor = peers
        os.kill(victim, signal.SIGKILL)
        for peer in peers[victim]:
            with contextlib.suppress(ConnectionResetError):
                assert peer.read_end() == b""
        for peer in peers[survivor]:
            assert_echo(peer)
        server.wait_for_output("Application startup complete", count=3)
        with peers_of_both_workers(server) as later:
            assert survivor in later
            assert victim not in later
            for group in later.values():
                for peer in group:
                    assert_echo(peer)
        for peer in peers[survivor]:
            assert_echo(peer)
        assert server.stop() == 0
        wait_until(lambda: all(map(has_ended, [survivor, *later])), "the end of the workers")


def test_worker_that_cannot_start_is_tried_ever_less_often_and_the_other_one_serves_on(
    project: Path,
) -> None:
    with (
        adwebsocket(project, "--workers", "2") as server,
        peers_of_both_workers(server) as peers,
    ):
        server.wait_for_output("Application startup complete", count=2)
        (project / "broken").touch()
        victim, survivor = peers
        os.kill(victim, signal.SIGKILL)
        server.wait_for_output("The next one starts in 1 seconds.")
        server.wait_for_output("The next one starts in 2 seconds.")
        assert "the settings are broken" in server.output()
        for peer in peers[survivor]:
            assert_echo(peer)
        (project / "broken").unlink()
        server.wait_for_output("Application startup complete", count=3)
        with peers_of_both_workers(server) as later:
            assert survivor in later


def test_project_that_never_starts_ends_the_runner_with_its_cause(project: Path) -> None:
    (project / "broken").touch()
    arguments = ["--settings", "mysite.settings", "--port", "0", "--workers", "2"]
    result = run(["-m", "adwebsocket", *arguments], cwd=project)
    assert result.returncode == 3
    assert "RuntimeError: the settings are broken" in result.stdout
    assert "failed to start (exit code 1), stopping the parent process." in result.stdout


def test_sigterm_ends_workers_in_which_views_hang(project: Path) -> None:
    with (
        adwebsocket(project, "--workers", "2") as server,
        peers_of_both_workers(server, "/deaf") as peers,
    ):
        server.send_signal(signal.SIGTERM)
        assert server.wait_for_exit() == 0
        assert server.output().count("Still running: /deaf") == 2
        assert all(map(has_ended, peers))


def test_second_signal_ends_workers_at_once(project: Path) -> None:
    options = ["--workers", "2", "--timeout-graceful-shutdown", "10000"]
    with (
        adwebsocket(project, *options) as server,
        peers_of_both_workers(server, "/deaf") as peers,
    ):
        # As in a terminal, where everybody hears it; the parent passes it on.
        server.interrupt_all()
        server.wait_for_output("Waiting for connections to close", count=2)
        server.interrupt_all()
        assert server.wait_for_exit() == 0
        assert all(map(has_ended, peers))


@pytest.mark.skipif(
    "timeout_worker_healthcheck" not in signature(Config).parameters,
    reason="this uvicorn has five seconds of patience, whatever one says",
)
def test_worker_that_hangs_on_its_way_out_is_killed(project: Path) -> None:
    options = ["--workers", "2", "--timeout-worker-healthcheck", "1"]
    with adwebsocket(project, *options) as server, peers_of_both_workers(server) as peers:
        frozen, well = peers
        server.send_signal(signal.SIGTERM)
        os.kill(frozen, signal.SIGSTOP)
        for peer in peers[well]:
            assert peer.read_close().code == 1012
            peer.send(close_frame(1012))
        assert server.wait_for_exit() == 0
        assert f"Child process [{frozen}] hangs, and is killed" in server.output()
        assert all(map(has_ended, peers))


def test_reload_does_not_wait_for_views_that_hang(project: Path) -> None:
    with adwebsocket(project, "--reload", "--reload-delay", "0.05") as server, Peer(server) as peer:
        assert server.get("/").text == "hello"
        before = open_at(peer, "/deaf")
        urls = project / "mysite/urls.py"
        urls.write_text(URLS.replace('HttpResponse("hello")', 'HttpResponse("changed")'))
        wait_until(lambda: server.answers("changed"), "the changed view")
        assert peer.read_close().code == 1012
        assert "Still running: /deaf" in server.output()
        assert has_ended(before)
        server.interrupt_all()
        assert server.wait_for_exit(DEADLINE) == 0
