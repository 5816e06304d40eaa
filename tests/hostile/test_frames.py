"""Frames that break RFC 6455: each ends its connection with the right code, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import wait_for_notes
from tests.hostile.wire import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Closing,
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


BROKEN_FRAMES = {
    "unmasked text": frame(TEXT, b"hello", mask=None),
    "unmasked empty text": frame(TEXT, mask=None),
    "unmasked 16-bit length": frame(BINARY, b"x" * 300, mask=None),
    "unmasked ping": frame(PING, b"hello", mask=None),
    "unmasked close": frame(CLOSE, b"\x03\xe8", mask=None),
    **{f"reserved bits {bits:03b}": frame(TEXT, b"hello", reserved=bits) for bits in range(1, 8)},
    "reserved bit in a ping": frame(PING, b"hello", reserved=4),
    "reserved bit in a close frame": frame(CLOSE, b"\x03\xe8", reserved=2),
    **{f"reserved opcode {code:#x}": frame(code, b"hello") for code in (3, 4, 5, 6, 7)},
    **{f"reserved opcode {code:#x}": frame(code) for code in (11, 12, 13, 14, 15)},
    "fragmented ping": frame(PING, b"hello", fin=False),
    "fragmented pong": frame(PONG, b"hello", fin=False),
    "fragmented close": frame(CLOSE, b"\x03\xe8", fin=False),
    "ping of 126 bytes": frame(PING, b"x" * 126),
    "pong of 126 bytes": frame(PONG, b"x" * 126),
    "close frame of 126 bytes": close_frame(1000, b"x" * 124),
    "ping of 64 KiB": frame(PING, b"x" * 65536),
    "continuation of nothing": frame(CONTINUATION, b"hello"),
    "unfinished continuation of nothing": frame(CONTINUATION, b"hello", fin=False),
    "continuation behind a whole message": frame(TEXT, b"whole") + frame(CONTINUATION, b"more"),
    "text inside a text message": frame(TEXT, b"be", fin=False) + frame(TEXT, b"hello"),
    "binary inside a text message": frame(TEXT, b"be", fin=False) + frame(BINARY, b"hello"),
    "second beginning": frame(BINARY, b"be", fin=False) + frame(BINARY, b"hello", fin=False),
    "16-bit length of 125": frame(TEXT, b"x" * 125, length_bytes=2),
    "16-bit length of 0": frame(TEXT, length_bytes=2),
    "16-bit length of a ping": frame(PING, b"hello", length_bytes=2),
    "64-bit length of 5": frame(TEXT, b"hello", length_bytes=8),
    "64-bit length of 65535": frame(BINARY, b"x" * 65535, length_bytes=8),
    "64-bit length with the top bit": frame(BINARY, announced=1 << 63),
    "64-bit length of all bits": frame(BINARY, announced=(1 << 64) - 1),
    "close frame of 1 byte": frame(CLOSE, b"\x03"),
    **{
        f"close code {code}": close_frame(code)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
}

NOT_UTF_8 = {
    "lone continuation byte": b"\x80",
    "invalid byte": b"\xff",
    "overlong slash": b"\xc0\xaf",
    "overlong in 3 bytes": b"\xe0\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "sequence broken off": b"\xe2\x82A",
}


@pytest.mark.parametrize("data", BROKEN_FRAMES.values(), ids=BROKEN_FRAMES.keys())
def test_broken_frame_closes_with_1002_behind_what_came_before(
    server: ServerProcess, colour: str, name: str, data: bytes
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, b"before") + data)

        closing = peer.read_close()
        assert closing.code == 1002
        assert closing.reason
        assert peer.read_end() == b""

    (seen,) = wait_for_notes(server, name)
    assert (seen["code"], seen["reason"]) == (1002, closing.reason)
    assert seen["messages"][0] == "before"


@pytest.mark.parametrize("data", BROKEN_FRAMES.values(), ids=BROKEN_FRAMES.keys())
def test_broken_frame_byte_by_byte_closes_with_1002(
    direct_server: ServerProcess, name: str, data: bytes
) -> None:
    with Peer(direct_server) as peer:
        peer.open(f"/async/watch/{name}")
        for position in range(min(len(data), 200)):
            if not peer.send_while_taken(data[position : position + 1]):
                break
        else:
            peer.send_while_taken(data[200:])
        assert peer.read_close().code == 1002

    (seen,) = wait_for_notes(direct_server, name)
    assert seen["code"] == 1002


@pytest.mark.parametrize("bad", NOT_UTF_8.values(), ids=NOT_UTF_8.keys())
def test_text_that_is_not_utf_8_closes_with_1007(
    server: ServerProcess, colour: str, name: str, bad: bytes
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, b"before") + frame(TEXT, b"caf\xc3\xa9 " + bad))
        assert peer.read_close().code == 1007

    (seen,) = wait_for_notes(server, name)
    assert (seen["messages"], seen["code"]) == (["before"], 1007)


@pytest.mark.parametrize("bad", NOT_UTF_8.values(), ids=NOT_UTF_8.keys())
def test_first_bad_byte_of_an_unfinished_frame_closes_with_1007_at_once(
    server: ServerProcess, colour: str, name: str, bad: bytes
) -> None:
    text = b"caf\xc3\xa9 " + bad
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, text, announced=1000))
        assert peer.read_close().code == 1007

    (seen,) = wait_for_notes(server, name)
    assert (seen["messages"], seen["code"]) == ([], 1007)


def test_bad_byte_in_a_later_fragment_closes_with_1007_before_the_message_is_whole(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, b"\xce", fin=False) + frame(PING, b"between"))
        assert peer.read_frame() == Frame(PONG, b"between")
        peer.send(frame(CONTINUATION, b"\x41", fin=False))
        assert peer.read_close().code == 1007

    (seen,) = wait_for_notes(server, name)
    assert (seen["messages"], seen["code"]) == ([], 1007)


def test_character_that_the_last_fragment_breaks_off_closes_with_1007(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, b"caf", fin=False) + frame(CONTINUATION, b"\xc3"))
        assert peer.read_close().code == 1007

    (seen,) = wait_for_notes(server, name)
    assert (seen["messages"], seen["code"]) == ([], 1007)


def test_character_split_over_fragments_and_pings_arrives_whole(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, b"\xe2", fin=False) + frame(PING, b"1"))
        peer.send(frame(CONTINUATION, b"\x82", fin=False) + frame(PING, b"2"))
        peer.send(frame(CONTINUATION, fin=False) + frame(CONTINUATION, b"\xac"))
        peer.send(close_frame(1000))
        assert [peer.read_frame() for _ in range(2)] == [Frame(PONG, b"1"), Frame(PONG, b"2")]
        assert peer.read_close() == Closing(1000, "")

    (seen,) = wait_for_notes(server, name)
    assert seen["messages"] == ["€"]


def test_close_reason_that_is_not_utf_8_closes_with_1007(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(close_frame(1000, b"caf\xe9"))
        assert peer.read_close().code == 1007

    (seen,) = wait_for_notes(server, name)
    assert seen["code"] == 1007


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1014, 3000, 4999])
def test_permitted_close_code_is_answered_with_itself_and_told_to_the_view(
    server: ServerProcess, colour: str, name: str, code: int
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(close_frame(code, "à bientôt".encode()))
        assert peer.read_close().code == code
        assert peer.read_end() == b""

    (seen,) = wait_for_notes(server, name)
    assert (seen["code"], seen["reason"]) == (code, "à bientôt")


def test_close_frame_without_a_code_is_answered_with_1000_and_told_as_1005(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(close_frame(None))
        assert peer.read_close().code == 1000
        assert peer.read_end() == b""

    (seen,) = wait_for_notes(server, name)
    assert seen["code"] == 1005


def test_frames_behind_a_close_frame_are_not_delivered(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/watch/{name}")
        peer.send(frame(TEXT, b"before") + close_frame(4000) + frame(TEXT, b"behind"))
        assert peer.read_close().code == 4000

    (seen,) = wait_for_notes(server, name)
    assert (seen["messages"], seen["code"]) == (["before"], 4000)
