"""Asking all server processes of the project on this machine, this one included.

Views and the management command call it. A process that hangs takes nobody's time but the
deadline's, which is one for all.
"""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from ..neighbours import find_neighbours
from .control import KIND

if TYPE_CHECKING:
    from ..neighbours import Neighbour

# Seconds in which the answers must be there.
_PATIENCE: Final = 2.0
_LONGEST_ANSWER: Final = 4 * 1024 * 1024


def ask_all(question: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask every server process of the project on this machine.

    Arguments:
        question: what ``control.answer`` knows.

    Returns:
        An answer for each process, in the order of their numbers: with ``pid`` in each, and
        ``error`` where there is no other.

    Raises:
        ImproperlyConfigured, OSError: see ``runtime_directory``.
    """
    deadline = time.monotonic() + _PATIENCE
    asked = [(neighbour, _send(neighbour, question)) for neighbour in find_neighbours(KIND)]
    return [_receive(neighbour.pid, client, deadline) for neighbour, client in asked]


def _send(neighbour: Neighbour, question: dict[str, Any]) -> socket.socket | None:
    client = socket.socket(socket.AF_UNIX)
    try:
        client.setblocking(False)
        client.connect(str(neighbour.path))
        client.send(json.dumps(question).encode() + b"\n")
    except OSError:
        client.close()
        return None
    return client


def _receive(pid: int, client: socket.socket | None, deadline: float) -> dict[str, Any]:
    if client is None:
        return {"pid": pid, "error": "not answering"}
    answer = bytearray()
    with client:
        try:
            while not answer.endswith(b"\n") and len(answer) < _LONGEST_ANSWER:
                client.settimeout(max(deadline - time.monotonic(), 0.001))
                piece = client.recv(65536)
                if not piece:
                    break
                answer += piece
            return {"pid": pid, **json.loads(answer)}
        except OSError:
            return {"pid": pid, "error": "not answering"}
        except (ValueError, TypeError):
            return {"pid": pid, "error": "answering in another language"}
