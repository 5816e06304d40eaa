"""How a server ends: its sockets are closed bit by bit, and what hangs is named, never waited for.

The servers of the runner and of ``manage.py runserver`` are made of this. It knows connections by
what uvicorn's servers do with them, and nothing of what is behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import threading
from math import ceil
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from uvicorn.server import Server

from .runners.base import count_running
from .transport.uvicorn_protocol import WebSocketProtocol
from .whereabouts import log_running_views

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection

# Seconds that what was cancelled has to end, and then the interpreter.
STRAGGLER_SECONDS = 1.0
# uvicorn lets connections begin to close for so long before it counts the graceful timeout.
_UVICORN_PAUSE: Final = 0.1
# Before uvicorn cancels what runs, and nobody can see any more where that stands.
_ADVANCE: Final = 0.05
_STEP: Final = 0.02
# Each takes some 80 us, with the end of its view, so that the loop sees to others in between.
_MOST_AT_ONCE: Final = 50


class NamingServer(Server):
    """uvicorn's server, which names the views that its graceful timeout has not seen end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        patience = self.config.timeout_graceful_shutdown
        naming = None
        if patience is not None:
            seconds = max(_UVICORN_PAUSE + patience - _ADVANCE, 0.0)
            naming = loop.call_later(seconds, log_running_views, loop)
        try:
            await super().shutdown(sockets)
        finally:
            if naming is not None:
                naming.cancel()


async def close_connections(
    connections: Collection[Any], seconds: float, is_in_hurry: Callable[[], bool]
) -> None:
    """Close the WebSockets among uvicorn's connections bit by bit, and all others at once.

    In no order, so that the clients of one room, one office or one proxy do not come back together.
    What is left is uvicorn's to close: the last of them, and all where somebody is in a hurry.

    Arguments:
        connections: uvicorn's, which it changes meanwhile.
        seconds: over how long to spread it, 0 for not at all.
        is_in_hurry: asked at each step; True ends it.
    """
    sockets = []
    for connection in list(connections):
        if isinstance(connection, WebSocketProtocol) and connection.accepted:
            sockets.append(connection)
        else:
            connection.shutdown()
    random.shuffle(sockets)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    count, closed = len(sockets), 0
    while closed < count and connections and not is_in_hurry():
        share = (loop.time() - begun + _STEP) / seconds if seconds else 1.0
        due = ceil(count * min(share, 1.0))
        for connection in sockets[closed : min(due, closed + _MOST_AT_ONCE)]:
            connection.shutdown()
        closed = min(due, closed + _MOST_AT_ONCE)
        if closed < count:
            await asyncio.sleep(_STEP if closed == due else 0)


async def await_end(tasks: Collection[Any]) -> None:
    """Give what has been cancelled a moment: tasks, and views in greenlets by their own means."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + STRAGGLER_SECONDS
    while (tasks or count_running()) and loop.time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_STEP)


class Deadline:
    """A time at which a function is called in a thread of its own, unless the process has ended.

    Nothing happens where the system gives no more threads: the way out must be open without it.

    Arguments:
        seconds: from now.
        function: what to call, with these arguments.
    """

    def __init__(self, seconds: float, function: Callable[..., object], *arguments: Any) -> None:
        self._function = function
        self._arguments = arguments
        self._at = monotonic() + seconds
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._wait, name="deadline", daemon=True).start()

    def extend(self, seconds: float) -> None:
        """Let it be that many seconds from now at least. From any thread."""
        self._at = max(self._at, monotonic() + seconds)

    def _wait(self) -> None:
        while (seconds := self._at - monotonic()) > 0:
            sleep(seconds)
        self._function(*self._arguments)


def exit_within(seconds: float, code: int = 0) -> None:
    """End the process after this time, unless it has ended by itself.

    Called when the process is on its way out and its threads have had their chance: the interpreter
    joins threads of executors without a limit.
    """
    Deadline(seconds, end_process, code)


def end_process(code: int) -> None:
    """End the process now, whatever its threads do."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
