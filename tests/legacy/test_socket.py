"""The socket object: closing it, keeping it, looking below it; and the names it is imported by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import wait_for_notes
from tests.hostile.wire import TEXT, Closing, Frame, Peer, close_frame, frame
from tests.legacy.serving import PROJECT, ask, serve_legacy
from tests.processes import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.legacy.serving import Database
    from tests.processes import ServerProcess


@pytest.fixture(scope="module")
def middleware_server(host: str, database: Database) -> Iterator[ServerProcess]:
    """The project with the settings of those who followed the documentation to the letter."""
    with serve_legacy(host, database, LEGACY_MIDDLEWARE="yes") as server:
        yield server


def test_13_after_the_own_close_everything_is_none(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/closed_by_itself/{name}")
        peer.send(frame(TEXT, b"begin"))
        assert peer.read_frame() == Frame(TEXT, b"before")
        assert peer.read_close() == Closing(1000, "")
        peer.send(close_frame())
        assert peer.read_end() == b""

    assert wait_for_notes(server, name, 8) == [
        *("None", "None"),
        "closed True",
        "is_closed True",
        *("wait None", "wait None"),
        "iteration [None]",
        "send None",
    ]


def test_13_polls_after_the_own_close_find_nothing(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/polls_when_closed_by_itself/{name}")
        peer.send(frame(TEXT, b"begin") + frame(TEXT, b"unread"))
        assert peer.read_close() == Closing(1000, "")

        assert wait_for_notes(server, name, 4) == [
            *("read None", "read None"),
            "has_messages False",
            "count_messages 0",
        ]


def test_16_socket_is_an_object_with_an_identity(server: ServerProcess, name: str) -> None:
    with Peer(server) as one, Peer(server) as other:
        for number, peer in enumerate((one, other)):
            peer.open(f"/identity/{name}")
            seen = wait_for_notes(server, name, number + 1)[number]
            assert seen == {
                "is a WebSocket": True,
                "true": True,
                "equals itself": True,
                "equals another": seen["equals another"],
                "in a set": True,
                "stable str": True,
                "unique str": True,
                "attribute": "me",
                "has len": False,
            }
        assert seen["equals another"] is False


def test_17_every_name_can_be_imported(server: ServerProcess) -> None:
    assert ask(server, "/names") == {
        "__all__": ["accept_websocket", "require_websocket"],
        "same decorator": True,
        "classes": [
            *("WebSocket", "WebSocketMiddleware"),
            *("WebSocketFactory", "WebSocketFactory"),
        ],
        "subclass": True,
    }


def test_17_factory_for_uwsgi_may_be_named_in_the_settings(
    middleware_server: ServerProcess,
) -> None:
    with Peer(middleware_server) as peer:
        peer.open("/echo")
        peer.send(frame(TEXT, b"hello"))
        assert peer.read_frame() == Frame(TEXT, b"hello")


def test_18_no_setting_is_read_at_import() -> None:
    program = (
        "import adwebsocket.asgi\n"
        "import dwebsocket, dwebsocket.decorators, dwebsocket.middleware, dwebsocket.websocket\n"
        "import dwebsocket.factory, dwebsocket.backends.default.factory\n"
        "from django.conf import settings\n"
        "assert not settings.configured\n"
    )
    done = run(["-c", program], cwd=PROJECT)
    assert done.returncode == 0, done.stdout


def test_18_middleware_and_decorator_shake_hands_once(
    middleware_server: ServerProcess, name: str
) -> None:
    with Peer(middleware_server) as peer:
        peer.open(f"/both/{name}")
        # Behind a second 101 this would be no frame.
        assert peer.read_frame() == Frame(TEXT, b"socket")
        peer.send(close_frame())
        assert peer.read_close() == Closing(1000, "")
        assert peer.read_end() == b""
    assert middleware_server.get("/required").status == 400


def test_20_socket_can_be_selected(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/selects/{name}")
        assert peer.read_frame() == Frame(TEXT, b"ready")
        peer.send(frame(TEXT, b"one") + frame(TEXT, b"two"))
        wait_for_notes(server, name, 3)
        peer.send(close_frame())
        assert peer.read_close() == Closing(1000, "")
        noted = wait_for_notes(server, name, 4)

    assert noted == [[0, 0, 0], "b'one'", "b'two'", "None"]


def test_20_number_of_the_descriptor_can_be_kept(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/selects_by_number/{name}")
        assert peer.read_frame() == Frame(TEXT, b"ready")
        for message in (b"one", b"two", b"three"):
            peer.send(frame(TEXT, message))
            assert peer.read_frame() == Frame(TEXT, b"more")
        peer.send(close_frame())
        assert peer.read_close() == Closing(1000, "")
        noted = wait_for_notes(server, name, 4)

    assert noted == ["b'one'", "b'two'", "b'three'", "None"]


def test_20_protocol_can_be_closed(server: ServerProcess, name: str) -> None:
    with Peer(server) as peer:
        peer.open(f"/protocol_closes/{name}")
        assert peer.read_close() == Closing(1000, "")
        assert wait_for_notes(server, name, 2) == [False, True]
