"""From any thread to one event loop, with one wake-up for each burst of calls.

The blocking facade sends and closes through a bridge. It carries calls in order and knows nothing
of what they do.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("adwebsocket")


class LoopBridge:
    """Carry calls from threads to ``loop``, in the order in which they were made.

    ``call_soon_threadsafe`` writes to a pipe each time; a thousand sends between two iterations of
    the loop need that once. A call that comes while the loop drains the queue sees ``_scheduled``
    False and schedules again, so none is left behind.
    """

    __slots__ = ("__weakref__", "_calls", "_loop", "_scheduled", "thread_id")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weak, or the dictionary of bridges would keep each loop by the bridge it gives.
        self._loop = ref(loop)
        self._calls: deque[Callable[[], object]] = deque()
        self._scheduled = False
        self.thread_id = threading.get_ident()

    def call(self, function: Callable[[], object]) -> None:
        """Let the loop call ``function`` soon. From any thread.

        When the loop is closed there is no connection left to act on, and nothing happens.
        """
        self._calls.append(function)
        if not self._scheduled:
            self._scheduled = True
            loop = self._loop()
            try:
                if loop is not None:
                    loop.call_soon_threadsafe(self._drain)
                    return
            except RuntimeError:
                if loop is not None and not loop.is_closed():
                    raise
            self._calls.clear()
            self._scheduled = False

    def _drain(self) -> None:
        self._scheduled = False
        calls = self._calls
        for _ in range(len(calls)):
            try:
                calls.popleft()()
            except Exception:
                # One connection's failure must not take the calls of the others with it.
                logger.exception("a call from a thread failed on the event loop")


_bridges: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopBridge] = WeakKeyDictionary()


def get_bridge() -> LoopBridge:
    """Give the bridge to the running loop, one for all its connections. On the loop only."""
    loop = asyncio.get_running_loop()
    try:
        return _bridges[loop]
    except KeyError:
        return _bridges.setdefault(loop, LoopBridge(loop))
