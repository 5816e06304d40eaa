"""Large messages in awkward pieces: each arrives as it was, and costs memory in proportion.

The server may take 32 MiB in a message, and more fragments than by default.
"""

from __future__ import annotations

import hashlib
import json
import socket
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import (
    assert_quiet,
    assert_serving,
    memory_stays_within,
    sending,
    serve_project,
)
from tests.hostile.wire import BINARY, CONTINUATION, TEXT, Peer, close_frame, frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import Certificate
    from tests.processes import ServerProcess

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
LARGE = 16 * MEBIBYTE
SETTINGS = {"WEBSOCKET_MAX_MESSAGE_SIZE": 32 * MEBIBYTE, "WEBSOCKET_MAX_FRAGMENTS": 20_000}
# The message and its echo, each with a copy on its way, and what the allocator does not give back.
BOUND = 8.0 * LARGE / MEBIBYTE

# Characters of one to four bytes, so that fragments and reads of any size cut through them.
PAYLOADS = {
    BINARY: hashlib.shake_256(b"noise").digest(LARGE),
    TEXT: ("a\u00e9\u20ac\U0001f40d" * (LARGE // 10)).encode(),
}


@pytest.fixture(scope="module")
def big_direct_server(database: Path) -> Iterator[ServerProcess]:
    with serve_project(database, PROJECT_SETTINGS=json.dumps(SETTINGS)) as server:
        yield server


@pytest.fixture(scope="module")
def big_plain_server(database: Path) -> Iterator[ServerProcess]:
    with serve_project(
        database, application="plain_application", PROJECT_SETTINGS=json.dumps(SETTINGS)
    ) as server:
        yield server


@pytest.fixture(scope="module")
def big_tls_server(database: Path, certificate: Certificate) -> Iterator[ServerProcess]:
    with serve_project(
        database, certificate=certificate, PROJECT_SETTINGS=json.dumps(SETTINGS)
    ) as server:
        yield server


@pytest.fixture(params=["direct", "plain", "tls"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    """A server that takes large messages, and has no error logged when the test is over."""
    server: ServerProcess = request.getfixturevalue(f"big_{request.param}_server")
    before = len(server.output())
    yield server
    assert_serving(server, "async")
    assert_quiet(server.output()[before:])


def fragments(opcode: int, payload: bytes, size: int) -> Iterator[bytes]:
    """Cut a payload into the frames of one message."""
    for start in range(0, len(payload), size):
        piece = payload[start : start + size]
        yield frame(opcode, piece, fin=start + size >= len(payload))
        opcode = CONTINUATION


def expect_echo(peer: Peer, opcode: int, payload: bytes) -> None:
    """Expect the message back, and a connection that is still good to close."""
    echo = peer.read_frame()
    assert (echo.opcode, echo.fin, len(echo.payload)) == (opcode, True, len(payload))
    # By hash: pytest would take minutes to show where two of these differ.
    assert hashlib.sha256(echo.payload).digest() == hashlib.sha256(payload).digest()
    peer.send(close_frame())
    assert peer.read_close().code == 1000


@pytest.mark.parametrize(("opcode", "payload"), PAYLOADS.items(), ids=["binary", "text"])
@pytest.mark.parametrize("size", [KIBIBYTE, LARGE], ids=["1-KiB-fragments", "one-frame"])
def test_message_of_16_mebibytes_is_echoed(
    server: ServerProcess, colour: str, opcode: int, payload: bytes, size: int
) -> None:
    data = b"".join(fragments(opcode, payload, size))
    with memory_stays_within(server, BOUND), Peer(server) as peer:
        peer.open(f"/{colour}/echo")
        with sending(peer, data) as sender:
            sender.join(60)
            expect_echo(peer, opcode, payload)


@pytest.mark.parametrize("opcode", [BINARY, TEXT], ids=["binary", "text"])
@pytest.mark.parametrize("size", [KIBIBYTE, 64 * KIBIBYTE], ids=["1-KiB-fragments", "one-frame"])
def test_message_of_64_kibibytes_that_comes_byte_by_byte_is_echoed(
    server: ServerProcess, colour: str, opcode: int, size: int
) -> None:
    payload = PAYLOADS[opcode][: 64 * KIBIBYTE - 4]
    if opcode == TEXT:
        payload = payload.decode(errors="ignore").encode()
    data = b"".join(fragments(opcode, payload, size))
    with Peer(server) as peer:
        # Each in a segment of its own, as far as the kernels agree.
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.open(f"/{colour}/echo")
        for position in range(len(data)):
            peer.send(data[position : position + 1])
        expect_echo(peer, opcode, payload)


def test_message_above_the_limit_is_refused_at_its_last_fragment(
    server: ServerProcess, colour: str
) -> None:
    half = b"x" * LARGE
    with Peer(server) as peer:
        peer.open(f"/{colour}/echo")
        peer.send(frame(BINARY, half, fin=False) + frame(CONTINUATION, half, fin=False))
        peer.send_while_taken(frame(CONTINUATION, b"x"))
        assert peer.read_close().code == 1009
