"""Clients that vanish at any moment, politely or not: whoever waits for them is told, nobody else.

"Abruptly" is a TCP reset, else the client ends the byte stream in order but without a close frame.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import (
    assert_quiet,
    notes_of,
    open_gate,
    serve_project,
    wait_for_notes,
    wait_until_forgotten,
    wait_until_full,
)
from tests.hostile.wire import (
    BINARY,
    PING,
    TEXT,
    Frame,
    Peer,
    close_frame,
    frame,
    handshake,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes import ServerProcess

MEBIBYTE = 1024 * 1024

UNFINISHED = {
    "nothing": b"",
    "first byte of a header": b"\x81",
    "16-bit length without its second byte": frame(BINARY, b"x" * 300)[:3],
    "64-bit length without its end": frame(BINARY, b"x" * 70000)[:7],
    "whole header": frame(TEXT, b"hello")[:6],
    "half a payload": frame(TEXT, b"hello")[:8],
    "first fragment": frame(TEXT, b"hello", fin=False),
    "half a character": frame(TEXT, b"\xc3", fin=False),
    "half a ping between fragments": frame(TEXT, b"a", fin=False) + frame(PING, b"ping")[:7],
    "half a close frame": close_frame(1000, b"reason")[:9],
}


@pytest.fixture(params=[False, True], ids=["in order", "abruptly"])
def abruptly(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("sent", [1, 100, -1])
def test_client_that_vanishes_in_the_handshake_leaves_no_trace(
    server: ServerProcess, colour: str, name: str, abruptly: bool, sent: int
) -> None:
    peer = Peer(server)
    peer.send(handshake(f"/{colour}/watch/{name}", server.port)[:sent])
    peer.leave(abruptly=abruptly)

    assert notes_of(server, f"{name}-begun") == []


def test_client_that_vanishes_right_behind_its_handshake_ends_the_view_with_1006(
    server: ServerProcess, colour: str, abruptly: bool, name: str
) -> None:
    for _ in range(20):
        peer = Peer(server)
        peer.send(handshake(f"/{colour}/watch/{name}", server.port))
        peer.leave(abruptly=abruptly)
    # A reset may be faster than the request it follows, which then nobody ever sees.
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")

    begun = notes_of(server, f"{name}-begun")
    ends = wait_for_notes(server, name, len(begun))
    assert {end["code"] for end in ends} == {1006}


@pytest.mark.parametrize("data", UNFINISHED.values(), ids=UNFINISHED.keys())
def test_client_that_vanishes_in_the_middle_ends_the_view_with_1006_and_what_was_whole(
    server: ServerProcess, colour: str, name: str, abruptly: bool, data: bytes
) -> None:
    peer = Peer(server)
    peer.open(f"/{colour}/watch/{name}")
    # The pong tells that the server has read so far, since a reset may overtake data.
    peer.send(frame(TEXT, b"whole") + frame(PING, b"read?"))
    peer.read_frame()
    peer.send(data)
    peer.leave(abruptly=abruptly)

    (seen,) = wait_for_notes(server, name)
    assert seen == {"messages": ["whole"], "code": 1006, "reason": ""}


def test_client_that_vanishes_wakes_a_wait_in_another_thread_and_fails_the_next_send(
    server: ServerProcess, colour: str, name: str, abruptly: bool
) -> None:
    peer = Peer(server)
    peer.open(f"/{colour}/bystander/{name}")
    wait_for_notes(server, f"{name}-begun")
    peer.leave(abruptly=abruptly)

    assert wait_for_notes(server, name, 3) == [None, 1006, "ConnectionClosed 1006"]


def test_client_that_vanishes_stops_a_view_that_only_sends(
    server: ServerProcess, colour: str, name: str, abruptly: bool
) -> None:
    peer = Peer(server)
    peer.open(f"/{colour}/sender/{name}")
    peer.read_frame()
    peer.leave(abruptly=abruptly)

    assert wait_for_notes(server, name) == ["ConnectionClosed"]


def test_client_that_vanishes_amid_a_big_answer_ends_a_blocked_send_and_a_wait(
    server: ServerProcess, colour: str, name: str, abruptly: bool
) -> None:
    peer = Peer(server, receive_buffer=4096)
    peer.open(f"/{colour}/unread/{name}")
    wait_until_full(peer)
    peer.leave(abruptly=abruptly)

    assert wait_for_notes(server, name) == [{"code": 1006, "reason": ""}]
    assert wait_for_notes(server, f"{name}-sender") == [1006]


# Not over TLS, which has no halves: there the event loop tells nobody of this end before all has
# been written that was to be.
@pytest.mark.parametrize("any_server", ["direct", "asyncio", "plain"], indirect=True)
def test_client_that_ends_its_half_and_never_reads_ends_a_blocked_send_and_a_wait(
    server: ServerProcess, colour: str, name: str
) -> None:
    # What is on its way to this client will never arrive: only its FIN tells that it has gone.
    with Peer(server, receive_buffer=4096) as peer:
        peer.open(f"/{colour}/unread/{name}")
        wait_until_full(peer)
        peer.socket.shutdown(socket.SHUT_WR)

        assert wait_for_notes(server, name) == [{"code": 1006, "reason": ""}]
        assert wait_for_notes(server, f"{name}-sender") == [1006]


def test_client_that_ends_its_half_and_never_reads_is_given_up_in_time(
    direct_server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(direct_server, receive_buffer=4096) as peer:
        peer.open(f"/{colour}/unread/{name}")
        wait_until_full(peer)
        peer.socket.shutdown(socket.SHUT_WR)

        # The client cannot tell, for what it would hear stands behind what it does not read.
        wait_until_forgotten(direct_server)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_client_that_vanishes_from_a_view_that_sends_without_pause_does_not_stop_the_server(
    database: Path, colour: str, name: str, abruptly: bool, loop: str
) -> None:
    # On a server of its own, for if it stops, every test behind this one fails.
    with serve_project(database, "--loop", loop) as server:
        for _ in range(5):
            peer = Peer(server)
            peer.open(f"/{colour}/torrent/{name}")
            peer.read_frame()
            peer.leave(abruptly=abruptly)
        assert wait_for_notes(server, name, 5) == ["ConnectionClosed"] * 5
        assert_quiet(server.output())


def test_messages_that_came_before_the_client_vanished_are_all_read(
    server: ServerProcess, colour: str, name: str
) -> None:
    peer = Peer(server)
    peer.open(f"/{colour}/gated/{name}")
    wait_for_notes(server, f"{name}-begun")
    peer.send(b"".join(frame(TEXT, b"%d" % number) for number in range(5000)))
    peer.leave()
    open_gate(server, name)

    (seen,) = wait_for_notes(server, name)
    if server.tls is not None:
        # A stream that ends without TLS's own end is broken, and uvloop drops what waits in it.
        assert 64 <= seen["count"] <= 5000
        seen["count"] = 5000
    assert seen == {"count": 5000, "in_order": True, "code": 1006, "reason": ""}


def test_client_that_sends_frames_before_it_is_let_in_is_heard_or_told(
    server: ServerProcess, colour: str, name: str
) -> None:
    # It must wait for our answer (RFC 6455 section 4.1). What it sends behind it counts, anyway.
    with Peer(server) as peer:
        peer.send(handshake(f"/{colour}/echo", server.port))
        peer.send(frame(TEXT, b"x" * 10) * 10)
        assert peer.read_head().startswith("HTTP/1.1 101 ")
        peer.send(frame(TEXT, b"last"))
        while (echo := peer.read_frame()) != Frame(TEXT, b"last"):
            assert echo == Frame(TEXT, b"x" * 10)


def test_client_that_floods_the_handshake_with_frames_gets_the_refusal(
    server: ServerProcess,
) -> None:
    with Peer(server) as peer:
        peer.send(handshake("/nowhere", server.port))
        peer.send_while_taken(frame(BINARY, b"x" * MEBIBYTE))
        assert peer.read_head().startswith("HTTP/1.1 404 ")


def test_client_that_vanishes_while_another_is_served_does_not_disturb_that_one(
    server: ServerProcess, colour: str, name: str, abruptly: bool
) -> None:
    with Peer(server) as witness:
        witness.open(f"/{colour}/echo")
        for number in range(50):
            peer = Peer(server)
            peer.open(f"/{colour}/watch/{name}")
            peer.send(frame(TEXT, b"hello")[: number % 11])
            peer.leave(abruptly=abruptly)
            witness.send(frame(TEXT, b"%d" % number))
            assert witness.read_frame() == Frame(TEXT, b"%d" % number)

    assert {end["code"] for end in wait_for_notes(server, name, 50)} == {1006}
