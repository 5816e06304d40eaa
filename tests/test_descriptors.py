"""A process that runs out of file descriptors: seen coming, said once, and survived."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from uvicorn.config import Config
from websockets.sync.client import connect

from adwebsocket.descriptors import DescriptorGauge
from adwebsocket.serving import RunnerServer
from tests.connections import on_event_loop
from tests.processes import serve, wait_until, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.processes import ServerProcess


@pytest.fixture
def next_number() -> Iterator[int]:
    """Fill all gaps among the open descriptors, and give the number of the next one."""
    top = max(int(path.name) for path in Path("/dev/fd").iterdir())
    with contextlib.ExitStack() as fillers:
        while True:
            descriptor = os.open(os.devnull, os.O_RDONLY)
            if descriptor > top:
                os.close(descriptor)
                break
            fillers.callback(os.close, descriptor)
        yield descriptor


@contextlib.contextmanager
def opened(count: int) -> Iterator[list[int]]:
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]
    try:
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_process_with_many_free_descriptors_is_not_low(next_number: int) -> None:
    gauge = DescriptorGauge(next_number + 1000)

    assert not gauge.is_low()
    assert gauge.has_room()


def test_process_is_low_once_connections_would_take_from_the_reserve(next_number: int) -> None:
    gauge = DescriptorGauge(next_number + 100)
    room = 100 - gauge.reserve

    with opened(room - 1):
        assert not gauge.is_low()
        assert not gauge.has_room()
    with opened(room):
        assert gauge.is_low()


def test_one_free_descriptor_among_the_low_numbers_is_no_room(next_number: int) -> None:
    gauge = DescriptorGauge(next_number + 100)

    with opened(100 - gauge.reserve) as descriptors:
        os.close(descriptors[0])
        # By the number of the next one it would seem so; counting tells.
        assert not gauge.is_low()
        assert not gauge.has_room()
        descriptors[0] = os.open(os.devnull, os.O_RDONLY)


@pytest.mark.parametrize(
    ("limit", "reserve"),
    [(20, 5), (64, 16), (128, 32), (1024, 51), (20_000, 1000), (1_048_576, 52_428)],
)
def test_reserve_is_a_part_of_the_limit(limit: int, reserve: int) -> None:
    assert DescriptorGauge(limit).reserve == reserve


def test_limit_of_the_system_is_the_default() -> None:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert DescriptorGauge().limit == (None if soft == resource.RLIM_INFINITY else soft)


@pytest.mark.parametrize(("limit", "connections"), [(8, 1), (20, 1), (64, 2), (128, 4)])
@on_event_loop
async def test_server_looks_each_time_that_an_eighth_of_the_reserve_may_have_gone(
    limit: int, connections: int
) -> None:
    server = RunnerServer(Config("nowhere:application", log_config=None))
    server.servers = []
    server.descriptors = DescriptorGauge(limit)

    with opened(limit):
        for _ in range(connections - 1):
            server.count_connection()
            assert not server.is_paused
        server.count_connection()
        assert server.is_paused
        await asyncio.sleep(0)


@on_event_loop
async def test_tick_begins_the_count_anew() -> None:
    server = RunnerServer(Config("nowhere:application", log_config=None))
    server.descriptors = DescriptorGauge(1_000_000)
    server.count_connection()
    assert server.uncounted == 1

    await server.on_tick(1)

    assert server.uncounted == 0


def test_server_without_a_limit_accepts_all() -> None:
    server = RunnerServer(Config("nowhere:application", log_config=None))
    server.descriptors.limit, server.descriptors.reserve = None, 0

    for _ in range(100):
        server.count_connection()

    assert not server.is_paused


ECHO = """
async def application(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})
"""

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from adwebsocket.cli import main
main(sys.argv[1:])
"""


def has_said(server: ServerProcess, sentence: str) -> int:
    return server.output().count(sentence)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("where", ["port", "unix socket"])
def test_server_stops_accepting_says_so_once_and_goes_on(
    tmp_path: Path, loop: str, where: str
) -> None:
    write_files(tmp_path, {"plain.py": ECHO})
    path = tmp_path / "socket"
    listen = ["--port", "{port}"] if where == "port" else ["--uds", str(path)]
    options = ["--lifespan", "off", "--loop", loop, *listen]

    def new_socket() -> socket.socket:
        if where == "port":
            return socket.create_connection(("127.0.0.1", server.port), timeout=20)
        plain_socket = socket.socket(socket.AF_UNIX)
        plain_socket.settimeout(20)
        plain_socket.connect(str(path))
        return plain_socket

    with serve(
        ["-c", LIMITED, "plain:application", *options],
        cwd=tmp_path,
        ready=lambda server: "Uvicorn running" in server.output(),
    ) as server:
        uri = "ws://localhost/"
        with connect(uri, sock=new_socket()) as before, contextlib.ExitStack() as crowd:
            for _ in range(150):
                crowd.enter_context(new_socket())
            wait_until(
                lambda: has_said(server, "fewer than 32 of 128 file descriptors"), "the numbers"
            )
            # Who is connected is served, who comes now waits.
            before.send("still here?")
            assert before.recv(timeout=20) == "still here?"
            waiting = new_socket()
            waiting.sendall(HANDSHAKE)
            waiting.settimeout(0.5)
            with pytest.raises(TimeoutError):
                waiting.recv(1)

            crowd.close()
            server.wait_for_output("Accepting connections again")
            waiting.settimeout(20)
            assert waiting.recv(100).startswith(b"HTTP/1.1 101 ")
            waiting.close()
            assert has_said(server, "Stopped accepting connections") == 1
            assert not has_said(server, "Traceback")
            with connect(uri, sock=new_socket()) as behind:
                behind.send("and now?")
                assert behind.recv(timeout=20) == "and now?"
        assert server.stop() in (0, -15)
    assert not path.exists()


def test_workers_stop_accepting_too(tmp_path: Path) -> None:
    write_files(tmp_path, {"plain.py": ECHO})
    options = ["--lifespan", "off", "--workers", "2", "--port", "{port}"]

    with (
        serve(["-c", LIMITED, "plain:application", *options], cwd=tmp_path) as server,
        contextlib.ExitStack() as crowd,
    ):
        for _ in range(300):
            crowd.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
        server.wait_for_output("Stopped accepting connections", count=2)
        crowd.close()
        server.wait_for_output("Accepting connections again", count=2)
        assert not has_said(server, "Traceback")


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
