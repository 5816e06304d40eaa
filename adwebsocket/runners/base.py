"""What every runner offers.

The ASGI application asks one to run the middleware chain and the view of a sync connection. It
must never know what it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..transport.waiting import Waiter

ResultT = TypeVar("ResultT")


class RunnerFull(RuntimeError):
    """Tell that no further view can be run now; the handshake is refused with 503."""


class Runner(Protocol):
    """Run blocking functions beside the event loop."""

    def new_waiter(self) -> Waiter:
        """Make something on which the calling view can wait."""

    async def run(self, function: Callable[[], ResultT]) -> ResultT:
        """Run ``function`` and give what it returns or raises.

        Cancelling gives up waiting for it; the function itself cannot be stopped.

        Raises:
            RunnerFull: there is no room for it, nothing was run.
        """

    def count(self) -> int:
        """Count the functions that run now."""
