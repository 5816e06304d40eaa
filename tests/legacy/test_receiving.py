"""What views receive: the messages, the end, and what tells of them without waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import notes_of, open_gate, wait_for_notes
from tests.hostile.wire import BINARY, PING, PONG, TEXT, Frame, Peer, close_frame, frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.processes import ServerProcess

ENDS: dict[str, Callable[[Peer], None]] = {
    "close frame": lambda peer: peer.send(close_frame()),
    "FIN": lambda peer: peer.leave(),
    "RST": lambda peer: peer.leave(abruptly=True),
}


@pytest.fixture(params=ENDS)
def end(request: pytest.FixtureRequest) -> Callable[[Peer], None]:
    """Each of the ways in which a client goes."""
    return ENDS[request.param]


def test_01_every_message_is_bytes(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/record/{name}")
        peer.send(frame(TEXT, "h\u00e9".encode()) + frame(BINARY, b"\xff\x00"))
        assert wait_for_notes(server, name, 2) == [repr("h\u00e9".encode()), repr(b"\xff\x00")]


def test_03_end_is_one_none_and_then_eof_error(
    server: ServerProcess, name: str, end: Callable[[Peer], None]
) -> None:
    with Peer(server) as peer:
        peer.open(f"/record_waiting/{name}")
        peer.send(frame(TEXT, b"one") + frame(BINARY, b"two"))
        wait_for_notes(server, name, 2)
        end(peer)
        assert wait_for_notes(server, name, 7) == [
            "b'one'",
            "b'two'",
            "None",
            *["EOFError"] * 3,
            "over",
        ]


def test_03_what_is_queued_comes_before_the_end(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/waits_while_open/{name}")
        wait_for_notes(server, name)
        messages = [f"message {number}".encode() for number in range(30)]
        peer.send(b"".join(frame(TEXT, message) for message in messages) + close_frame())
        peer.leave()
    open_gate(server, name)

    noted = wait_for_notes(server, name, 32)
    assert noted[1:31] == [repr(message) for message in messages]


def test_04_iteration_yields_the_final_none(
    server: ServerProcess, name: str, end: Callable[[Peer], None]
) -> None:
    with Peer(server) as peer:
        peer.open(f"/record/{name}")
        peer.send(frame(TEXT, b"one") + frame(TEXT) + frame(TEXT, b"two"))
        wait_for_notes(server, name, 3)
        end(peer)
        assert wait_for_notes(server, name, 4) == ["b'one'", "b''", "b'two'", "None"]


def test_04_breaking_out_of_an_iteration_loses_nothing(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/record_breaking/{name}")
        peer.send(frame(TEXT, b"one") + frame(TEXT, b"two") + frame(TEXT, b"three"))
        peer.send(close_frame())
        assert wait_for_notes(server, name, 4) == ["b'one'", "b'two'", "b'three'", "None"]


def test_04_iteration_yields_one_none_after_the_own_close(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/closed_in_a_loop/{name}")
        peer.send(frame(TEXT, b"one") + frame(TEXT, b"quit"))
        assert peer.read_close().code == 1000
        assert wait_for_notes(server, name, 3) == ["b'one'", "b'quit'", "None"]
        peer.send(close_frame())
        assert peer.read_end() == b""

    assert len(notes_of(server, name)) == 3


def test_05_end_is_a_queued_none(
    server: ServerProcess, name: str, end: Callable[[Peer], None]
) -> None:
    with Peer(server) as peer:
        peer.open(f"/polls/{name}")
        assert peer.read_frame() == Frame(TEXT, b"ready")
        assert notes_of(server, name) == ["None", "'nothing'", "False", "0"]
        # Not lost to a reset, which overtakes what the server has not read yet.
        peer.send(frame(TEXT, b"last") + frame(PING))
        assert peer.read_frame().opcode == PONG
        end(peer)
        open_gate(server, name)

        queued = ["True", "2", "b'last'"]
        at_the_end = ["True", "1", "None"]
        assert wait_for_notes(server, name, 10)[4:] == queued + at_the_end


def test_05_polls_raise_eof_error_after_the_final_none(
    server: ServerProcess, name: str, end: Callable[[Peer], None]
) -> None:
    with Peer(server) as peer:
        peer.open(f"/polls_after_the_end/{name}")
        end(peer)
        open_gate(server, name)
        assert wait_for_notes(server, name, 4) == ["EOFError"] * 4


def test_14_closed_tells_of_the_own_close_and_is_closed_of_both(
    server: ServerProcess, name: str, end: Callable[[Peer], None]
) -> None:
    with Peer(server) as peer:
        peer.open(f"/closed_by_the_peer/{name}")
        end(peer)
        assert wait_for_notes(server, name) == [[False, True]]


def test_14_is_closed_turns_true_without_any_read_or_write(
    server: ServerProcess, name: str, end: Callable[[Peer], None]
) -> None:
    with Peer(server) as peer:
        peer.open(f"/watches_is_closed/{name}")
        assert wait_for_notes(server, name) == [["begun", False, False]]
        end(peer)
        assert wait_for_notes(server, name, 2)[1] == ["over", False, True]


def test_14_is_closed_is_false_while_messages_are_queued(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/waits_while_open/{name}")
        wait_for_notes(server, name)
        peer.send(frame(TEXT, b"one") + frame(TEXT, b"two") + close_frame())
        assert peer.read_close().code == 1000
        open_gate(server, name)

        # With the last message taken it is over, so that no further wait() follows.
        assert wait_for_notes(server, name, 4) == ["begun", "b'one'", "b'two'", "over"]


def test_15_wait_takes_a_timeout(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/time_outs/{name}")
        assert peer.read_frame() == Frame(TEXT, b"ready")
        assert notes_of(server, name) == ["None", "None", "None", "False"]
        for message in (b"polled", b"int", b"keyword", b"none"):
            peer.send(frame(TEXT, message))
            if message != b"none":
                assert peer.read_frame() == Frame(TEXT, b"more")
        messages = ["b'polled'", "b'int'", "b'keyword'", "b'none'"]
        assert wait_for_notes(server, name, 8)[4:] == messages


def test_15_wait_blocks_with_a_negative_timeout(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/waits_for_ever/{name}")
        peer.send(frame(TEXT, b"at last"))
        assert wait_for_notes(server, name) == ["b'at last'"]
