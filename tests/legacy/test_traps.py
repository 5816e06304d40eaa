"""The mistakes in real projects, which worked with the original and must go on to work."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import assert_quiet, notes_of, open_gate, wait_for_notes
from tests.hostile.wire import TEXT, Closing, Frame, Peer, close_frame, frame, handshake
from tests.legacy.serving import ask, serve_legacy
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.legacy.serving import Database
    from tests.processes import ServerProcess

# Twice what it takes now.
FINISHED_SOCKET = 3000
# Classes of which a finished socket must hold no object.
CONNECTIONS = {"AsgiChannel", "Loop", "TCPTransport", "WebSocketProtocol", "WebSocketRequest"}


@pytest.fixture
def fresh_server(host: str, database: Database) -> Iterator[ServerProcess]:
    """A server for one test, whose log is that test's."""
    with serve_legacy(host, database) as server:
        yield server


@pytest.mark.parametrize("view", ["sends_and_waits", "sends_and_waits_a_moment"])
def test_trap_01_loop_of_send_and_wait_ends_with_its_client(
    server: ServerProcess, name: str, view: str
) -> None:
    with Peer(server) as peer:
        # The middleware notes the end of the request.
        peer.open(f"/traps/{view}/{name}?times={name}")
        for _ in range(3):
            assert peer.read_frame() == Frame(TEXT, b"tick")
            peer.send(frame(TEXT, b"tock"))
        wait_for_notes(server, name, 4)

    wait_until(lambda: notes_of(server, name)[-1][0] == "process_response", "the end of the view")


def test_trap_02_swallowed_exceptions_cost_time_and_are_logged_once(
    fresh_server: ServerProcess, name: str
) -> None:
    with Peer(fresh_server) as peer:
        peer.open(f"/traps/swallows_everything/{name}")
        peer.send(close_frame())
        assert peer.read_close().code == 1000
        (count,) = wait_for_notes(fresh_server, name)

    # In one second, with 50 ms or more for each.
    assert 1 <= count <= 21
    warnings = [line for line in fresh_server.output().splitlines() if line.startswith("WARNING")]
    assert ["chat/traps.py:" in warning for warning in warnings] == [True]


def test_trap_02_none_for_ever_after_the_own_close_costs_time_too(
    server: ServerProcess, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/traps/swallows_after_closing/{name}")
        assert peer.read_close().code == 1000
        (count,) = wait_for_notes(server, name)

    assert 1 <= count <= 25


@pytest.mark.threads_only
def test_trap_03_push_loops_outlive_their_clients_and_hold_up_nobody(
    fresh_server: ServerProcess, name: str
) -> None:
    count = 20
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            peer = stack.enter_context(Peer(fresh_server))
            peer.open(f"/traps/pushes/{name}?times={name}-times")
            assert peer.read_frame() == Frame(TEXT, b"data")
    threads = wait_for_notes(fresh_server, name, count)

    assert len(set(threads)) == count
    with Peer(fresh_server) as peer:
        peer.open("/echo")
        peer.send(frame(TEXT, b"still there?"))
        assert peer.read_frame() == Frame(TEXT, b"still there?")
    assert fresh_server.get("/traps/stop").status == 200
    wait_for_notes(fresh_server, f"{name}-times", 2 * count)
    assert_quiet(fresh_server.output())


def test_trap_03_push_loop_behind_the_end_is_logged_once(
    fresh_server: ServerProcess, name: str
) -> None:
    with Peer(fresh_server) as peer:
        peer.open(f"/traps/pushes_without_pause/{name}")
        peer.send(close_frame())
        assert peer.read_close().code == 1000
        wait_for_notes(fresh_server, name)

    warnings = [line for line in fresh_server.output().splitlines() if line.startswith("WARNING")]
    assert ["chat/traps.py:" in warning for warning in warnings] == [True]
    assert_quiet(fresh_server.output())


@pytest.mark.parametrize("how", ["read", "has_messages", "count_messages"])
def test_trap_04_empty_poll_yields(server: ServerProcess, name: str, how: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/traps/polls_busily/{name}/{how}")
        (count,) = wait_for_notes(server, name)

    # Half a second of a pure look-up would be a million.
    assert 1 <= count <= 50_000


def test_trap_04_busy_polls_leave_room_for_others(server: ServerProcess, name: str) -> None:
    count = 20
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server)) for _ in range(count)]
        for peer in peers:
            peer.open(f"/traps/polls_until/{name}")
        wait_for_notes(server, name, count)
        for peer in peers:
            peer.send(frame(TEXT, b"enough"))
        for peer in peers:
            assert peer.read_frame() == Frame(TEXT, b"enough")


def test_trap_05_sends_before_any_read_arrive_at_once(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/sends_first/{name}")
        assert [peer.read_frame().payload for _ in range(2)] == [b"one", b"two"]
        open_gate(server, name)
        assert peer.read_close() == Closing(1000, "")


@pytest.mark.parametrize("abruptly", [None, True], ids=["close frame", "RST"])
def test_trap_06_finished_socket_in_a_registry_is_small_and_never_raises(
    server: ServerProcess, name: str, abruptly: bool | None
) -> None:
    for count in (1, 2):
        with Peer(server) as peer:
            peer.open(f"/traps/stays_in_registry/{name}?times={name}-times")
            number = wait_for_notes(server, name, count)[-1]
            peer.send(frame(TEXT, b"x" * 100_000))
            assert len(peer.read_frame().payload) == 100_000
            if abruptly is None:
                peer.send(close_frame())
                assert peer.read_close().code == 1000
            peer.leave(abruptly=bool(abruptly))
        wait_for_notes(server, f"{name}-times", 2 * count)

    left = ask(server, f"/traps/what_is_left/{number}")
    assert left["calls"] == {
        "send": "None",
        "wait": "None",
        "wait(1)": "None",
        "read": "None",
        "has_messages": "False",
        "count_messages": "0",
        "is_closed": "True",
        "list": "[None]",
        "close": "None",
    }
    assert left["bytes"] < FINISHED_SOCKET, left
    assert not CONNECTIONS & set(left["kinds"])


def test_trap_07_nonsense_is_an_error_while_open_and_nothing_after_the_end(
    server: ServerProcess, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/sends_nonsense/{name}")
        assert wait_for_notes(server, name, 4) == ["TypeError"] * 4
        peer.send(close_frame())
        assert peer.read_close() == Closing(1000, "")
        assert wait_for_notes(server, name, 7)[4:] == ["None"] * 3


@pytest.mark.parametrize("view", ["raises_at_the_end", "loads_at_the_end", "waits_too_often"])
@pytest.mark.parametrize("abruptly", [None, False, True], ids=["close frame", "FIN", "RST"])
def test_trap_08_exception_after_the_end_is_not_logged(
    server: ServerProcess, name: str, view: str, abruptly: bool | None
) -> None:
    before = len(server.output())
    with Peer(server) as peer:
        peer.open(f"/{view}/{name}?times={name}-times")
        wait_for_notes(server, name)
        if abruptly is None:
            peer.send(close_frame())
            assert peer.read_close() == Closing(1000, "")
        peer.leave(abruptly=bool(abruptly))
    wait_for_notes(server, f"{name}-times", 2)

    output = server.output()[before:]
    assert_quiet(output)
    assert "WARNING" not in output


@pytest.mark.parametrize("path", ["/echo", "/traps/strict"])
def test_trap_09_upgrade_without_a_key_is_400(server: ServerProcess, path: str) -> None:
    request = handshake(path, server.port)
    with Peer(server) as peer:
        peer.send(re.sub(rb"Sec-WebSocket-Key: .*?\r\n", b"", request))
        assert peer.read_head().startswith("HTTP/1.1 400 ")


@pytest.mark.threads_only
def test_trap_10_view_that_blocks_holds_up_no_other_request(
    server: ServerProcess, name: str
) -> None:
    with contextlib.ExitStack() as stack:
        blocked = [stack.enter_context(Peer(server)) for _ in range(5)]
        for peer in blocked:
            peer.open(f"/traps/blocks/{name}")
        wait_for_notes(server, name, 5)

        assert server.get("/echo").text == "no websocket"
        with Peer(server) as peer:
            peer.open("/echo")
            peer.send(frame(TEXT, b"hello"))
            assert peer.read_frame() == Frame(TEXT, b"hello")
        open_gate(server, name)
        for peer in blocked:
            assert peer.read_frame() == Frame(TEXT, b"through")


def test_trap_11_session_that_the_view_changes_is_saved_at_the_end(
    server: ServerProcess, database: Database, name: str
) -> None:
    cookie = {"Cookie": database.cookie}

    def colour_of_session() -> str:
        with Peer(server) as peer:
            peer.open("/everything/2019/x/", cookie)
            return str(peer.read_frame().payload)

    with Peer(server) as peer:
        peer.open(f"/remembers/{name}?times={name}-times", cookie)
        wait_for_notes(server, name)
        assert name not in colour_of_session()
        assert len(notes_of(server, f"{name}-times")) == 1
        peer.send(close_frame())
        assert peer.read_close() == Closing(1000, "")
    wait_for_notes(server, f"{name}-times", 2)
    try:
        assert name in colour_of_session()
    finally:
        with Peer(server) as peer:
            peer.open("/remembers/green", cookie)
            wait_for_notes(server, "green")


def test_trap_11_database_connection_is_closed_at_the_end(server: ServerProcess, name: str) -> None:
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server)) for _ in range(5)]
        for peer in peers:
            peer.open(f"/traps/queries/{name}")
        wait_for_notes(server, name, 5)
        for peer in peers:
            peer.send(close_frame())
            assert peer.read_close() == Closing(1000, "")

    wait_until(lambda: server.get("/traps/databases").text == "0", "the connections to be closed")


def test_trap_12_each_worker_has_a_registry_of_its_own(database: Database) -> None:
    with (
        serve_legacy("adwebsocket", database, "--workers", "2") as server,
        contextlib.ExitStack() as stack,
    ):
        sizes: dict[int, int] = {}
        for opened in range(1, 101):
            peer = stack.enter_context(Peer(server))
            peer.open("/traps/process")
            worker, size = map(int, peer.read_frame().payload.split())
            sizes[worker] = size
            assert sum(sizes.values()) == opened
            if len(sizes) == 2:
                break

    assert len(sizes) == 2


def test_trap_13_message_never_equals_a_str(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/traps/compares_with_str/{name}")
        peer.send(frame(TEXT, b"exit"))
        assert wait_for_notes(server, name) == [[False, True]]
