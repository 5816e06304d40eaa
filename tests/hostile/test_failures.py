"""Views that fail or make mistakes: the client learns a code, the log tells it once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import (
    assert_quiet,
    assert_serving,
    notes_of,
    open_gate,
    serve_project,
    wait_for_notes,
)
from tests.hostile.wire import BINARY, TEXT, Closing, Frame, Peer, close_frame, frame, handshake
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.processes import ServerProcess


@pytest.fixture(params=["application", "plain_application"], ids=["direct", "plain"])
def fresh_server(request: pytest.FixtureRequest, database: Path) -> Iterator[ServerProcess]:
    """A server for one test, whose whole output and signals are that test's."""
    with serve_project(database, application=request.param) as server:
        yield server


def settled_output(server: ServerProcess) -> str:
    """Return the output when the connections are over, which is when all has been logged."""
    wait_until(
        lambda: [kind for kind, _ in notes_of(server, "signals")].count("finished") > 0,
        "the end of the request",
    )
    return server.output()


def test_view_that_raises_closes_with_1011_and_is_logged_once_with_its_traceback(
    fresh_server: ServerProcess, colour: str
) -> None:
    with Peer(fresh_server) as peer:
        peer.open(f"/{colour}/failing/value")
        peer.send(frame(TEXT, b"go"))
        assert peer.read_close().code == 1011
        peer.send(close_frame(1011))
        assert peer.read_end() == b""

    output = settled_output(fresh_server)
    assert output.count("ERROR") == 1
    assert output.count("Traceback (most recent call last)") == 1
    assert output.count("ValueError: deliberate failure") == 1
    kinds = [kind for kind, _ in notes_of(fresh_server, "signals")]
    assert kinds == ["started", "exception", "finished"]
    assert_serving(fresh_server)


@pytest.mark.parametrize("kind", ["denied", "missing"])
def test_exception_that_would_be_a_refusal_closes_with_1008_once_accepted(
    fresh_server: ServerProcess, colour: str, kind: str
) -> None:
    with Peer(fresh_server) as peer:
        peer.open(f"/{colour}/failing/{kind}")
        peer.send(frame(TEXT, b"go"))
        assert peer.read_close().code == 1008
        peer.send(close_frame(1008))

    # Django itself notes a refusal, as a warning.
    assert "ERROR" not in settled_output(fresh_server)
    assert_serving(fresh_server)


def test_blocking_view_that_calls_sys_exit_ends_alone(fresh_server: ServerProcess) -> None:
    with Peer(fresh_server) as peer:
        peer.open("/sync/failing/exit")
        peer.send(frame(TEXT, b"go"))
        assert peer.read_close().code in (1011, 1012)

    assert_serving(fresh_server)
    assert fresh_server.process.poll() is None


def test_disconnect_is_no_error_to_a_view_that_lets_the_exception_out(
    fresh_server: ServerProcess, colour: str, name: str
) -> None:
    for way in ("close frame", "in order", "abruptly"):
        with Peer(fresh_server) as peer:
            peer.open(f"/{colour}/sender/{name}")
            peer.read_frame()
            if way == "close frame":
                peer.send(close_frame(1001))
                assert peer.read_close().code == 1001
            peer.leave(abruptly=way == "abruptly")
    assert wait_for_notes(fresh_server, name, 3) == ["ConnectionClosed"] * 3

    assert_quiet(settled_output(fresh_server))
    assert notes_of(fresh_server, "signals").count("exception") == 0


def test_view_that_returns_while_messages_are_queued_closes_with_1000(
    server: ServerProcess, colour: str, name: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/leaving/{name}")
        wait_for_notes(server, f"{name}-begun")
        peer.send(frame(TEXT, b"unread") * 30)
        open_gate(server, name)
        assert peer.read_close() == Closing(1000, "")
        peer.send(frame(TEXT, b"on its way") * 30 + close_frame(1000))
        assert peer.read_end() == b""


MISTAKES = {
    "send a number": ("TypeError", ("str", "bytes", "int")),
    "send a list": ("TypeError", ("str", "bytes", "list")),
    "send nothing": ("TypeError", ("str", "bytes", "NoneType")),
    "send a surrogate": ("UnicodeEncodeError", ("surrogates",)),
    "close with 1005": ("ValueError", ("1005", "1000", "4999")),
    "close with 999": ("ValueError", ("999", "1000", "4999")),
    "close with 5000": ("ValueError", ("5000", "1000", "4999")),
    "close with text": ("TypeError", ("int", "str")),
    "close with a long reason": ("ValueError", ("123",)),
    "accept again": ("RuntimeError", ("already",)),
}


@pytest.mark.parametrize(
    ("mistake", "error", "words"),
    [(mistake, *expected) for mistake, expected in MISTAKES.items()],
    ids=MISTAKES.keys(),
)
def test_mistake_raises_what_teaches_and_the_connection_goes_on(
    server: ServerProcess, colour: str, mistake: str, error: str, words: tuple[str, ...]
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/mistaken")
        peer.send(frame(TEXT, mistake.encode()))
        answer = peer.read_frame().payload.decode()
        assert answer.startswith(f"{error}: ")
        assert all(word in answer for word in words), answer

        peer.send(frame(TEXT, mistake.encode()) + close_frame(4000))
        assert peer.read_close().code == 4000


@pytest.mark.parametrize("how", ["refuse", "headers", "subprotocol"])
def test_answer_to_the_handshake_that_cannot_be_written_becomes_a_500(
    fresh_server: ServerProcess, colour: str, how: str
) -> None:
    with Peer(fresh_server) as peer:
        peer.send(handshake(f"/{colour}/manual/{how}", fresh_server.port))
        assert peer.read_head().startswith("HTTP/1.1 500 ")
        peer.read_end()
    assert_serving(fresh_server)


def test_manual_view_that_answers_well_is_open(server: ServerProcess, colour: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/manual/well")
        peer.send(frame(BINARY, b"hello"))
        assert peer.read_frame() == Frame(BINARY, b"hello")


def test_rows_are_read_a_few_at_a_time_in_one_call_of_an_async_view(server: ServerProcess) -> None:
    with Peer(server) as peer:
        peer.open("/async/chunks")
        names = ",".join(f"user{number}" for number in range(7))
        assert peer.read_frame() == Frame(TEXT, names.encode())
