"""What views send: text out of everything, from every thread, and into the void after the end."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import notes_of, open_gate, wait_for_notes, wait_until_full
from tests.hostile.wire import (
    BINARY,
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
from tests.legacy.serving import serve_legacy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.legacy.serving import Database
    from tests.processes import ServerProcess


@pytest.fixture(scope="module", params=["adwebsocket", "uvicorn"])
def impatient_server(request: pytest.FixtureRequest, database: Database) -> Iterator[ServerProcess]:
    """A server that waits a second for a client which takes nothing."""
    settings = '{"WEBSOCKET_SEND_TIMEOUT": 1}'
    with serve_legacy(request.param, database, LEGACY_SETTINGS=settings) as server:
        yield server


def test_02_everything_goes_out_as_text(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/sends/{name}")
        for message in (b"text", b"bytes", b"bytearray", b"memoryview"):
            assert peer.read_frame() == Frame(TEXT, message)
        peer.send(close_frame())
        assert peer.read_close().code == 1000

    assert notes_of(server, name) == ["None"] * 4


def test_02_text_beyond_ascii_goes_out_right(server: ServerProcess) -> None:
    with Peer(server) as peer:
        peer.open("/sends_chinese_bytes")
        assert peer.read_frame() == Frame(TEXT, "\u4f60\u597d".encode())
    with Peer(server) as peer:
        peer.open("/sends_chinese_text")
        assert peer.read_frame() == Frame(TEXT, '{"msg": "\u4f60\u597d"}'.encode())


def test_02_bytes_that_are_no_text_go_out_as_binary(server: ServerProcess) -> None:
    with Peer(server) as peer:
        peer.open("/sends_no_text")
        assert peer.read_frame() == Frame(BINARY, b"\x89PNG\xff")


def test_02_second_argument_is_accepted(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/sends_with_flag/{name}")
        assert peer.read_frame() == Frame(TEXT, b"positional")
        assert peer.read_frame() == Frame(TEXT, b"keyword")


@pytest.mark.parametrize("abruptly", [None, False, True], ids=["close frame", "FIN", "RST"])
def test_06_send_after_the_end_is_silent_from_any_thread(
    server: ServerProcess, name: str, abruptly: bool | None
) -> None:
    with Peer(server) as peer:
        peer.open(f"/goes_on_sending/{name}")
        wait_for_notes(server, name)
        if abruptly is None:
            peer.send(close_frame())
            assert peer.read_close().code == 1000
        peer.leave(abruptly=bool(abruptly))
    open_gate(server, name)

    assert wait_for_notes(server, name, 3) == ["begun", "None", "done"]


def test_06_broadcast_reaches_the_living_behind_the_dead(server: ServerProcess, name: str) -> None:
    with Peer(server) as first, Peer(server) as dead, Peer(server) as last:
        for user, peer in {"a": first, "b": dead, "c": last}.items():
            peer.open(f"/join/{name}/{user}")
            assert peer.read_frame() == Frame(TEXT, b"welcome")
        dead.leave(abruptly=True)

        assert server.get(f"/broadcast/{name}?message=hello").text == "3"
        first.send(frame(TEXT, b"and from me"))
        for peer in (first, last):
            assert peer.read_frame() == Frame(TEXT, b"hello")
            assert peer.read_frame() == Frame(TEXT, b"and from me")


def test_08_threads_send_whole_frames_in_their_own_order(server: ServerProcess) -> None:
    count = 300
    received = defaultdict(list)
    with Peer(server) as peer:
        peer.open(f"/many_threads/{count}")
        for message in peer.read_messages():
            sender, number, filling = message.split(b" ")
            assert filling == b"x" * int(number)
            received[int(sender)].append(int(number))

    assert received == {sender: list(range(count)) for sender in range(4)}


def test_08_close_from_another_thread_wakes_a_waiting_view(
    server: ServerProcess, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/wait_in/{name}/ada")
        assert peer.read_frame() == Frame(TEXT, b"waiting")
        assert server.get(f"/close/{name}/ada").text == "closed"
        assert peer.read_close() == Closing(1000, "")
        assert wait_for_notes(server, name) == ["None"]


def test_08_http_view_reads_the_socket_of_another(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/join/{name}/ada")
        assert peer.read_frame() == Frame(TEXT, b"welcome")
        assert server.get(f"/read/{name}/ada").text == '["None", "False"]'


def test_21_send_waits_for_a_slow_client(server: ServerProcess, name: str) -> None:
    count, size = 100, 100_000
    with Peer(server, receive_buffer=4096) as peer:
        peer.open(f"/torrent/{name}/{count}/{size}")
        wait_until_full(peer)
        assert 0 < len(notes_of(server, name)) < count

        assert [len(message) for message in peer.read_messages()] == [size] * count

    assert len(wait_for_notes(server, name, count)) == count


def test_21_dead_client_holds_up_a_broadcast_for_a_limited_time(
    impatient_server: ServerProcess, name: str
) -> None:
    count = 100
    with Peer(impatient_server, receive_buffer=4096) as peer:
        peer.open(f"/torrent/{name}/{count}/100000")
        assert len(wait_for_notes(impatient_server, name, count)) == count
        assert peer.unread()


def test_22_pings_are_answered_and_never_delivered(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/record/{name}")
        peer.send(frame(PING, b"are you there") + frame(TEXT, b"message"))
        assert peer.read_frame() == Frame(PONG, b"are you there")
        assert wait_for_notes(server, name) == ["b'message'"]


def test_22_unsolicited_pongs_are_ignored(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/record/{name}")
        peer.send(frame(PONG, b"heartbeat") + frame(TEXT, b"message"))
        assert wait_for_notes(server, name) == ["b'message'"]


def test_22_fragments_are_joined(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/record/{name}")
        peer.send(frame(TEXT, b"one ", fin=False) + frame(PING))
        peer.send(frame(CONTINUATION, b"two ", fin=False) + frame(CONTINUATION, b"three"))
        assert wait_for_notes(server, name) == ["b'one two three'"]


def test_22_empty_message_is_empty_bytes(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/record/{name}")
        peer.send(frame(TEXT) + frame(BINARY))
        assert wait_for_notes(server, name, 2) == ["b''", "b''"]
