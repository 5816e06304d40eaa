"""Messages that wait in the publisher's process while Redis is away, for those who want that.

A message is queued only if it certainly has not reached Redis, so none arrives twice.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from ..counts import counts
from .errors import Reporter, Unreachable, logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..messages import Closing, Envelope

# Seconds before the second attempt; twice as many for each that fails.
_FIRST_DELAY: Final = 0.1
# Messages that are sent in one go: else a process that goes on sending might never catch up.
_BATCH: Final = 64


class Queue:
    """Send what can be sent, keep what cannot. From any thread.

    Order is kept: as long as something waits, everything else waits behind it.

    Arguments:
        size: how many may wait.
        send: sends some, and gives for each None or why it was not sent.
        max_delay: the longest time in seconds between two attempts.
    """

    def __init__(
        self,
        size: int,
        send: Callable[[list[Envelope | Closing]], list[Unreachable | None]],
        max_delay: float,
    ) -> None:
        self._size = size
        self._send = send
        self._max_delay = max_delay
        self._lock = threading.Lock()
        self._items: deque[Envelope | Closing] = deque()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._reporter = Reporter(60)

    def publish(self, item: Envelope | Closing) -> None:
        """Send a message, now or later.

        Raises:
            Unreachable: it will not be sent, or perhaps it has been.
        """
        if self._put(item, only_behind_others=True):
            return
        (error,) = self._send([item])
        if error is None:
            return
        if error.was_sent or error.was_refused:
            raise error
        self._reporter.report("queue", "Messages to groups wait for Redis: %s", error)
        self._put(item, error=error)

    def close(self) -> None:
        """Give up what waits; the queue may be used again."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._closing.set()
            self._closing = threading.Event()
            count = len(self._items)
            self._items.clear()
        if count:
            counts.unpublished["discarded"] += count
            logger.warning("Messages to groups that waited for Redis are lost: %d", count)
        if thread is not None:
            thread.join()

    def _put(
        self,
        item: Envelope | Closing,
        *,
        only_behind_others: bool = False,
        error: Unreachable | None = None,
    ) -> bool:
        with self._lock:
            if only_behind_others and not self._items:
                return False
            if len(self._items) >= self._size:
                reason = f": {error}" if error else ""
                text = f"{self._size} messages wait for Redis, and no more may{reason}"
                raise Unreachable(text, was_sent=False)
            self._items.append(item)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._drain,
                    args=[self._closing],
                    name="adwebsocket-groups-queue",
                    daemon=True,
                )
                self._thread.start()
            return True

    def _drain(self, closing: threading.Event) -> None:
        attempt = 0
        while not closing.is_set():
            with self._lock:
                if closing.is_set():
                    return
                if not self._items:
                    self._thread = None
                    return
                items = list(islice(self._items, _BATCH))
            kept = self._send_some(items)
            with self._lock:
                if closing.is_set():
                    return
                for _ in items:
                    self._items.popleft()
                self._items.extendleft(reversed(kept))
            if kept:
                delay = min(self._max_delay, _FIRST_DELAY * 2 ** min(attempt, 16))
                attempt += 1
                closing.wait(random.uniform(0, delay))
            else:
                attempt = 0

    def _send_some(self, items: list[Envelope | Closing]) -> list[Envelope | Closing]:
        """Send messages; give those that still wait."""
        try:
            results = self._send(items)
        except Exception:
            # The thread goes on: what comes later may be all right.
            logger.exception("%d messages to groups cannot be sent", len(items))
            counts.unpublished["failed"] += len(items)
            return []
        kept = []
        for item, error in zip(items, results, strict=True):
            if error is None:
                continue
            if not (error.was_sent or error.was_refused):
                kept.append(item)
                continue
            counts.unpublished["refused" if error.was_refused else "interrupted"] += 1
            self._reporter.report("lost", "A message to a group is lost: %s", error)
        return kept
