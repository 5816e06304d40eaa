"""Cutting peers that take nothing of what is sent to them.

A channel starts a watch when its peer falls behind, and stops it when the peer has caught up. The
watch has a timer, so it exists for slow peers only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

# So often a peer is looked at within its time.
_LOOKS: Final = 8


class StallWatch:
    """Call ``on_stall`` once a peer has taken nothing for ``timeout`` seconds.

    Arguments:
        loop: the event loop of the connection.
        timeout: seconds; up to an eighth more go by before it is noticed.
        progress: gives a number that is larger than before if the peer has taken something.
        on_stall: called on the loop, once; the watch is over then.
    """

    __slots__ = ("_looks", "_loop", "_on_stall", "_progress", "_seconds", "_seen", "_timer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeout: float,
        progress: Callable[[], int],
        on_stall: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._seconds = timeout / _LOOKS
        self._progress = progress
        self._on_stall = on_stall
        self._seen = progress()
        self._looks = _LOOKS
        self._timer = loop.call_later(self._seconds, self._look)

    def stop(self) -> None:
        """End the watch."""
        self._timer.cancel()

    def _look(self) -> None:
        seen = self._progress()
        # However slow a peer is, while it takes anything it is not cut.
        self._looks = _LOOKS if seen > self._seen else self._looks - 1
        self._seen = seen
        if self._looks > 0:
            self._timer = self._loop.call_later(self._seconds, self._look)
        else:
            self._on_stall()
