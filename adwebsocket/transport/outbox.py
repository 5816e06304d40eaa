"""What threads send, on its way to the loop that writes it.

The blocking facade owns one for each connection. Frames keep their order; a thread that is faster
than the peer waits here, so that memory does not grow in its place.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from .waiting import manners

if TYPE_CHECKING:
    from .bridge import LoopBridge
    from .channel import Channel

# Messages that a thread may be ahead of the loop. A burst costs one wake-up however long it is, but
# each thread that runs ahead keeps the interpreter's lock from the loop meanwhile: with 8 threads
# that send without a pause, and no bound but that of bytes, a page took 5 s; with 50 threads and
# this bound, 0.07 s. An echo costs the same either way.
_MOST_AHEAD: Final = 16


class Outbox:
    """Prepared messages from any thread to one channel."""

    __slots__ = ("_bridge", "_channel", "_items", "_lock", "_size")

    def __init__(self, channel: Channel, bridge: LoopBridge) -> None:
        self._channel = channel
        self._bridge = bridge
        self._lock = threading.Lock()
        self._items: list[Any] = []
        self._size = 0

    def put(self, item: Any, size: int) -> None:
        """Queue a prepared message of ``size`` bytes. From any thread; does not wait."""
        with self._lock:
            self._items.append(item)
            self._size += size
            if len(self._items) == 1:
                # Within the lock: a second thread that sends and then closes must not get its
                # close onto the bridge before this.
                self._bridge.call(self.flush)

    def wait_for_room(self) -> None:
        """Wait while more is on its way to the peer than the limit allows, or until the end."""
        channel = self._channel
        while not self.has_room():
            waiter = manners().new_waiter()
            channel.senders.append(waiter.wake)
            if self.has_room():
                channel.senders.withdraw(waiter.wake)
                return
            waiter.park(None)

    def has_room(self) -> bool:
        """Tell whether a sender may go on, because there is room or because it is over."""
        channel = self._channel
        return channel.inbox.ended or (
            channel.writable
            and self._size <= channel.limits.outbox_bytes
            and len(self._items) <= _MOST_AHEAD
        )

    def flush(self) -> None:
        """Write what is queued. On the loop only."""
        with self._lock:
            items, self._items = self._items, []
            self._size = 0
        channel = self._channel
        for item in items:
            channel.write(item)
        if channel.writable and channel.senders:
            channel.senders.wake_all()
