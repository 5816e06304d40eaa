"""Groups within one process: the back-end of development, tests, and servers with one worker.

A message goes from the thread that sends it straight to the event loops that have members.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from django.core.exceptions import ImproperlyConfigured

from .base import Backend, Subscriptions
from .history import Histories
from .messages import Closing, Envelope

if TYPE_CHECKING:
    from .base import Recovery
    from .hub import Hub
    from .messages import Position
    from .options import GroupsConfig


class MemoryBackend(Backend):
    """Carry messages between the threads and event loops of this process only."""

    reaches_other_processes: ClassVar[bool] = False

    def __init__(self, config: GroupsConfig) -> None:
        super().__init__(config)
        if config.options or config.location is not None:
            raise ImproperlyConfigured(
                'the back-end "memory" of WEBSOCKET_GROUPS takes neither LOCATION nor OPTIONS'
            )
        # Held from the position that a message gets until all hubs have it: so it is the same
        # order everywhere.
        self._lock = threading.Lock()
        # Weakly: an event loop may end without a word.
        self._hubs: WeakSet[Hub] = WeakSet()
        self._histories = Histories()

    def publish(self, item: Envelope | Closing) -> None:
        """Hand a message to all hubs that have members."""
        with self._lock:
            if isinstance(item, Envelope):
                options = self.config.options_of(item.group)
                if options.history:
                    item = self._histories.append(item, options)
            for hub in self._hubs:
                if isinstance(item, Closing) or hub.is_member(item.group):
                    hub.receive(item)

    async def apublish(self, item: Envelope | Closing) -> None:
        """Do the same: nothing here waits."""
        self.publish(item)

    def count(self, group: str) -> int:
        """Count the members of a group."""
        return len(self.members(group))

    def members(self, group: str) -> list[Any]:
        """Give the presence of each member of a group."""
        with self._lock:
            hubs = list(self._hubs)
        return [presence for hub in hubs for presence in hub.presences(group)]

    def connect(self, hub: Hub) -> MemorySubscriptions:
        """Give what lets messages reach a hub."""
        return MemorySubscriptions(self, hub)

    def add(self, hub: Hub) -> None:
        """Let messages reach a hub."""
        with self._lock:
            self._hubs.add(hub)

    def remove(self, hub: Hub) -> None:
        """Let messages reach a hub no more."""
        with self._lock:
            self._hubs.discard(hub)

    def recover(self, group: str, since: Position | int | None) -> Recovery:
        """Read the history of a group."""
        with self._lock:
            return self._histories.get(group).since(since)


class MemorySubscriptions(Subscriptions):
    """Nothing to subscribe to: a hub is asked whether it has members."""

    def __init__(self, backend: MemoryBackend, hub: Hub) -> None:
        self._backend = backend
        self._hub = hub

    def start(self) -> None:
        """Let messages reach the hub."""
        self._backend.add(self._hub)

    async def subscribe(self, group: str) -> None:
        """Do nothing."""

    def unsubscribe(self, group: str) -> None:
        """Do nothing."""

    async def recover(self, group: str, since: Position | int | None) -> Recovery:
        """Read the history of a group."""
        return self._backend.recover(group, since)

    async def stop(self) -> None:
        """Let messages reach the hub no more."""
        self._backend.remove(self._hub)
