"""Peers that are slow, both ways: memory stays within bounds, nothing is lost, order is kept."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import (
    memory_stays_within,
    notes_of,
    open_gate,
    sending,
    serve_project,
    wait_for_notes,
    wait_until_full,
    wait_until_stuck,
)
from tests.hostile.wire import BINARY, PING, PONG, TEXT, Frame, Peer, close_frame, frame

if TYPE_CHECKING:
    from pathlib import Path

    from tests.processes import ServerProcess


# A view that does not read


def test_messages_to_a_view_that_does_not_read_wait_within_bounds_and_all_arrive(
    server: ServerProcess, colour: str, name: str
) -> None:
    count = 50_000
    # 1 KB each, so that holding them all would show; leading zeros are no digits more for int().
    data = b"".join(frame(TEXT, b"%01000d" % number) for number in range(count))
    with Peer(server) as peer, memory_stays_within(server):
        peer.open(f"/{colour}/gated/{name}")
        wait_for_notes(server, f"{name}-begun")
        with sending(peer, data + close_frame(4000)) as sender:
            wait_until_stuck(peer)
            assert notes_of(server, name) == []
            open_gate(server, name)
            sender.join(60)
            assert peer.read_close().code == 4000

        (seen,) = wait_for_notes(server, name)
    assert seen == {"count": count, "in_order": True, "code": 4000, "reason": ""}


# Not over TLS, which reads half a megabyte ahead, so that nothing would be stuck.
@pytest.mark.parametrize("any_server", ["direct", "asyncio", "plain"], indirect=True)
def test_segment_full_of_tiny_messages_does_not_hold_up_other_clients(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer, Peer(server) as other:
        peer.open(f"/{colour}/gated/{name}")
        other.open(f"/{colour}/echo")
        wait_for_notes(server, f"{name}-begun")
        # Half a megabyte. While it is read the other one must get a hearing: the limit is far above
        # what a busy machine needs, and far below what quadratic time takes.
        other.socket.settimeout(5)
        with sending(peer, frame(TEXT, b"1") * 75_000):
            wait_until_stuck(peer)
            for number in range(20):
                other.send(frame(TEXT, b"%d" % number))
                assert other.read_frame() == Frame(TEXT, b"%d" % number)
        open_gate(server, name)


def test_small_messages_to_a_view_that_does_not_read_all_arrive(
    server: ServerProcess, colour: str, name: str
) -> None:
    count = 50_000
    data = b"".join(frame(TEXT, b"%d" % number) for number in range(count))
    with Peer(server) as peer, memory_stays_within(server):
        peer.open(f"/{colour}/gated/{name}")
        wait_for_notes(server, f"{name}-begun")
        with sending(peer, data + close_frame(4000)) as sender:
            open_gate(server, name)
            sender.join(60)
            assert peer.read_close().code == 4000

        (seen,) = wait_for_notes(server, name)
    assert seen == {"count": count, "in_order": True, "code": 4000, "reason": ""}


def test_ping_behind_what_nobody_reads_is_answered_when_reading_resumes(
    server: ServerProcess, colour: str, name: str
) -> None:
    data = b"".join(frame(TEXT, b"%01000d" % number) for number in range(10_000))
    with Peer(server) as peer:
        peer.open(f"/{colour}/gated/{name}")
        wait_for_notes(server, f"{name}-begun")
        with sending(peer, data + frame(PING, b"late") + close_frame(4000, b"bye")) as sender:
            wait_until_stuck(peer)
            open_gate(server, name)
            sender.join(60)
            assert peer.read_frame() == Frame(PONG, b"late")
            assert peer.read_close().code == 4000

    (seen,) = wait_for_notes(server, name)
    assert seen == {"count": 10_000, "in_order": True, "code": 4000, "reason": "bye"}


def test_view_that_does_not_read_finds_no_more_messages_queued_than_the_limit_and_one_read(
    direct_server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(direct_server) as peer:
        peer.open(f"/{colour}/backlog/{name}")
        wait_for_notes(direct_server, f"{name}-begun")
        with sending(peer, frame(TEXT, b"hello") * 500_000):
            wait_until_stuck(peer)
            open_gate(direct_server, name)
            (queued,) = wait_for_notes(direct_server, name)

    # WEBSOCKET_INBOX_MESSAGES is 64. What one read brought is parsed before reading pauses: 256 KiB
    # at the most, in messages of 11 bytes here.
    assert 64 <= queued <= 64 + 256 * 1024 // 11


# Not over TLS: two threads must not use a TLS socket of Python's at the same time.
@pytest.mark.parametrize("any_server", ["direct", "asyncio", "plain"], indirect=True)
def test_view_that_returns_while_reading_is_paused_closes_with_1000(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/leaving/{name}")
        wait_for_notes(server, f"{name}-begun")
        with sending(peer, frame(BINARY, b"x" * 1000) * 10_000 + close_frame(4000)) as sender:
            wait_until_stuck(peer)
            open_gate(server, name)
            assert peer.read_close().code == 1000
            sender.join(60)
            assert peer.read_end() == b""
    assert notes_of(server, name) == [True]


# A client that does not read


@pytest.mark.parametrize("senders", [1, 4])
@pytest.mark.parametrize("size", [1000, 200_000], ids=["small", "big"])
def test_flood_to_a_client_that_reads_late_stays_within_bounds_and_arrives_in_order(
    server: ServerProcess, colour: str, name: str, senders: int, size: int
) -> None:
    # 200 MB in big messages; fewer in small ones, for the client is Python, too.
    count = (200_000_000 if size > 1000 else 40_000_000) // size // senders
    arrived: dict[int, list[int]] = {sender: [] for sender in range(senders)}
    with memory_stays_within(server), Peer(server, receive_buffer=65536) as peer:
        peer.open(f"/{colour}/flood/{name}/{senders}/{count}/{size}")
        wait_until_full(peer)
        assert notes_of(server, name) == []
        for payload in peer.read_messages():
            sender, number, body = payload.split(b" ")
            assert len(body) == size
            arrived[int(sender)].append(int(number))

    assert all(numbers == list(range(count)) for numbers in arrived.values())
    assert notes_of(server, name) == ["sent all"] * senders


@pytest.mark.parametrize("senders", [1, 4])
def test_flood_to_a_client_that_never_reads_stays_within_bounds_until_that_one_leaves(
    server: ServerProcess, colour: str, name: str, senders: int
) -> None:
    with memory_stays_within(server):
        peer = Peer(server, receive_buffer=4096)
        peer.open(f"/{colour}/flood/{name}/{senders}/{1000 // senders}/200000")
        wait_until_full(peer)
        assert notes_of(server, name) == []
        peer.leave()
        assert wait_for_notes(server, name, senders) == ["ConnectionClosed 1006"] * senders


def test_echo_to_a_client_that_sends_and_never_reads_stays_within_bounds(
    server: ServerProcess, colour: str
) -> None:
    with memory_stays_within(server), Peer(server, receive_buffer=4096) as peer:
        peer.open(f"/{colour}/echo")
        with sending(peer, frame(BINARY, b"x" * 10_000) * 20_000):
            wait_until_stuck(peer)


def test_pings_of_a_client_that_never_reads_the_pongs_stay_within_bounds(
    database: Path, colour: str, name: str
) -> None:
    # On a server of its own, lest the others begin with the memory that it took.
    with (
        serve_project(database) as server,
        memory_stays_within(server),
        Peer(server, receive_buffer=4096) as peer,
    ):
        peer.open(f"/{colour}/watch/{name}")
        pings = frame(PING, b"x" * 125) * 1000
        with contextlib.suppress(TimeoutError):  # a server that stops reading is right, too
            peer.socket.settimeout(2)
            for _ in range(1000):
                peer.send(pings)


def test_slow_client_does_not_slow_the_others(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server, receive_buffer=4096) as slow, Peer(server) as other:
        slow.open(f"/{colour}/flood/{name}/1/1000/200000")
        wait_until_full(slow)
        other.open(f"/{colour}/echo")
        for number in range(100):
            other.send(frame(TEXT, b"%d" % number))
            assert other.read_frame() == Frame(TEXT, b"%d" % number)
        slow.leave()
        assert wait_for_notes(server, name) == ["ConnectionClosed 1006"]


def test_several_floods_at_once_share_the_bounds(server: ServerProcess, name: str) -> None:
    with memory_stays_within(server, 60.0):
        peers = []
        for number in range(12):
            peer = Peer(server, receive_buffer=4096)
            colour = ("sync", "async")[number % 2]
            peer.open(f"/{colour}/flood/{name}/1/1000/100000")
            peers.append(peer)
        wait_until_full(*peers)
        assert notes_of(server, name) == []
        for peer in peers:
            peer.leave(abruptly=True)
        ends = wait_for_notes(server, name, len(peers))
    assert Counter(ends) == {"ConnectionClosed 1006": len(peers)}
