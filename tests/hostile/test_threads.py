"""Which thread does what: signals, database, and sockets that several threads share."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import notes_of, open_gate, serve_project, wait_for_notes
from tests.hostile.wire import TEXT, Closing, Frame, Peer, close_frame, frame
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.processes import ServerProcess


@pytest.fixture
def fresh_server(database: Path) -> Iterator[ServerProcess]:
    """A server for one test, whose signals are that test's."""
    with serve_project(database) as server:
        yield server


def test_request_signals_are_sent_once_per_connection(
    fresh_server: ServerProcess, colour: str, name: str
) -> None:
    for _ in range(20):
        with Peer(fresh_server) as peer:
            peer.open(f"/{colour}/database/{name}")
            peer.send(close_frame())
            assert peer.read_close().code == 1000

    def count() -> Counter[str]:
        return Counter(kind for kind, _ in notes_of(fresh_server, "signals"))

    wait_until(lambda: count()["finished"] == 20, "the end of the requests")
    assert count() == {"started": 20, "finished": 20}


def test_signals_of_a_sync_view_come_on_the_thread_that_owns_its_database_connection(
    fresh_server: ServerProcess, name: str
) -> None:
    with Peer(fresh_server) as peer:
        peer.open(f"/sync/database/{name}")
        (seen,) = wait_for_notes(fresh_server, name)
        peer.send(close_frame())
        assert peer.read_close().code == 1000

    wait_until(lambda: len(notes_of(fresh_server, "signals")) == 2, "the end of the request")
    assert notes_of(fresh_server, "signals") == [
        ["started", seen["thread"]],
        ["finished", seen["thread"]],
    ]


def test_signals_of_an_async_view_come_on_threads_that_may_use_the_database(
    fresh_server: ServerProcess, name: str
) -> None:
    main_thread = fresh_server.get("/main-thread").text
    for _ in range(10):
        with Peer(fresh_server) as peer:
            peer.open(f"/async/database/{name}")
            peer.send(close_frame())
            assert peer.read_close().code == 1000

    wait_until(lambda: len(notes_of(fresh_server, "signals")) == 20, "the end of the requests")
    threads = {str(thread) for _, thread in notes_of(fresh_server, "signals")}
    assert main_thread not in threads


def test_no_transaction_is_open_for_the_life_of_a_socket_despite_atomic_requests(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/database/{name}")
        (seen,) = wait_for_notes(server, name)
        peer.send(close_frame())
        assert peer.read_close().code == 1000

    assert seen["atomic"] is False


def test_close_from_elsewhere_wakes_a_wait_and_reaches_the_client(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/closed-by-another/{name}")
        wait_for_notes(server, f"{name}-begun")
        open_gate(server, name)
        other = {"sync": "another thread", "async": "another task"}[colour]
        assert peer.read_close() == Closing(4001, other)
        assert wait_for_notes(server, name, 2) == [None, {"code": 4001, "reason": other}]
        peer.send(close_frame(4001))
        assert peer.read_end() == b""


def test_messages_to_several_waiters_are_each_taken_once_and_the_end_wakes_all(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/shared/{name}")
        wait_for_notes(server, f"{name}-begun", 8)
        for number in range(300):
            peer.send(frame(TEXT, b"%d" % number))
        peer.send(close_frame(4000))
        assert peer.read_close().code == 4000

    taken = wait_for_notes(server, name, 300 + 1 + 8)
    # One waiter is told of the end by None, and learns on its next try what the others hear.
    expected = Counter(map(str, range(300))) + Counter({"ConnectionClosed 4000": 8, "None": 1})
    assert Counter(map(str, taken)) == expected


def test_order_of_each_sending_thread_is_kept_while_the_client_sends_as_well(
    server: ServerProcess, colour: str, name: str
) -> None:
    count = 2000
    arrived: dict[int, list[int]] = {sender: [] for sender in range(6)}
    with Peer(server) as peer:
        peer.open(f"/{colour}/flood/{name}/6/{count}/10")
        peer.send(frame(TEXT, b"unread") * 50)
        for payload in peer.read_messages():
            sender, number, _ = payload.split(b" ")
            arrived[int(sender)].append(int(number))

    assert all(numbers == list(range(count)) for numbers in arrived.values())


def test_close_comes_behind_what_the_same_thread_sent_though_others_send_too(
    server: ServerProcess, colour: str
) -> None:
    for _ in range(30):
        with Peer(server) as peer:
            peer.open(f"/{colour}/last-words")
            messages = list(peer.read_messages())
            assert b"last words" in messages


def test_blocking_socket_on_the_event_loop_raises_instead_of_stopping_the_server(
    server: ServerProcess, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/sync/on-loop/{name}")
        assert peer.read_frame() == Frame(TEXT, b"done")
        (answer,) = wait_for_notes(server, name)
        assert "event loop" in answer
        peer.send(close_frame())
        assert peer.read_close().code == 1000
