"""Which server has what: always the same, the one that Sentinels name, or by slots of a Cluster.

Asked by the client for each command, and by subscribers when they connect.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from redis.crc import key_slot

from .errors import Unreachable, check, read_redirection
from .servers import Server
from .settings import Address

if TYPE_CHECKING:
    from .settings import RedisSettings

# Seconds between two questions: a server that has gone is noticed by many threads at once.
_PAUSE: Final = 0.05
# Seconds in which nobody is asked after all have failed to answer.
_REST: Final = 0.5


def find_locator(settings: RedisSettings) -> Locator:
    """Give what fits the settings."""
    if settings.is_cluster:
        return ClusterLocator(settings)
    return SentinelLocator(settings) if settings.sentinel else Locator(settings)


class Locator:
    """There is one server. From any thread, as the other locators.

    A shard is what has its own subscriber connection; where there is only one, it is "".

    Attributes:
        has_choice: whether another server may have what one had before.
        is_sharded: whether several servers have something each.
    """

    has_choice = False
    is_sharded = False

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings

    def find(self, key: str) -> Address:
        """Give the server that has a key.

        Raises:
            Unreachable: nobody could tell.
        """
        return self.find_shard(self.shard_of(key))

    def shard_of(self, key: str) -> Address | str:
        """Name the shard of a key as far as it is known, without asking anybody."""
        return ""

    def find_shard(self, shard: Address | str) -> Address:
        """Give the server of a shard; raises as ``find``."""
        return self._settings.addresses[0]

    def forget(self) -> None:
        """Ask again next time, for it was wrong."""

    def refresh(self) -> None:
        """Ask now; raises as ``find``."""

    def note_move(self, error: BaseException, asked: Address) -> int:
        """Take note of what a server has said that does not have a slot; give the slot."""
        raise Unreachable(f"{asked} belongs to a Cluster: set the option cluster", was_sent=False)

    def close(self) -> None:
        """Close what asking has opened."""


class AskingLocator(Locator, ABC):
    """It depends, and one of several servers can tell."""

    has_choice = True

    def __init__(self, settings: RedisSettings) -> None:
        super().__init__(settings)
        self._lock = threading.Lock()
        self._advisers: list[Server] = [self._make(address) for address in settings.addresses]
        self._is_known = False
        self._has_asked = False
        self._failure = Unreachable("nobody has been asked", was_sent=False)
        self._failed_at = self._asked_at = float("-inf")

    def forget(self) -> None:
        """Ask again next time."""
        self._is_known = False

    def refresh(self) -> None:
        """Ask now."""
        with self._lock:
            self._ask_one()

    def close(self) -> None:
        """Close the connections to those who can tell."""
        for adviser in self._advisers:
            adviser.close()

    def _learn(self) -> None:
        """Ask, unless another thread has just done so."""
        if self._is_known:
            return
        with self._lock:
            if self._is_known:
                return
            try:
                self._ask_one()
            except Unreachable:
                # What was true before may be so again, and is checked by whoever uses it.
                if not self._has_asked:
                    raise

    def _ask_one(self) -> None:
        now = time.monotonic()
        if now < self._failed_at + _REST:
            raise self._failure
        time.sleep(max(0.0, self._asked_at + _PAUSE - now))
        failure = None
        for adviser in list(self._advisers):
            try:
                self._ask(adviser)
            except Unreachable as error:
                failure = failure or error
                continue
            # Who has answered comes first next time.
            self._advisers.sort(key=lambda each: each is not adviser)
            self._is_known = self._has_asked = True
            self._asked_at = time.monotonic()
            return
        self._failed_at = time.monotonic()
        self._failure = failure or self._failure
        raise self._failure

    @abstractmethod
    def _make(self, address: Address) -> Server:
        """Make one that can tell."""

    @abstractmethod
    def _ask(self, adviser: Server) -> None:
        """Ask one of them; raises ``Unreachable``."""


class SentinelLocator(AskingLocator):
    """Sentinels know which server is the primary."""

    _address: Address

    def find_shard(self, shard: Address | str) -> Address:
        """Give the primary."""
        self._learn()
        return self._address

    def _make(self, address: Address) -> Server:
        return Server(self._settings, address, asks_sentinel=True)

    def _ask(self, adviser: Server) -> None:
        name = self._settings.sentinel
        (reply,) = adviser.talk([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)])
        if check(reply) is None:
            text = f"the Sentinel {adviser.address} knows no servers named {name!r}"
            raise Unreachable(text, was_sent=False)
        self._address = Address(reply[0].decode(), int(reply[1]))


class ClusterLocator(AskingLocator):
    """Each server of a Cluster has some of the slots."""

    is_sharded = True

    def __init__(self, settings: RedisSettings) -> None:
        super().__init__(settings)
        # First and last slot of each range with its server, in order.
        self._ranges: list[tuple[int, int, Address]] = []
        # What servers have said since the ranges were read.
        self._moved: dict[int, Address] = {}

    def find(self, key: str) -> Address:
        """Give the server that has the slot of a key."""
        self._learn()
        shard = self.shard_of(key)
        if isinstance(shard, str):
            self.forget()
            text = f"no server of the Cluster has the slot of {key!r}"
            raise Unreachable(text, was_sent=False)
        return shard

    def shard_of(self, key: str) -> Address | str:
        """Give the server that has the slot of a key, as far as is known, "" if it is not."""
        slot = key_slot(key.encode())
        if slot in self._moved:
            return self._moved[slot]
        for first, last, address in self._ranges:
            if first <= slot <= last:
                return address
        return ""

    def find_shard(self, shard: Address | str) -> Address:
        """Give the server."""
        if isinstance(shard, Address):
            return shard
        raise Unreachable("no server of the Cluster has its slot", was_sent=False)

    def note_move(self, error: BaseException, asked: Address) -> int:
        """Take the word of a server that knows who has a slot."""
        slot = int(str(error).removeprefix("MOVED ").partition(" ")[0])
        self._moved[slot] = read_redirection(error, asked)
        return slot

    def _make(self, address: Address) -> Server:
        return Server(self._settings, address)

    def _ask(self, adviser: Server) -> None:
        (reply,) = adviser.talk([("CLUSTER", "SLOTS")])
        ranges = []
        for first, last, node, *_ in check(reply):
            # A server that does not know its own name has none.
            host = (node[0] or b"").decode() or adviser.address.host
            ranges.append((int(first), int(last), Address(host, int(node[1]))))
        if not ranges:
            text = f"{adviser.address} has joined no Cluster yet"
            raise Unreachable(text, was_sent=False)
        self._ranges = ranges
        self._moved = {}
        found = {*self._settings.addresses, *(address for _, _, address in ranges)}
        gone = [each for each in self._advisers if each.address not in found]
        known = {each.address for each in self._advisers}
        self._advisers = [each for each in self._advisers if each.address in found]
        self._advisers += [self._make(address) for address in sorted(found - known)]
        for each in gone:
            each.close()
