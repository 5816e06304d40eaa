"""Received messages between the loop that reads them and the view that takes them.

A channel puts on its event loop; a facade takes, on the loop or in any thread. The inbox tells its
channel to pause and resume reading, and knows neither frames nor sockets.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

from .waiting import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from .limits import Limits


class _End(Enum):
    END = "end"


END: Final = _End.END
Received: TypeAlias = "str | bytes"
Item: TypeAlias = "str | bytes | Literal[_End.END]"


class Inbox:
    """A queue of messages with an end and water marks.

    The end is an item of its own behind the last message, so that exactly one taker sees it.
    Reading pauses above either limit and resumes at half of it.
    """

    __slots__ = (
        "_high_bytes",
        "_high_messages",
        "_size",
        "ended",
        "items",
        "new_future",
        "on_low",
        "pause_reading",
        "paused",
        "waiters",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        pause_reading: Callable[[], None],
    ) -> None:
        self.new_future: Callable[[], asyncio.Future[None]] = loop.create_future
        self.items: deque[Item] = deque()
        self.waiters = WaitQueue()
        self.ended = False
        self.paused = False
        self.pause_reading = pause_reading
        self.on_low: Callable[[], None] = _do_nothing
        self.set_limits(limits)
        self._size = 0

    def set_limits(self, limits: Limits) -> None:
        """Change the water marks; what is queued stays."""
        self._high_messages = limits.inbox_messages
        self._high_bytes = limits.inbox_bytes

    def put(self, message: Received) -> None:
        """Queue a message and wake one waiter. On the loop only; ignored behind the end."""
        if self.ended:
            return
        self.items.append(message)
        if self.waiters:
            self.waiters.wake_one()
        # Takers never touch this sum, so it needs no lock: it is the bytes put since the last
        # exact count, an upper bound of those that are queued.
        self._size += len(message)
        if not self.paused and (
            self._size > self._high_bytes or len(self.items) > self._high_messages
        ):
            self._pause_if_full()

    def finish(self) -> None:
        """Queue the end behind everything and wake all waiters. On the loop only."""
        if not self.ended:
            # The item first: a thread that saw ``ended`` and no item would think that the end had
            # been reported already.
            self.items.append(END)
            self.ended = True
            self.waiters.wake_all()

    def take(self) -> Item:
        """Take the next item, from any thread.

        Raises:
            IndexError: nothing is queued.
        """
        item = self.items.popleft()
        if item is END:
            self.ended = True  # whoever has seen the end must not be told that it is yet to come
        elif self.paused and self._is_low():
            self.on_low()
        return item

    async def wait_for_item(self) -> None:
        """Wait until an item is queued, or none will ever be. On the loop only.

        Cancellation loses nothing: messages are taken by ``take`` alone, and a wake-up that came
        for a cancelled waiter goes to the next one.
        """
        while not self.items and not self.ended:
            future = self.new_future()
            self.waiters.append(future.set_result)
            try:
                await future
            except asyncio.CancelledError:
                self.withdraw(future)
                raise

    def withdraw(self, future: asyncio.Future[None]) -> None:
        """Take back the waiter of a cancelled task, or pass on the wake-up that it had."""
        if not self.waiters.withdraw(future.set_result) and self.items:
            self.waiters.wake_one()

    def count(self) -> int:
        """Count the queued messages; the end is none."""
        # Copying a deque is one step to other threads; its length and its last item would be two.
        items = tuple(self.items)
        return len(items) - (1 if items and items[-1] is END else 0)

    def resume_if_low(self) -> bool:
        """Clear the pause where the view has caught up. On the loop only."""
        if self.paused and self._is_low():
            self.paused = False
            self._size = self._count_bytes()
            return True
        return False

    def _pause_if_full(self) -> None:
        self._size = self._count_bytes()
        if self._size > self._high_bytes or len(self.items) > self._high_messages:
            self.paused = True
            self.pause_reading()
            # A thread may have taken everything before it could see ``paused``.
            if self._is_low():
                self.on_low()

    def _is_low(self) -> bool:
        return (
            len(self.items) <= self._high_messages // 2
            and self._count_bytes() <= self._high_bytes // 2
        )

    def _count_bytes(self) -> int:
        return sum(len(item) for item in tuple(self.items) if item is not END)


def _do_nothing() -> None:
    """Stand in until a facade says how it reaches the loop."""
