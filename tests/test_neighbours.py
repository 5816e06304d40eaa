"""Finding the project's processes on this machine: those that listen, and no other."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from django.test import override_settings

from adwebsocket.neighbours import Neighbour, find_neighbours, listen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    with override_settings(WEBSOCKET_RUNTIME_DIR=str(tmp_path)):
        yield tmp_path


def leave_behind(path: Path) -> None:
    """Make the socket of a process that was killed."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


def test_who_listens_is_found_by_kind(directory: Path) -> None:
    listening, path = listen("status")
    with listening:
        assert path.name == f"{os.getpid()}.status"
        assert find_neighbours("status") == [Neighbour(os.getpid(), path)]
        assert find_neighbours("groups") == []
    assert list(directory.iterdir()) == [path]


def test_what_killed_processes_left_is_removed(directory: Path) -> None:
    for name in ("1.status", "2.groups", "notes.status", "3.txt"):
        leave_behind(directory / name)
    assert find_neighbours("status") == []
    assert {path.name for path in directory.iterdir()} == {"2.groups", "notes.status", "3.txt"}


def test_socket_left_by_a_process_of_the_same_number_is_replaced(directory: Path) -> None:
    leave_behind(directory / f"{os.getpid()}.status")
    leave_behind(directory / f"{os.getpid()}.status-")
    listening, path = listen("status")
    with listening:
        assert find_neighbours("status") == [Neighbour(os.getpid(), path)]


def test_socket_of_somebody_who_listens_is_not_taken_away(directory: Path) -> None:
    listening, path = listen("status")
    with listening, pytest.raises(OSError, match="somebody listens at"):
        listen("status")
    assert path.is_socket()


def test_process_whose_queue_is_full_is_there(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hung, socket.socket(socket.AF_UNIX) as client:
        hung.bind(str(directory / "7.status"))
        hung.listen(0)
        client.connect(str(directory / "7.status"))
        for _ in range(3):
            assert find_neighbours("status") == [Neighbour(7, directory / "7.status")]
