"""What can go wrong with TLS itself, under a WebSocket or in place of one."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import notes_of, wait_for_notes
from tests.hostile.wire import TEXT, Frame, Peer, close_frame, frame, handshake
from tests.processes import DEADLINE

if TYPE_CHECKING:
    from tests.processes import ServerProcess


@pytest.fixture(params=["tls", "tls_asyncio"])
def any_server(request: pytest.FixtureRequest) -> ServerProcess:
    server: ServerProcess = request.getfixturevalue(f"{request.param}_server")
    return server


def connect_plainly(server: ServerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), DEADLINE)


def test_end_of_tls_without_a_close_frame_ends_the_view_with_1006(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, b"whole") + frame(TEXT, b"half of it")[:8])
        peer.end_tls()

    (seen,) = wait_for_notes(server, name)
    assert seen == {"messages": ["whole"], "code": 1006, "reason": ""}


def test_end_of_tls_right_behind_the_close_frame_leaves_its_code(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, b"whole") + close_frame(4000, b"bye"))
        peer.end_tls()

    (seen,) = wait_for_notes(server, name)
    assert seen == {"messages": ["whole"], "code": 4000, "reason": "bye"}


def test_bytes_that_come_in_many_records_are_read_as_one_stream(
    server: ServerProcess, colour: str
) -> None:
    message = frame(TEXT, "Grüße, ☃".encode())
    with Peer(server) as peer:
        peer.open(f"/{colour}/echo")
        for position in range(len(message)):
            peer.send(message[position : position + 1])
        assert peer.read_frame() == Frame(TEXT, "Grüße, ☃".encode())


@pytest.mark.parametrize("sent", [1, 5, 100])
def test_client_that_leaves_amid_the_handshake_of_tls_leaves_no_trace(
    server: ServerProcess, sent: int
) -> None:
    # A record that announces 16 KiB of a first message.
    hello = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03" + b"\0" * 200
    with connect_plainly(server) as client:
        client.sendall(hello[:sent])


def test_client_without_tls_is_not_served(server: ServerProcess, name: str) -> None:
    with connect_plainly(server) as client:
        client.sendall(handshake(f"/async/watch/{name}", server.port))
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert b"HTTP/" not in answer
    assert notes_of(server, f"{name}-begun") == []
