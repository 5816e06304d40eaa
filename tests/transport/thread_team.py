"""Threads that begin together, must end in time, and whose exceptions are not lost."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from tests.connections import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable


class ThreadTeam:
    """Run functions in a thread each.

    Arguments:
        functions: what to run; they begin when all threads are there.
    """

    def __init__(self, *functions: Callable[[], object]) -> None:
        self._errors: list[BaseException] = []
        self._barrier = threading.Barrier(len(functions))
        # Daemons, so that one that hangs fails its test and not the whole run.
        self._threads = [
            threading.Thread(target=self._run, args=(function,), daemon=True)
            for function in functions
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, function: Callable[[], object]) -> None:
        try:
            self._barrier.wait(DEADLINE)
            function()
        except BaseException as error:  # raised again by join()
            self._errors.append(error)

    def join(self) -> None:
        """Wait until all have ended; raise what one of them raised."""
        deadline = time.monotonic() + DEADLINE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._errors:
            raise self._errors[0]
        stuck = sum(thread.is_alive() for thread in self._threads)
        assert not stuck, f"{stuck} threads wait for ever"


def run_together(*functions: Callable[[], object]) -> None:
    """Run functions in a thread each, to their end."""
    ThreadTeam(*functions).join()
