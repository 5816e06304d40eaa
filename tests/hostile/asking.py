"""What the tests of this folder ask the server under test, beside what they do to it.

The questions go to the pages of ``project.py`` as plain HTTP, to ``/proc``, and to what the server
has written. Nothing in here touches the WebSocket under attack.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.hostile.wire import TEXT, Frame, Peer, close_frame, frame
from tests.processes import DEADLINE, ServerProcess, run, serve, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.certificates import Certificate

ROOT = Path(__file__).parents[2]
# Seconds that the server gives a peer to answer a close frame.
CLOSE_TIMEOUT = 1
# What one connection may cost at the most, with all that the process allocates on the way. The
# floods of the tests are several times as big.
BOUND = 40.0


def make_database(directory: Path) -> Path:
    """Make the project's database in a process of its own, since Django can be set up but once."""
    database = directory / "db.sqlite3"
    done = run(
        ["-c", "from tests.hostile.project.database import prepare; prepare()"],
        cwd=ROOT,
        env={"PROJECT_DATABASE": str(database)},
    )
    assert done.returncode == 0, done.stdout
    return database


def serve_project(
    database: Path,
    *options: str,
    application: str = "application",
    certificate: Certificate | None = None,
    **env: str,
) -> AbstractContextManager[ServerProcess]:
    """Serve the project with our protocol class, over TLS where there is a certificate.

    The options are uvicorn's, the other keywords go into the environment.
    """
    if certificate is not None:
        options += (*certificate.options,)
    command = ["-m", "uvicorn", f"tests.hostile.project:{application}"]
    command += ["--ws", "adwebsocket:WebSocketProtocol", "--port", "{port}", "--no-access-log"]
    return serve(
        [*command, *options],
        cwd=ROOT,
        tls=certificate and certificate.trust,
        env={
            "PROJECT_DATABASE": str(database),
            "PROJECT_CLOSE_TIMEOUT": str(CLOSE_TIMEOUT),
            **env,
        },
    )


def notes_of(server: ServerProcess, name: str) -> list[Any]:
    """Return what the views have noted under a name."""
    noted: list[Any] = json.loads(server.get(f"/notes/{name}").text)
    return noted


def wait_for_notes(
    server: ServerProcess, name: str, count: int = 1, seconds: float = DEADLINE
) -> list[Any]:
    """Wait until so many notes are there, and return them all."""

    def enough() -> list[Any] | None:
        noted = notes_of(server, name)
        return noted if len(noted) >= count else None

    return wait_until(enough, f"{count} notes on {name!r}", seconds) or []


def open_gate(server: ServerProcess, name: str) -> None:
    """Let the views go on that wait at a gate."""
    assert server.get(f"/open/{name}").status == 200


def census_of(server: ServerProcess) -> dict[str, int]:
    """Return how many threads, tasks, descriptors and objects the server has."""
    census: dict[str, int] = json.loads(server.get("/census").text)
    return census


def settled_census(server: ServerProcess) -> dict[str, int]:
    """Take a census when no connection is left of what came before."""

    def census() -> dict[str, int] | None:
        taken = census_of(server)
        return None if taken["WebSocketProtocol"] or taken["WebSocketRequest"] else taken

    taken = wait_until(census, "the connections of before to be let go of")
    assert taken is not None
    return taken


def megabytes_of(server: ServerProcess) -> float:
    """Return the memory of the server that is resident."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def settled_megabytes_of(server: ServerProcess) -> float:
    """Return the server's memory when its notes are forgotten and it gave back all it can."""
    return float(server.get("/memory").text)


@contextlib.contextmanager
def memory_stays_within(server: ServerProcess, bound: float = BOUND) -> Iterator[None]:
    """Watch the server's memory for the length of a block, and compare its peak."""
    assert_serving(server)  # so that what is made once has been made
    before = megabytes_of(server)
    peak = before
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.02):
            peak = max(peak, megabytes_of(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert peak - before < bound, f"{before:.0f} MB became {peak:.0f} MB"


@contextlib.contextmanager
def sending(peer: Peer, data: bytes) -> Iterator[threading.Thread]:
    """Send in a second thread, for the server will not take it all at once."""

    def send() -> None:
        with contextlib.suppress(OSError):
            peer.send(data)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield thread
    finally:
        with contextlib.suppress(OSError):
            peer.socket.shutdown(socket.SHUT_RDWR)
        thread.join()


def wait_until_steady(values: Callable[[], list[int]], what: str) -> None:
    """Wait until numbers are not 0 and have not changed for a while: nothing moves any more."""
    seen: list[list[int]] = []

    def is_steady() -> bool:
        seen.append(values())
        recent = seen[-25:]
        return len(recent) == 25 and all(recent[-1]) and all(each == recent[0] for each in recent)

    wait_until(is_steady, what)


def wait_until_stuck(peer: Peer) -> None:
    """Wait until the server takes no more of what a peer sends."""
    wait_until_steady(lambda: [peer.unsent()], "the server to stop reading")


def wait_until_full(*peers: Peer) -> None:
    """Wait until nothing more comes to peers that do not read."""
    wait_until_steady(lambda: [peer.unread() for peer in peers], "the server to stop sending")


def wait_until_forgotten(server: ServerProcess) -> None:
    """Wait until the server holds nothing of any connection, which no other test may have open."""
    kinds = ("WebSocketProtocol", "WebSocketRequest", "WebSocket", "AsyncWebSocket")
    wait_until(
        lambda: not any(census_of(server)[kind] for kind in kinds), "connections to be let go of"
    )


def assert_serving(server: ServerProcess, *colours: str) -> None:
    """Expect that the server still serves others."""
    for colour in colours or ("sync", "async"):
        with Peer(server) as peer:
            peer.open(f"/{colour}/echo")
            peer.send(frame(TEXT, b"still there?"))
            assert peer.read_frame() == Frame(TEXT, b"still there?")
            peer.send(close_frame())
            assert peer.read_close().code == 1000


def assert_quiet(output: str) -> None:
    """Expect that nothing was logged as an error."""
    for trouble in ("ERROR", "CRITICAL", "Traceback", "exception", "Exception"):
        assert trouble not in output, output
