"""Groups over all processes of one machine, without a broker: unix sockets between them.

Each server process listens in the runtime directory, and whoever publishes writes to all of them:
other workers, ``manage.py shell``, task queues, whatever has the project's settings and user.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ..base import Backend, GroupsUnavailable, Subscriptions
from ..messages import Closing, Envelope, encode
from .frames import MESSAGE, longest_frame, pack
from .history import HistoryFile
from .links import Links, ask
from .place import Place, abandon_in_children
from .station import Station

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..base import Recovery
    from ..hub import Hub
    from ..messages import Position
    from ..options import GroupOptions, GroupsConfig

# For a process that takes nothing, and for answers. A loop that is busy for longer is ill.
TIMEOUT = 2.0
_ROOM_FOR_POSITION = 100


class LocalBackend(Backend):
    """Carry messages between the processes of one machine and user.

    ``OPTIONS`` may have ``timeout``: the seconds after which a process that takes nothing is left
    to itself, and in which all must have told of their members; 2 by default.

    Attributes:
        place: where the processes meet.
        longest: the bytes of the longest frame.
    """

    def __init__(self, config: GroupsConfig) -> None:
        super().__init__(config)
        if config.location is not None or set(config.options) - {"timeout"}:
            raise ImproperlyConfigured(
                'the back-end "local" of WEBSOCKET_GROUPS takes no LOCATION, which is '
                "WEBSOCKET_RUNTIME_DIR, and no OPTIONS but timeout"
            )
        self.timeout = config.options.get("timeout", TIMEOUT)
        if not isinstance(self.timeout, (int, float)) or not self.timeout > 0:
            raise ImproperlyConfigured(
                f"timeout in WEBSOCKET_GROUPS must be a number above 0, not {self.timeout!r}"
            )
        self.place = Place(settings.SECRET_KEY)
        self.longest = longest_frame(config)
        self._history = HistoryFile(self.place, self.timeout)
        self._links = Links(self.place, self.timeout)
        # Held while a message goes out, so that all processes get it in the same place.
        self._lock = threading.Lock()
        abandon_in_children(self)

    def publish(self, item: Envelope | Closing) -> None:
        """Write a message to all server processes."""
        options = self._history_options(item)
        frame = self._pack(item)
        try:
            with self._lock:
                self._links.drain()  # what async code has left
                if options is None:
                    self._offer(frame, item)
                    self._links.drain()
                    return
                assert isinstance(item, Envelope)
                with self._history.turn():
                    # In the history first: should this process die now, all find it there.
                    item = self._history.append(item, options)
                    self._offer(self._pack(item), item)
                    self._links.drain()
        except OSError as error:
            raise _unavailable(error) from error

    async def apublish(self, item: Envelope | Closing) -> None:
        """Do the same, at once where nobody has to be waited for."""
        frame = self._pack(item)
        rest: Callable[[], None] = partial(self.publish, item)
        if self._history_options(item) is None and self._lock.acquire(blocking=False):
            try:
                if not self._links.waiting:
                    self._offer(frame, item)
                    if not self._links.waiting:
                        return
                    rest = self._drain
            except OSError as error:
                raise _unavailable(error) from error
            finally:
                self._lock.release()
        # Shielded: what has been sent in part must not be left like that.
        await asyncio.shield(asyncio.to_thread(rest))

    def count(self, group: str) -> int:
        """Count the members of a group, by asking all server processes."""
        return sum(self._ask("count", group))

    def members(self, group: str) -> list[Any]:
        """Give the presence of each member of a group, by asking all server processes."""
        return [presence for answer in self._ask("members", group) for presence in answer]

    def connect(self, hub: Hub) -> LocalSubscriptions:
        """Give what lets messages reach a hub."""
        return LocalSubscriptions(self, hub)

    def recover(self, group: str, since: Position | int | None) -> Recovery:
        """Read the history of a group; raises ``GroupsUnavailable``. May wait for processes."""
        try:
            with self._history.turn():
                return self._history.since(group, since)
        except OSError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Hang up, and close the file of histories."""
        with self._lock:
            self._links.close()
            self._history.close()

    def abandon(self) -> None:
        """Begin anew in a child process."""
        self._lock = threading.Lock()
        self._links.close()
        self._history.abandon()

    def _history_options(self, item: Envelope | Closing) -> GroupOptions | None:
        if isinstance(item, Closing):
            return None
        options = self.config.options_of(item.group)
        return options if options.history else None

    def _pack(self, item: Envelope | Closing) -> bytes:
        frame = pack(MESSAGE, encode(item, self.place.tag))
        if len(frame) > self.longest - _ROOM_FOR_POSITION:
            raise ValueError(f"a message with its key may have {self.longest} bytes")
        return frame

    def _offer(self, frame: bytes, item: Envelope | Closing) -> None:
        self._links.offer(frame, item.group if isinstance(item, Envelope) else None)

    def _drain(self) -> None:
        with self._lock:
            self._links.drain()

    def _ask(self, what: str, group: str) -> list[Any]:
        try:
            return ask(self.place, [what, group], self.timeout)
        except OSError as error:
            raise _unavailable(error) from error


class LocalSubscriptions(Subscriptions):
    """A socket at which a hub gets all messages; it knows by itself which it has members for."""

    def __init__(self, backend: LocalBackend, hub: Hub) -> None:
        self._backend = backend
        self._station = Station(hub, backend.place, backend.longest)

    def start(self) -> None:
        """Listen."""
        self._station.try_to_open()

    async def subscribe(self, group: str) -> None:
        """Do nothing where the socket is there, else try to open it."""
        if not self._station.is_open:
            try:
                self._station.open()
            except (OSError, ImproperlyConfigured) as error:
                raise GroupsUnavailable(f"this process cannot be reached: {error}") from error

    def unsubscribe(self, group: str) -> None:
        """Do nothing."""

    async def recover(self, group: str, since: Position | int | None) -> Recovery:
        """Read the history of a group."""
        return await asyncio.to_thread(self._backend.recover, group, since)

    async def stop(self) -> None:
        """Hang up."""
        await self._station.close()


def _unavailable(error: OSError) -> GroupsUnavailable:
    if isinstance(error, GroupsUnavailable):
        return error
    return GroupsUnavailable(f"the server processes cannot be reached: {error}")
