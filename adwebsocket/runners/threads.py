"""The default runner: one thread for each sync connection, for as long as it lasts.

Any blocking code is right in it: thread-locals, locks and database connections are the view's
own. A pool of fixed size would be wrong, since views last as long as their sockets.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from typing import TYPE_CHECKING, Any

from ..transport.bridge import get_bridge
from ..transport.waiting import ThreadWaiter
from .base import RunnerFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..transport.bridge import LoopBridge
    from .base import ResultT


class ThreadRunner:
    """Run each function in a thread of its own.

    Arguments:
        max_threads: how many may run at once.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._threads: set[threading.Thread] = set()
        self._numbers = itertools.count(1)

    def new_waiter(self) -> ThreadWaiter:
        """Make something on which the calling thread can wait."""
        return ThreadWaiter()

    def count(self) -> int:
        """Count the threads that run now."""
        return len(self._threads)

    async def run(self, function: Callable[[], ResultT]) -> ResultT:
        """Run ``function`` in a new thread and give what it returns or raises.

        Cancelling gives up waiting for it; the thread goes on, and does not keep the process
        alive.

        Raises:
            RunnerFull: ``max_threads`` are running, or the system gives no more.
        """
        if len(self._threads) >= self._max_threads:
            raise RunnerFull(f"{self._max_threads} sync views are running (WEBSOCKET_MAX_THREADS)")
        bridge = get_bridge()
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()

        def finish(report: Callable[[Any], None], value: Any) -> None:
            # Not where it is awaited: a function that nobody waits for any more still runs.
            self._threads.discard(thread)
            if not future.done():
                report(value)

        thread = threading.Thread(
            # The context of the task, so that what was set before the view is visible in it.
            target=contextvars.copy_context().run,
            args=(_run_and_report, function, future, bridge, finish),
            name=f"websocket-view-{next(self._numbers)}",
            # A view that never returns must not keep the process from exiting.
            daemon=True,
        )
        self._threads.add(thread)
        try:
            thread.start()
            return await future
        except RuntimeError as error:
            if thread.ident is not None:
                raise
            self._threads.discard(thread)
            raise RunnerFull(f"the system gives no more threads: {error}") from error


def _run_and_report(
    function: Callable[[], ResultT],
    future: asyncio.Future[ResultT],
    bridge: LoopBridge,
    finish: Callable[[Callable[[Any], None], Any], None],
) -> None:
    report: Callable[[Any], None]
    try:
        value: Any = function()
        report = future.set_result
    except StopIteration as error:
        # No future takes it, and who awaits would wait for ever.
        value = RuntimeError("the function in a thread raised StopIteration")
        value.__cause__ = error
        report = future.set_exception
    except Exception as error:
        value = error
        report = future.set_exception
    except BaseException as error:
        # sys.exit() ends its thread; raised on the event loop it would end the server.
        value = RuntimeError(f"the function in a thread ended by {error!r}")
        value.__cause__ = error
        report = future.set_exception
    bridge.call(lambda: finish(report, value))
