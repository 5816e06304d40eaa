"""Groups over Redis or Valkey: what publishers and questions of a process go through.

It turns messages into commands, and what goes wrong into ``GroupsUnavailable``. Who hears them is
up to ``RedisSubscriptions``, one for each event loop.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

from django.conf import settings as django_settings

from ..base import Backend, GroupsUnavailable, Recovery
from ..messages import (
    Closing,
    Envelope,
    ForeignEnvelopeError,
    Position,
    decode,
    deployment_tag,
    encode,
)
from .client import Client
from .errors import Unreachable
from .presence import read_members
from .queue import Queue
from .scripts import POSITION_SECONDS, PUBLISH, RECOVER, Names
from .settings import read_settings
from .subscriptions import RedisSubscriptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..hub import Hub
    from ..options import GroupsConfig

ResultT = TypeVar("ResultT")

# Threads of a process in which async code publishes and asks.
_THREADS: Final = 8
_backends: WeakSet[RedisBackend] = WeakSet()


class RedisBackend(Backend):
    """Carry messages over Redis: pub/sub for what is new, streams for what has been.

    Attributes:
        settings: where Redis is.
        names: what things are called there.
        client: what speaks with it.
    """

    def __init__(self, config: GroupsConfig) -> None:
        super().__init__(config)
        self.settings = read_settings(config)
        self._tag = deployment_tag(django_settings.SECRET_KEY)
        self.names = Names(self.settings.channel_prefix, self.settings.prefix, self._tag)
        self._publish_command = "SPUBLISH" if self.settings.is_cluster else "PUBLISH"
        self.begin()
        _backends.add(self)

    def begin(self) -> None:
        """Begin anew, without what has been opened: a child process must not touch it."""
        self.client = Client(self.settings)
        self._queue = Queue(self.settings.queue, self._send, self.settings.max_delay)
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def publish(self, item: Envelope | Closing) -> None:
        """Hand a message to Redis; where it is away, it may wait, see ``queue`` in ``OPTIONS``."""
        with _translated():
            if self.settings.queue:
                self._queue.publish(item)
            else:
                key, command = self._command(item)
                self.client.ask(key, *command)

    async def apublish(self, item: Envelope | Closing) -> None:
        """Do the same without blocking the event loop."""
        await self.run_aside(self.publish, item)

    def count(self, group: str) -> int:
        """Count the members of a group, as the processes have said."""
        with _translated():
            return sum(count for count, _ in read_members(self.client, self.names, group))

    def members(self, group: str) -> list[Any]:
        """Give the presences in a group, as the processes have said."""
        presences: list[Any] = []
        with _translated():
            for count, known in read_members(self.client, self.names, group):
                presences += known + [None] * (count - len(known))
        return presences

    async def acount(self, group: str) -> int:
        """Do as ``count``, without blocking the event loop."""
        return await self.run_aside(self.count, group)

    async def amembers(self, group: str) -> list[Any]:
        """Do as ``members``, without blocking the event loop."""
        return await self.run_aside(self.members, group)

    def connect(self, hub: Hub) -> RedisSubscriptions:
        """Make what brings messages to a hub."""
        return RedisSubscriptions(self, hub)

    def close(self) -> None:
        """Close connections, and give up what waits."""
        self._queue.close()
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(cancel_futures=True)
        self.client.close()

    def give_up(self) -> None:
        """Say what is lost with the process, which is about to end."""
        self._queue.close()

    # What subscriptions call

    async def run_aside(self, function: Callable[..., ResultT], *arguments: Any) -> ResultT:
        """Call a function that may wait, in one of a few threads for that."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(_THREADS, "adwebsocket-groups")
            executor = self._executor
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, function, *arguments)

    def recover(self, group: str, since: Position | int | None) -> Recovery:
        """Read what the history of a group holds behind a position. In any thread."""
        names, channel = self.names, self.names.channel(group)
        known = Position("", since) if isinstance(since, int) else since
        # An empty epoch is any to Redis, and none to us.
        is_none = known is not None and not isinstance(since, int) and not known.epoch
        asked = ("", "") if known is None or is_none else (known.epoch, known.offset)
        with _translated():
            keys = names.state(group), names.stream(group)
            epoch, offset, messages = self.client.ask(
                channel, "EVALSHA", RECOVER, len(keys), *keys, *_begin(), *asked
            )
        position = Position(epoch.decode(), offset)
        if known is None:
            return Recovery([], position, None)
        is_known = not is_none and known.epoch in ("", position.epoch)
        if not is_known or len(messages) != offset - known.offset:
            return Recovery([], position, False)
        try:
            envelopes = [
                self._read_kept(data, Position(position.epoch, known.offset + number))
                for number, data in enumerate(messages, 1)
            ]
        except ForeignEnvelopeError:
            return Recovery([], position, False)
        return Recovery(envelopes, position, True)

    def read(self, data: bytes) -> Envelope | Closing:
        """Read what came over a channel.

        Raises:
            ForeignEnvelopeError: it is no message of ours.
        """
        if not data.startswith(b"@"):
            return decode(data, self._tag)
        text, _, rest = data[1:].partition(b"\n")
        position = Position.parse(text.decode("ascii", "replace"))
        if position is None:
            raise ForeignEnvelopeError("its position cannot be read")
        return self._read_kept(rest, position)

    # Within

    def _read_kept(self, data: bytes, position: Position) -> Envelope:
        item = decode(data, self._tag)
        if isinstance(item, Closing):
            raise ForeignEnvelopeError("it is an order with a position")
        return item._replace(position=position)

    def _send(self, items: list[Envelope | Closing]) -> list[Unreachable | None]:
        """Hand messages to Redis in one go; tell what became of each."""
        replies = self.client.ask_each([self._command(item) for item in items])
        return [reply if isinstance(reply, Unreachable) else None for reply in replies]

    def _command(self, item: Envelope | Closing) -> tuple[str, tuple[Any, ...]]:
        """Give the command that publishes a message, and a key of the server that takes it."""
        group, names = item.group, self.names
        channel = names.control if group is None else names.channel(group)
        data = encode(item, self._tag)
        options = self.config.options_of(item.group) if isinstance(item, Envelope) else None
        if group is None or options is None or not options.history:
            return channel, (self._publish_command, channel, data)
        keys = names.state(group), names.stream(group)
        kept = options.history, int(options.ttl * 1000)
        arguments = *_begin(options.ttl), data, *kept, self._publish_command, channel
        return channel, ("EVALSHA", PUBLISH, len(keys), *keys, *arguments)


def _begin(ttl: float = 0) -> tuple[str, int]:
    """Give the epoch of a history that has none yet, and milliseconds to keep it."""
    return secrets.token_hex(4), int((ttl + POSITION_SECONDS) * 1000)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Unreachable as error:
        hint = " (it may have been done all the same)" if error.was_sent else ""
        raise GroupsUnavailable(f"{error}{hint}") from error


def _begin_in_child() -> None:
    for backend in list(_backends):
        backend.begin()


@atexit.register
def _give_up() -> None:
    for backend in list(_backends):
        backend.give_up()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
