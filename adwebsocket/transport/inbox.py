"""Received messages between the loop that reads them and the view that takes them.

A channel puts on its event loop; a facade takes, on the loop or in any thread. The inbox tells its
channel to pause and resume reading, and knows neither frames nor sockets.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal

from .waiting import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from .bridge import LoopBridge
    from .channel import Channel
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

    Arguments:
        channel: what is told to pause and resume reading.
        limits: the water marks.

    Attributes:
        ended: no message will come any more, and nothing can be sent.
        bridge: the way to the loop for takers in other threads; None where all take on the loop.
        on_end: called by the taker of the end, in its thread.
    """

    __slots__ = (
        "_has_end",
        "_high_bytes",
        "_high_messages",
        "_size",
        "bridge",
        "channel",
        "ended",
        "items",
        "on_end",
        "paused",
        "waiters",
    )

    def __init__(self, channel: Channel, limits: Limits) -> None:
        self.channel = channel
        # No deque, of which an empty one takes 0.7 KB. Taking the first of a list moves the others:
        # one read brings 43,000 messages at the most, and 2,500 of 100 bytes, which cost 2 %.
        self.items: list[Item] = []
        self.waiters = WaitQueue()
        self.ended = False
        self.paused = False
        self.bridge: LoopBridge | None = None
        self.on_end: Callable[[], None] | None = None
        self._has_end = False
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
        # The item first: a thread that saw ``ended`` and no item would think that the end had
        # been reported already.
        self._put_end()
        self.ended = True
        self.waiters.wake_all()

    def finish_when_taken(self) -> None:
        """Queue the end, which counts from the moment in which it is taken. On the loop only."""
        self._put_end()
        self.waiters.wake_one()

    def _put_end(self) -> None:
        if not self._has_end:
            self._has_end = True
            self.items.append(END)

    def take(self) -> Item:
        """Take the next item, from any thread.

        Raises:
            IndexError: nothing is queued.
        """
        item = self.items.pop(0)
        if item is END:
            # How it ended first: who sees ``ended`` may ask. And ``ended`` here, since whoever has
            # seen the end must not be told that it is yet to come.
            if self.on_end is not None:
                self.on_end()
            self.ended = True
        elif self.paused and self._is_low():
            self._report_low()
        return item

    async def wait_for_item(self) -> None:
        """Wait until an item is queued, or none will ever be. On the loop only.

        Cancellation loses nothing: messages are taken by ``take`` alone, and a wake-up that came
        for a cancelled waiter goes to the next one.
        """
        while not self.items and not self.ended:
            future: asyncio.Future[None] = self.channel.loop.create_future()
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
        # Copying a list is one step to other threads; its length and its last item would be two.
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
            self.channel.pause_reading()
            # A thread may have taken everything before it could see ``paused``.
            if self._is_low():
                self._report_low()

    def _report_low(self) -> None:
        if self.bridge is None:
            self.channel.resume_reading()
        else:
            self.bridge.call(self.channel.resume_reading)

    def _is_low(self) -> bool:
        return (
            len(self.items) <= self._high_messages // 2
            and self._count_bytes() <= self._high_bytes // 2
        )

    def _count_bytes(self) -> int:
        return sum(len(item) for item in tuple(self.items) if item is not END)
