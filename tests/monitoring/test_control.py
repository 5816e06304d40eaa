"""The socket at which a process answers: to whom, for how long, and what is left behind it."""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.core import mail
from django.test import override_settings

from adwebsocket.asgi import ASGIApplication
from adwebsocket.monitoring import control
from adwebsocket.monitoring.asking import ask_all
from tests.connections import Conversation, WebSocketConversation, on_event_loop
from tests.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

STATS = {"ask": "stats"}
urlpatterns: list[object] = []


def status_threads() -> int:
    return sum(thread.name == "websocket-status" for thread in threading.enumerate())


def suffixes(directory: Path) -> list[str]:
    return [path.suffix for path in directory.iterdir()]


def speak(path: Path, question: bytes) -> Any:
    """Send bytes to a socket, and return what it answers."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        with client.makefile() as answer:
            text = answer.read()
    return json.loads(text) if text else None


class TestSocket:
    def test_answers_while_it_is_open_and_leaves_nothing(self, directory: Path) -> None:
        control.open_socket()
        control.open_socket()
        (answer,) = ask_all(STATS)
        assert answer["pid"] == os.getpid()
        assert answer["threads"]
        assert status_threads() == 1
        control.close_socket()
        assert ask_all(STATS) == []
        assert list(directory.iterdir()) == []
        assert status_threads() == 0

    @on_event_loop
    async def test_is_open_from_start_to_stop_of_the_server(self, directory: Path) -> None:
        server = Conversation(ASGIApplication(), {"type": "lifespan"})
        server.farewell = {"type": "lifespan.shutdown"}
        async with server:
            server.put({"type": "lifespan.startup"})
            await server.next_event()
            assert suffixes(directory) == [".status"]
            server.put({"type": "lifespan.shutdown"})
            await server.next_event()
            assert suffixes(directory) == []

    @on_event_loop
    async def test_is_open_from_the_first_websocket_where_no_start_is_told(
        self, directory: Path
    ) -> None:
        with override_settings(ROOT_URLCONF=__name__):
            async with WebSocketConversation(ASGIApplication(), "/nowhere/") as client:
                await client.refused()
        assert suffixes(directory) == [".status"]

    @pytest.mark.parametrize("reason", ["setting", "tests"])
    def test_is_not_opened_where_nobody_wants_it(
        self, directory: Path, reason: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if reason == "tests":
            monkeypatch.setattr(mail, "outbox", [], raising=False)
        with override_settings(WEBSOCKET_STATUS_SOCKET=reason != "setting"):
            control.open_socket()
        assert list(directory.iterdir()) == []

    def test_directory_that_cannot_be_used_is_reported_once(
        self, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        directory.chmod(0o777)
        with caplog.at_level(logging.WARNING, logger="adwebsocket"):
            control.open_socket()
            control.open_socket()
        (record,) = caplog.records
        assert "cannot answer 'manage.py websocket_status'" in record.getMessage()
        assert str(directory) in record.getMessage()

    def test_path_that_is_too_long_is_reported(
        self, directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with override_settings(WEBSOCKET_RUNTIME_DIR=str(directory / ("x" * 100))):
            control.open_socket()
        assert "too long" in caplog.text


class TestAnswers:
    @pytest.mark.parametrize(
        "question",
        [
            b"{}\n",
            b"nonsense\n",
            b'{"ask": "secrets"}\n',
            b'{"ask": "views", "most": "all"}\n',
            b"[" * 4000,
            b"x" * 4096,
            b"\xff\n",
        ],
    )
    def test_other_questions_are_an_error_and_no_harm(
        self, directory: Path, question: bytes
    ) -> None:
        control.open_socket()
        path = directory / f"{os.getpid()}.status"
        assert "neither stats nor views" in speak(path, question)["error"]
        assert ask_all(STATS)[0]["pid"] == os.getpid()

    def test_who_says_nothing_gets_nothing(self, directory: Path) -> None:
        control.open_socket()
        assert speak(directory / f"{os.getpid()}.status", b"") is None
        assert ask_all(STATS)[0]["pid"] == os.getpid()

    @pytest.mark.usefixtures("impatient")
    def test_client_that_hangs_keeps_others_for_a_moment_only(self, directory: Path) -> None:
        control.open_socket()
        with socket.socket(socket.AF_UNIX) as hanging:
            hanging.connect(str(directory / f"{os.getpid()}.status"))
            hanging.send(b'{"ask"')
            wait_until(lambda: "error" not in ask_all(STATS)[0], "an answer")

    @pytest.mark.usefixtures("impatient")
    def test_process_that_hangs_is_named(self, directory: Path) -> None:
        control.open_socket()
        with socket.socket(socket.AF_UNIX) as hung:
            hung.bind(str(directory / "1.status"))
            hung.listen()
            silent, answering = ask_all(STATS)
        assert silent == {"pid": 1, "error": "not answering"}
        assert answering["pid"] == os.getpid()

    def test_number_of_views_is_bounded(self, directory: Path) -> None:
        assert control.answer({"ask": "views", "most": 10**9}) == {
            "pid": os.getpid(),
            "total": 0,
            "views": [],
        }
        assert control.answer({"ask": "views", "most": -1})["views"] == []
