"""A file descriptor that is readable while a WebSocket has something to read.

Legacy views give ``ws.protocol.sock.fileno()`` to ``select``, sometimes for several sockets. The
dialect in ``compat`` offers them this; it knows the inbox only.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING
from weakref import finalize

if TYPE_CHECKING:
    from .transport.inbox import Inbox


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        each.close()


class SelectableInbox:
    """Two connected sockets, one of which has a byte to read while the inbox has an item.

    ``fileno`` is what ``select`` calls, or the view, each time it is about to wait; that brings the
    byte up to date. Nobody closes a descriptor that somebody may be waiting for: both sockets go
    when this object does.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._lock = threading.Lock()
        self._is_waiting = False
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._far.setblocking(False)
        finalize(self, _close, self._near, self._far)

    def fileno(self) -> int:
        """Give the number of the descriptor, readable if a message or the end is queued."""
        with self._lock:
            self._drain()
            if not self._is_waiting and not self._inbox.ended:
                self._is_waiting = True
                self._inbox.waiters.append(self._wake)
            if self._inbox.items or self._inbox.ended:
                self._signal()
            return self._near.fileno()

    def _wake(self, _: None) -> None:
        inbox = self._inbox
        with self._lock:
            if not (inbox.items or inbox.ended):
                # Somebody has taken it. Readable all the same, ``read()`` would find nothing, and
                # views take its None for the end.
                inbox.waiters.append(self._wake)
                if not (inbox.items or inbox.ended) or not inbox.waiters.withdraw(self._wake):
                    return
            self._is_waiting = False
            self._signal()
        # A message wakes one waiter, and this one takes none.
        inbox.waiters.wake_one()

    def _signal(self) -> None:
        # Full is as readable as can be.
        with contextlib.suppress(BlockingIOError):
            self._far.send(b"\0")

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._near.recv(64):
                pass
