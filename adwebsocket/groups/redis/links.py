"""The connection over which a hub gets messages: one to each server that has channels for it.

It lives on the hub's event loop, subscribes to what is wanted, and when it breaks is made again and
subscribed again. Whose messages they are is known to the owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.crc import key_slot

from ..base import GroupsUnavailable
from .errors import Unreachable, explain, kind_of

if TYPE_CHECKING:
    from .settings import Address
    from .subscriptions import RedisSubscriptions

# Seconds before the second attempt to connect; twice as many for each that fails.
_FIRST_DELAY: Final = 0.1
# Messages after which others on the event loop have their turn.
_TURN: Final = 32
# Parts of the time limit in which nothing at all must have come, one after the other.
_PATIENCE: Final = 4
# Seconds that a connection may take to say goodbye.
_FAREWELL: Final = 1.0


class Channel:
    """A channel that somebody wants to hear.

    Attributes:
        name: its name in Redis.
        group: the group whose messages come over it, None for orders to all processes.
        ready: done when messages arrive, or cannot.
        was_lost: whether messages may have been missed since it was last confirmed.
    """

    __slots__ = ("group", "name", "ready", "was_lost")

    def __init__(self, name: str, group: str | None) -> None:
        self.name = name
        self.group = group
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.was_lost = False


class Link:
    """The connection to one server, and the channels that come over it. On the event loop only.

    Arguments:
        owner: whose it is.
        shard: what it leads to, see ``Locator``.

    Attributes:
        failure: why it cannot be connected; None while it can, or that is not known yet.
    """

    def __init__(self, owner: RedisSubscriptions, shard: Address | str) -> None:
        self._owner = owner
        self._settings = owner.settings
        self._locator = owner.locator
        self.shard = shard
        self.channels: dict[str, Channel] = {}
        self.failure: str | None = None
        self._connection: Any = None
        self._address: Address | None = None
        self._is_up = False
        self._was_up = False
        # What is to be said to the server, and what it has not answered yet: a confirmation counts
        # only if it is that of the last time that a channel was subscribed.
        self._orders: deque[tuple[str, str]] = deque()
        self._has_orders = asyncio.Event()
        self._joining: Counter[str] = Counter()
        self._leaving: Counter[str] = Counter()
        self._pong = asyncio.Event()
        self._heard = 0
        self._task = asyncio.get_running_loop().create_task(self._run())

    def add(self, channel: Channel) -> None:
        """Subscribe to a channel."""
        self.channels[channel.name] = channel
        self._order(self._owner.subscribe_command, channel.name)

    def remove(self, name: str) -> None:
        """Let go of a channel."""
        if self.channels.pop(name, None) is not None:
            self._order(self._owner.unsubscribe_command, name)

    async def stop(self) -> None:
        """Close the connection."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _order(self, command: str, name: str) -> None:
        if self._connection is not None:
            self._orders.append((command, name))
            answers = self._leaving if command.endswith("UNSUBSCRIBE") else self._joining
            answers[name] += 1
            self._has_orders.set()

    # Connecting, again and again

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                if self._locator.is_sharded and not self.shard:
                    await asyncio.to_thread(self._locator.refresh)
                    self._owner.rearrange()
                if self.channels:
                    await self._connect()
                    await self._work()
            except Exception as error:
                if self._is_up:
                    attempt = 0
                await self._lose(error)
            if not self.channels:
                self._owner.drop(self)
                return
            delay = min(self._settings.max_delay, _FIRST_DELAY * 2 ** min(attempt, 16))
            await asyncio.sleep(random.uniform(0, delay))
            attempt += 1

    async def _connect(self) -> None:
        async with asyncio.timeout(3 * self._settings.timeout):
            self._address = await self._locate()
        connection = self._settings.make_connection(self._address)
        try:
            async with asyncio.timeout(self._settings.timeout):
                await connection.connect()
                if self._settings.sentinel:
                    await connection.send_command("ROLE")
                    if (await connection.read_response())[0] != b"master":
                        raise redis.ConnectionError(f"{self._address} is no primary any more")
        except BaseException:
            await self._disconnect(connection)
            raise
        self._connection = connection

    async def _locate(self) -> Address:
        if self._locator.has_choice:
            return await asyncio.to_thread(self._locator.find_shard, self.shard)
        return self._locator.find_shard(self.shard)

    async def _work(self) -> None:
        """Do what there is to do on a connection until it breaks."""
        for name in self.channels:
            self._order(self._owner.subscribe_command, name)
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(each()) for each in (self._read, self._write, self._watch)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            connection, self._connection = self._connection, None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._disconnect(connection)

    async def _disconnect(self, connection: Any) -> None:
        with contextlib.suppress(redis.RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                await connection.disconnect()

    async def _lose(self, error: Exception) -> None:
        """Take note that the connection is broken, or could not be made."""
        was_up, self._is_up = self._is_up, False
        self._orders.clear()
        self._joining.clear()
        self._leaving.clear()
        for channel in self.channels.values():
            channel.was_lost |= channel.ready.done()
        text = str(error) if isinstance(error, Unreachable) else explain(error)
        if isinstance(error, TimeoutError | redis.TimeoutError):
            text = f"{self._address or 'Redis'} does not answer"
        if not was_up:
            # While it worked a moment ago, those who wait may wait for the next attempt.
            self.failure = text
            for channel in list(self.channels.values()):
                if channel.group and not channel.ready.done():
                    channel.ready.set_exception(GroupsUnavailable(text))
                    self.remove(channel.name)
        self._owner.report(type(error).__name__, text)
        if self._locator.has_choice:
            self._locator.forget()
            with contextlib.suppress(Unreachable):
                await asyncio.to_thread(self._locator.refresh)
            self._owner.rearrange()

    def _settle(self) -> None:
        """Everything is subscribed again."""
        self._is_up = True
        self.failure = None
        lost = [each for each in self.channels.values() if each.was_lost]
        for channel in lost:
            channel.was_lost = False
        self._owner.resume([each.group for each in lost if each.group], is_new=not self._was_up)
        self._was_up = True

    # What there is to do on a connection

    async def _write(self) -> None:
        while True:
            await self._has_orders.wait()
            self._has_orders.clear()
            orders = list(self._orders)
            self._orders.clear()
            await self._connection.send_packed_command(self._connection.pack_commands(orders))

    async def _watch(self) -> None:
        """Find out whether the server is still there, and is still the right one."""
        while True:
            await asyncio.sleep(self._settings.heartbeat)
            self._pong.clear()
            async with asyncio.timeout(self._settings.timeout):
                await self._connection.send_command("PING")
            await self._wait_for_pong()
            if self._locator.has_choice:
                with contextlib.suppress(Unreachable):
                    await asyncio.to_thread(self._locator.refresh)
                self._owner.rearrange()
                address = await self._locate()
                if address != self._address:
                    raise redis.ConnectionError(f"{address} has taken over from {self._address}")

    async def _wait_for_pong(self) -> None:
        """Wait for the answer, for as long as anything comes.

        It comes behind the messages that were sent before, which may be many. And where it is this
        event loop that was held up, time has passed and nothing has been read.
        """
        silent, heard = 0, self._heard
        while not self._pong.is_set():
            try:
                async with asyncio.timeout(self._settings.timeout / _PATIENCE):
                    await self._pong.wait()
            except TimeoutError:
                silent = silent + 1 if self._heard == heard else 0
                heard = self._heard
                if silent >= _PATIENCE:
                    raise

    async def _read(self) -> None:
        connection = self._connection
        while True:
            for _ in range(_TURN):
                try:
                    reply = await connection.read_response()
                except redis.ResponseError as error:
                    if kind_of(error) != "MOVED":
                        raise
                    self._note_move(error)
                else:
                    self._heard += 1
                    self._handle(reply)
            # There may be more at once, for ever.
            await asyncio.sleep(0)

    def _handle(self, reply: Any) -> None:
        if not isinstance(reply, list):
            self._pong.set()
            return
        kind = reply[0]
        if kind in (b"message", b"smessage"):
            channel = self.channels.get(reply[1].decode())
            if channel is not None:
                self._owner.receive(channel, reply[2])
        elif kind in (b"subscribe", b"ssubscribe"):
            self._confirm(reply[1].decode())
        elif kind in (b"unsubscribe", b"sunsubscribe"):
            self._confirm_end(reply[1].decode())
        else:
            self._pong.set()

    def _confirm(self, name: str) -> None:
        if _is_last(self._joining, name):
            channel = self.channels.get(name)
            if channel is not None and not channel.ready.done():
                channel.ready.set_result(None)
            if not self._joining and not self._is_up:
                self._settle()
            elif channel is not None and channel.was_lost and self._is_up:
                channel.was_lost = False
                self._owner.resume([channel.group] if channel.group else [], is_new=True)

    def _confirm_end(self, name: str) -> None:
        if self._leaving[name]:
            _is_last(self._leaving, name)
        elif name in self.channels:
            # Its slot has gone to another server, which this one names when it is asked again.
            self.channels[name].was_lost = True
            self._order(self._owner.subscribe_command, name)

    def _note_move(self, error: redis.ResponseError) -> None:
        """Take note that the server does not have a slot; that is all it answers to an order."""
        assert self._address is not None
        slot = self._locator.note_move(error, self._address)
        for answers in (self._joining, self._leaving):
            for name in [name for name in answers if key_slot(name.encode()) == slot]:
                del answers[name]
        self._owner.rearrange_soon()

    def give_away(self, name: str) -> Channel:
        """Let go of a channel that another server has now."""
        channel = self.channels.pop(name)
        channel.was_lost |= channel.ready.done()
        # The server ends the subscription, or has none: what it still sends is overheard.
        self._joining.pop(name, None)
        if self._connection is not None and not self._joining and not self._is_up:
            self._settle()
        return channel


def _is_last(answers: Counter[str], name: str) -> bool:
    """Take note of an answer; tell whether it is that to the last order."""
    answers[name] -= 1
    if answers[name] > 0:
        return False
    del answers[name]
    return True
