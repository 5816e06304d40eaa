"""The close frame reaches its client, whatever that one goes on sending.

A reset of the byte stream could destroy it on its way, so the server must end its half only, and
take what comes until the client has ended the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import open_gate, wait_for_notes
from tests.hostile.wire import BINARY, TEXT, Peer, close_frame, frame

if TYPE_CHECKING:
    from tests.processes import ServerProcess

MEBIBYTE = 1024 * 1024

GOES_ON = {
    "violation": (frame(TEXT, b"hello", mask=None), 1002),
    "bad text": (frame(TEXT, b"\xff"), 1007),
    "too big": (frame(BINARY, announced=MEBIBYTE * 20), 1009),
}


@pytest.mark.parametrize(("data", "code"), GOES_ON.values(), ids=GOES_ON.keys())
def test_close_frame_reaches_a_client_that_goes_on_sending_and_the_stream_ends_in_order(
    server: ServerProcess, colour: str, name: str, data: bytes, code: int
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(data)
        wait_for_notes(server, name)
        peer.send(frame(BINARY, b"x" * MEBIBYTE))

        assert peer.read_close().code == code
        assert peer.read_end() == b""
        assert peer.goes_on_sending(MEBIBYTE), "the server reset the stream"


@pytest.mark.parametrize(("data", "code"), GOES_ON.values(), ids=GOES_ON.keys())
def test_close_frame_reaches_a_client_that_goes_on_sending_through_the_tls_of_asyncio(
    tls_asyncio_server: ServerProcess, name: str, data: bytes, code: int
) -> None:
    # This TLS gives up on what comes behind its own end, so the client cannot go on for long.
    with Peer(tls_asyncio_server) as peer:
        peer.open(f"/async/watch/{name}")
        peer.send(data)
        wait_for_notes(tls_asyncio_server, name)
        peer.send_while_taken(frame(BINARY, b"x" * MEBIBYTE))

        assert peer.read_close().code == code


def test_close_frame_of_the_view_survives_a_violation_that_comes_behind_it(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/leaving/{name}")
        wait_for_notes(server, f"{name}-begun")
        open_gate(server, name)
        peer.wait_until_readable()
        peer.send(frame(TEXT, b"hello", mask=None))

        assert peer.read_close().code == 1000
        assert peer.read_end() == b""
        assert peer.goes_on_sending(MEBIBYTE), "the server reset the stream"


def test_close_frame_is_answered_even_if_the_client_wrongly_goes_on_sending(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(close_frame(4000))
        wait_for_notes(server, name)
        peer.goes_on_sending(MEBIBYTE)

        assert peer.read_close().code == 4000


def test_client_that_never_ends_its_half_after_a_violation_is_cut_off_in_time(
    direct_server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(direct_server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, b"hello", mask=None))
        assert peer.read_close().code == 1002
        assert not peer.goes_on_sending(10**12)
