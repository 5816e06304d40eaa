"""The socket at which a server process answers questions about itself.

The ASGI application opens it when the server starts, or with the first WebSocket, and closes it
when the server stops. A thread of its own answers, so that a process can say that its event loop
is stuck, and where.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import socket
import threading
import time
from typing import Any, Final

from django.core import mail
from django.core.exceptions import ImproperlyConfigured

from ..conf import get_settings
from ..neighbours import listen
from .standing import standing_views
from .statistics import stats

logger = logging.getLogger("adwebsocket")

KIND: Final = "status"
MOST_VIEWS: Final = 1000
_LONGEST_QUESTION: Final = 4096
# Seconds that a client has to ask and to take the answer.
_PATIENCE: Final = 2.0


def answer(question: Any) -> dict[str, Any]:
    """Answer one question: ``{"ask": "stats"}`` or ``{"ask": "views", "most": 50}``."""
    match question:
        case {"ask": "stats"}:
            return stats()
        case {"ask": "views", "most": int(most)}:
            return {"pid": os.getpid(), **standing_views(max(0, min(most, MOST_VIEWS)))}
    return {"pid": os.getpid(), "error": "asked for neither stats nor views"}


class StatusServer(threading.Thread):
    """Answer at this process's socket, one client after the other.

    Each sends a line of JSON and gets one.

    Raises:
        ImproperlyConfigured, OSError: see ``listen``.
        RuntimeError: the system gives no thread.
    """

    def __init__(self) -> None:
        super().__init__(name="websocket-status", daemon=True)
        self.pid = os.getpid()
        self._is_over = False
        self._listening, self.path = listen(KIND)
        try:
            self.start()
        except RuntimeError:
            self._listening.close()
            self.path.unlink(missing_ok=True)
            raise

    def stop(self) -> None:
        """Let nobody find the socket any more, and end the thread. From any thread."""
        self._is_over = True
        with socket.socket(socket.AF_UNIX) as bell, contextlib.suppress(OSError):
            # With a full queue it needs no waking.
            bell.setblocking(False)
            bell.connect(str(self.path))
        with contextlib.suppress(OSError):
            self.path.unlink()
        self.join(_PATIENCE)

    def run(self) -> None:
        """Serve until ``stop``."""
        with self._listening:
            while not self._is_over:
                try:
                    client, _ = self._listening.accept()
                except OSError:
                    # No descriptor is left, and one will not be for a while.
                    time.sleep(_PATIENCE / 2)
                    continue
                with client:
                    try:
                        self._serve(client)
                    except OSError as error:
                        logger.debug("somebody asked for the status and went away: %s", error)
                    except Exception:
                        logger.exception("the status of this process cannot be told")

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(_PATIENCE)
        with client.makefile("rb") as lines:
            line = lines.readline(_LONGEST_QUESTION)
        if not line:
            return  # only looked whether anybody is there
        try:
            question = json.loads(line)
        except (ValueError, RecursionError):
            question = None
        client.sendall(json.dumps(answer(question), default=str).encode() + b"\n")


_server: StatusServer | None = None
# The process that has tried to open a socket: a child of it has not.
_opened_by: int | None = None
_lock: Final = threading.Lock()


def open_socket() -> None:
    """Answer questions from now on, if the settings and the system allow it. Once is enough."""
    global _server, _opened_by
    if _opened_by == os.getpid():
        return
    with _lock:
        _opened_by = os.getpid()
        if not is_wanted():
            return
        try:
            _server = StatusServer()
        except (ImproperlyConfigured, OSError, RuntimeError) as error:
            logger.warning(
                "This process cannot answer 'manage.py websocket_status': %s "
                "(WEBSOCKET_RUNTIME_DIR says where, WEBSOCKET_STATUS_SOCKET = False does without)",
                error,
            )


def is_wanted() -> bool:
    """Tell whether somebody may ask: the system has such sockets, and no test is running."""
    # Django's test runner sets the outbox; its documentation tells tests to look there.
    return (
        hasattr(socket, "AF_UNIX")
        and hasattr(os, "geteuid")
        and get_settings().status_socket
        and not hasattr(mail, "outbox")
    )


@atexit.register
def close_socket() -> None:
    """Stop answering, and leave nothing behind."""
    global _server, _opened_by
    with _lock:
        server, _server, _opened_by = _server, None, None
    if server is not None and server.pid == os.getpid():
        server.stop()
