"""Messages of odd sizes and the control frames between them: delivered, answered, or refused."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import wait_for_notes
from tests.hostile.wire import (
    BINARY,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    close_frame,
    frame,
)

if TYPE_CHECKING:
    from tests.processes import ServerProcess


@pytest.fixture(params=["direct", "plain", "tls"])
def any_server(request: pytest.FixtureRequest) -> ServerProcess:
    """Leave out the other event loop, of which frames know nothing."""
    server: ServerProcess = request.getfixturevalue(f"{request.param}_server")
    return server


MEBIBYTE = 1024 * 1024


def test_message_at_the_limit_is_delivered(server: ServerProcess, colour: str, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(BINARY, b"x" * MEBIBYTE) + close_frame())
        assert peer.read_close().code == 1000

    (seen,) = wait_for_notes(server, name)
    assert seen["messages"] == [f"{MEBIBYTE} characters"]


def test_message_above_the_limit_closes_with_1009(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send_while_taken(frame(BINARY, b"x" * (MEBIBYTE + 1)))
        assert peer.read_close().code == 1009

    (seen,) = wait_for_notes(server, name)
    assert (seen["messages"], seen["code"]) == ([], 1009)


@pytest.mark.parametrize("size", [MEBIBYTE + 1, 1 << 40, (1 << 63) - 1])
def test_header_that_announces_too_much_closes_with_1009_before_any_payload(
    direct_server: ServerProcess, colour: str, name: str, size: int
) -> None:
    with Peer(direct_server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(BINARY, announced=size))
        closing = peer.read_close()
        assert closing.code == 1009
        assert str(MEBIBYTE) in closing.reason

    (seen,) = wait_for_notes(direct_server, name)
    assert (seen["messages"], seen["code"]) == ([], 1009)


def test_header_that_announces_an_exbibyte_closes_with_1009_over_plain_asgi_too(
    plain_server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(plain_server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(BINARY, announced=1 << 60))
        assert peer.read_close().code == 1009

    (seen,) = wait_for_notes(plain_server, name)
    assert (seen["messages"], seen["code"]) == ([], 1009)


def test_fragments_that_together_are_too_big_close_with_1009(
    server: ServerProcess, colour: str, name: str
) -> None:
    half = b"x" * (MEBIBYTE // 2)
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(BINARY, half, fin=False) + frame(CONTINUATION, half, fin=False))
        peer.send_while_taken(frame(CONTINUATION, b"x"))
        assert peer.read_close().code == 1009

    (seen,) = wait_for_notes(server, name)
    assert (seen["messages"], seen["code"]) == ([], 1009)


def test_fragment_that_announces_too_much_closes_with_1009_before_its_payload(
    direct_server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(direct_server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, b"x" * 1000, fin=False))
        peer.send(frame(CONTINUATION, announced=MEBIBYTE - 999))
        assert peer.read_close().code == 1009

    (seen,) = wait_for_notes(direct_server, name)
    assert (seen["messages"], seen["code"]) == ([], 1009)


def test_many_empty_fragments_are_no_message_and_do_no_harm(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 32_000)
        peer.send(frame(CONTINUATION, b"end") + close_frame())
        assert peer.read_close().code == 1000

    (seen,) = wait_for_notes(server, name)
    assert seen["messages"] == ["end"]


def test_endless_fragments_are_1009(direct_server: ServerProcess, colour: str, name: str) -> None:
    with Peer(direct_server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 33_000)
        end = peer.read_close()
        assert end.code == 1009
        assert end.reason == "a message may have 32768 fragments, got 32769"

    (seen,) = wait_for_notes(direct_server, name)
    assert (seen["messages"], seen["code"]) == ([], 1009)


def test_ping_between_fragments_is_answered_at_once_with_its_payload(
    server: ServerProcess, colour: str, name: str
) -> None:
    payload = bytes(range(125))
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, b"be", fin=False) + frame(PING, payload))
        assert peer.read_frame() == Frame(PONG, payload)
        peer.send(frame(PONG, b"unasked") + frame(CONTINUATION, b"gin") + close_frame())
        assert peer.read_close().code == 1000

    (seen,) = wait_for_notes(server, name)
    assert seen["messages"] == ["begin"]


def test_ten_thousand_pings_are_each_answered_in_order(
    server: ServerProcess, colour: str, name: str
) -> None:
    payloads = [struct.pack("!I", number) for number in range(10_000)]
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        for start in range(0, len(payloads), 1000):
            batch = payloads[start : start + 1000]
            peer.send(b"".join(frame(PING, payload) for payload in batch))
            assert [peer.read_frame() for _ in batch] == [Frame(PONG, payload) for payload in batch]
        peer.send(close_frame())
        assert peer.read_close().code == 1000


@pytest.mark.parametrize("mask", [b"\0\0\0\0", b"\xff\xff\xff\xff", MASK])
def test_message_of_every_length_around_the_borders_of_the_encoding_is_echoed(
    server: ServerProcess, colour: str, mask: bytes
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/echo")
        for length in (0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 65535, 65536, 65537):
            payload = bytes(number % 251 for number in range(length))
            peer.send(frame(BINARY, payload, mask=mask))
            assert peer.read_frame() == Frame(BINARY, payload)
        peer.send(close_frame())
        assert peer.read_close().code == 1000
