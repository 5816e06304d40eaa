"""How a server process ends, whatever hangs in it: real processes, real signals.

Nothing here says how long an end takes, but that it comes, and what it leaves in the log.
"""

from __future__ import annotations

import contextlib
import select
import signal
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.hostile.wire import Peer, ServerGone, close_frame
from tests.processes import (
    DEADLINE,
    ServerProcess,
    accepts_connection,
    serve,
    wait_until,
    write_project,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

URLS = """\
import asyncio
import time

from django.db import connection
from django.urls import path

from adwebsocket import require_websocket

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@require_websocket
def deaf(request):
    while True:
        request.websocket.send("begun")
        time.sleep(10_000)  # deaf


@require_websocket
def unbelieving(request):
    while True:
        try:
            request.websocket.wait()
        except EOFError:
            time.sleep(0.01)  # unbelieving


@require_websocket
def querying(request):
    with connection.cursor() as cursor:
        request.websocket.send("begun")
        cursor.execute(ENDLESS)  # querying


@require_websocket
async def stubborn(request):
    await request.websocket.send("begun")
    while True:
        try:
            await asyncio.sleep(10_000)  # stubborn
        except asyncio.CancelledError:
            pass


@require_websocket
async def blocking(request):
    while True:
        await request.websocket.send("begun")
        await asyncio.sleep(0.1)
        time.sleep(10_000)  # blocking


@require_websocket
def flooding(request):
    while True:
        request.websocket.send(b"x" * 100_000)


@require_websocket
def echo(request):
    request.websocket.send("begun")
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket
async def tidy(request):
    await request.websocket.send("begun")
    try:
        await asyncio.sleep(10_000)
    finally:
        await asyncio.sleep(0.1)
        print("tidied up")


views = [deaf, unbelieving, querying, stubborn, blocking, flooding, echo, tidy]
urlpatterns = [path(view.__name__, view) for view in views]
"""


def serve_views(
    directory: Path, *options: str, drain_seconds: float = 0, runner: str = "thread"
) -> AbstractContextManager[ServerProcess]:
    write_project(
        directory, {"mysite/urls.py": URLS}, settings=f"WEBSOCKET_DRAIN_SECONDS = {drain_seconds}"
    )
    return serve(
        ["-m", "adwebsocket", "--port", "{port}", "--settings", "mysite.settings", *options],
        cwd=directory,
        env={"ADWEBSOCKET_TEST_RUNNER": runner},
    )


@contextlib.contextmanager
def peers_of(server: ServerProcess, paths: Sequence[str]) -> Iterator[list[Peer]]:
    """Open a connection to each path, to views that begin with a message."""
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server)) for _ in paths]
        for peer, path in zip(peers, paths, strict=True):
            peer.open(path)
        for peer in peers:
            assert peer.read_frame().payload == b"begun"
        yield peers


def place_of(directory: Path, mark: str) -> str:
    """Give file and line of the line that ends with a comment."""
    lines = URLS.splitlines()
    number = next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))
    return f"{directory / 'mysite/urls.py'}:{number}"


class Ended(NamedTuple):
    """A server that has ended: how, what it wrote, and where its project is."""

    code: int
    output: str
    directory: Path


CROWD = 1000


@pytest.fixture(scope="module")
def hung(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """End a server with SIGTERM while everything hangs in it that can."""
    directory = tmp_path_factory.mktemp("hung")
    options = ["--timeout-graceful-shutdown", "1", "--no-access-log"]
    others = ["/querying", "/stubborn", "/echo"]
    with (
        serve_views(directory, *options) as server,
        peers_of(server, ["/deaf"] * CROWD + others),
        Peer(server) as unbelieved,
        Peer(server) as flooded,
    ):
        unbelieved.open("/unbelieving")
        flooded.open("/flooding")
        server.send_signal(signal.SIGTERM)
        # No peer reads, and none answers a close frame.
        return Ended(server.wait_for_exit(), server.output(), directory)


def test_server_ends_by_the_signal_whatever_hangs_in_it(hung: Ended) -> None:
    assert hung.code == -signal.SIGTERM
    assert "Finished server process" in hung.output


@pytest.mark.parametrize("name", ["unbelieving", "stubborn", "querying"])
def test_view_that_still_runs_is_logged_with_its_line(hung: Ended, name: str) -> None:
    (line,) = [line for line in hung.output.splitlines() if f" /{name} at " in line]
    assert "Still running: " in line
    assert place_of(hung.directory, name) in line


def test_crowd_at_one_line_is_logged_in_one(hung: Ended) -> None:
    place = place_of(hung.directory, "deaf")
    assert f"Still running: /deaf ({CROWD} times) at {place}\n" in hung.output


def test_view_that_has_ended_is_not_logged(hung: Ended) -> None:
    assert "Still running: /flooding" not in hung.output
    assert "Still running: /echo" not in hung.output


def test_greenlets_end_with_the_server_and_those_that_block_are_logged(tmp_path: Path) -> None:
    options = ["--timeout-graceful-shutdown", "1"]
    with (
        serve_views(tmp_path, *options, runner="greenlet") as server,
        peers_of(server, ["/echo"] * 20 + ["/deaf"] * 2),
    ):
        server.send_signal(signal.SIGTERM)
        assert server.wait_for_exit() == -signal.SIGTERM
        output = server.output()
    assert f"Still running: /deaf (2 times) at {place_of(tmp_path, 'deaf')}\n" in output


def test_view_that_blocks_the_event_loop_does_not_keep_the_server(tmp_path: Path) -> None:
    options = ["--timeout-graceful-shutdown", "0"]
    with serve_views(tmp_path, *options) as server, peers_of(server, ["/blocking"]):
        server.send_signal(signal.SIGTERM)
        assert server.wait_for_exit() == 128 + signal.SIGTERM
        output = server.output()
    place = place_of(tmp_path, "blocking")
    assert f"The server does not end, and is cut off. It stands at {place}" in output
    assert f"Still running: /blocking at {place}" in output


def test_view_that_is_cancelled_may_tidy_up(tmp_path: Path) -> None:
    options = ["--timeout-graceful-shutdown", "0"]
    with serve_views(tmp_path, *options) as server, peers_of(server, ["/tidy"]):
        server.send_signal(signal.SIGTERM)
        assert server.wait_for_exit() == -signal.SIGTERM
        assert "tidied up" in server.output()


def test_sockets_are_closed_bit_by_bit_and_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with (
        serve_views(tmp_path, drain_seconds=36_000) as server,
        peers_of(server, ["/echo"] * 20) as peers,
        server.connect() as idle,
    ):
        server.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        wait_until(lambda: not accepts_connection(server), "the end of accepting")
        readable, _, _ = select.select([peer.socket for peer in peers], [], [], DEADLINE)
        (first,) = [peer for peer in peers if peer.socket in readable]
        assert first.read_close().code == 1012
        first.send(close_frame(1012))
        assert first.read_end() == b""

        for peer in peers:
            if peer is not first:
                peer.send(b"\x81\x80\0\0\0\0")
                assert peer.read_frame().payload == b""

        server.send_signal(signal.SIGTERM)
        assert server.wait_for_exit() == -signal.SIGTERM
        for peer in peers:
            with contextlib.suppress(ServerGone, ConnectionResetError):
                raise AssertionError(f"got {peer.read_frame()}")


def test_stock_uvicorn_with_our_class_closes_sockets_at_once(tmp_path: Path) -> None:
    write_project(tmp_path, {"mysite/urls.py": URLS}, settings="WEBSOCKET_DRAIN_SECONDS = 36_000")
    options = ["--factory", "--ws", "adwebsocket:WebSocketProtocol", "--port", "{port}"]
    with (
        serve(
            ["-m", "uvicorn", "adwebsocket.asgi:get_asgi_application", *options],
            cwd=tmp_path,
            env={"DJANGO_SETTINGS_MODULE": "mysite.settings"},
        ) as server,
        peers_of(server, ["/echo"] * 20) as peers,
    ):
        server.send_signal(signal.SIGTERM)
        for peer in peers:
            assert peer.read_close().code == 1012
            peer.send(close_frame(1012))
        assert server.wait_for_exit() == -signal.SIGTERM


def test_sockets_are_closed_at_once_where_nothing_else_is_wanted(tmp_path: Path) -> None:
    with serve_views(tmp_path) as server, peers_of(server, ["/echo"] * 20) as peers:
        server.send_signal(signal.SIGTERM)
        for peer in peers:
            assert peer.read_close().code == 1012
            peer.send(close_frame(1012))
        assert server.wait_for_exit() == -signal.SIGTERM
        assert "Still running" not in server.output()
        assert "running task" not in server.output()
