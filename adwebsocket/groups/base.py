"""What a back-end is: it carries envelopes from publishers to the hubs of all processes.

Write one of your own by deriving from both classes, and name it by its dotted path in
``WEBSOCKET_GROUPS``. tests/groups holds the contract that every back-end must satisfy.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from .hub import Hub
    from .messages import Closing, Envelope, Position
    from .options import GroupsConfig


class GroupsUnavailable(ConnectionError):
    """The back-end cannot be reached, so the message, or the question, went nowhere."""


class Recovery(NamedTuple):
    """What a history holds behind a position.

    Attributes:
        envelopes: the messages, the oldest first.
        position: where the history stands behind them, None for a group without one.
        recovered: whether these are all that were missed; None where nobody asked for any.
    """

    envelopes: list[Envelope]
    position: Position | None
    recovered: bool | None


class Backend(ABC):
    """One way to reach the members of groups, for all threads and event loops of a process.

    Arguments:
        config: ``WEBSOCKET_GROUPS``; ``config.options`` is for the back-end, which refuses what it
            does not know with ``ImproperlyConfigured``. Nothing is connected yet.

    Attributes:
        reaches_other_processes: whether what one process sends may reach members in others.
    """

    reaches_other_processes: ClassVar[bool] = True

    def __init__(self, config: GroupsConfig) -> None:
        self.config = config

    @abstractmethod
    def publish(self, item: Envelope | Closing) -> None:
        """Hand over a message for every process. From any thread that runs no event loop.

        What one thread publishes to a group arrives in that order. Gives a message of a group with
        a history its position.

        Raises:
            GroupsUnavailable: it went nowhere.
        """

    async def apublish(self, item: Envelope | Closing) -> None:
        """Do the same without blocking the event loop."""
        await asyncio.to_thread(self.publish, item)

    @abstractmethod
    def count(self, group: str) -> int:
        """Count the members of a group in all processes. From any thread without an event loop.

        Raises:
            GroupsUnavailable: that cannot be known now.
        """

    @abstractmethod
    def members(self, group: str) -> list[Any]:
        """Give the presence of each member of a group in all processes; raises as ``count``."""

    async def acount(self, group: str) -> int:
        """Do as ``count``, without blocking the event loop."""
        return await asyncio.to_thread(self.count, group)

    async def amembers(self, group: str) -> list[Any]:
        """Do as ``members``, without blocking the event loop."""
        return await asyncio.to_thread(self.members, group)

    @abstractmethod
    def connect(self, hub: Hub) -> Subscriptions:
        """Make what brings messages to the hub of an event loop. On that loop; does not wait."""

    def close(self) -> None:  # noqa: B027
        """Give back what publishing has opened; the back-end may be used again."""


class Subscriptions(ABC):
    """What brings the messages of groups to one hub. On its event loop only.

    Messages are given to ``hub.receive``, and orders to close as well. When the connection is lost,
    it is made again with a growing and random delay, everything is subscribed again, and
    ``hub.resume`` is told which groups may have missed messages.
    """

    @abstractmethod
    def start(self) -> None:
        """Begin to receive orders for all processes, and connect where that is necessary.

        Neither waits nor fails: ``subscribe`` does.
        """

    @abstractmethod
    async def subscribe(self, group: str) -> None:
        """Receive the messages of a group; those sent after this has returned do arrive.

        Called once, before the first member is in, and not again before ``unsubscribe``.

        Raises:
            GroupsUnavailable: it does not work now, and will not be tried again.
        """

    @abstractmethod
    def unsubscribe(self, group: str) -> None:
        """Receive no more messages of a group; takes effect before a later ``subscribe``."""

    @abstractmethod
    async def recover(self, group: str, since: Position | int | None) -> Recovery:
        """Read what the history of a group holds behind a position.

        Arguments:
            since: the position, or an offset in whichever epoch it is; None for nothing but
                where the history stands.

        Raises:
            GroupsUnavailable: it cannot be read now.
        """

    def roster_changed(self, group: str) -> None:  # noqa: B027
        """Take note that members of this process have come, gone or changed their presence."""

    @abstractmethod
    async def stop(self) -> None:
        """Give everything back; the event loop is about to end."""
