"""The clients of the soak: members that come and go in several ways, and one publisher.

``benchmarks/groups_soak.py`` runs them on an event loop. It must not know for how long, nor what
happens to Redis meanwhile; what a member should have got is known to its ledger.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from benchmarks import BenchmarkError
from benchmarks.catalogue import HOST
from benchmarks.groups_ledger import Ledger, Published

AGAIN_SECONDS = 0.2
SETTLING_SECONDS = 0.05
WAYS_TO_GO = ("close", "vanish", "leave")


class Member:
    """A client that joins, stays for a while, goes, and comes back.

    Half of the times that it comes back it says where it was, and wants what it has missed.

    Attributes:
        ledger: what it got, and should have got.
        is_in: it has been told that it is in the group.
        joins: how often it was.
        failures: how often it was not let in or was cut, by reason.
    """

    def __init__(self, crowd: "Crowd", number: int) -> None:
        self.ledger = Ledger(crowd.published)
        self.is_in = False
        self.joins = 0
        self.failures: Counter[str] = Counter()
        self._crowd = crowd
        self._path = f"/member?name={number}"
        self._position = ""

    async def live(self) -> None:
        """Come and go until cancelled."""
        while True:
            port = random.choice(self._crowd.ports)
            try:
                async with connect(f"ws://{HOST}:{port}{self._path}", **OPTIONS) as connection:
                    while await self._stay(connection):
                        pass
            except ConnectionClosed as error:
                close = error.rcvd
                self.failures[f"{close.code} {close.reason}" if close else "1006"] += 1
            except (OSError, WebSocketException) as error:
                self.failures[type(error).__name__] += 1
            self.is_in = False
            await asyncio.sleep(random.random() * AGAIN_SECONDS)

    async def _stay(self, connection: ClientConnection) -> bool:
        """Be in the group once; tell whether the connection may be used again."""
        await connection.send(self._position if random.random() < 0.5 else "")
        end = asyncio.get_running_loop().time() + random.expovariate(1 / self._crowd.stay)
        while True:
            try:
                async with asyncio.timeout_at(end):
                    while True:
                        self._take(await connection.recv())
            except TimeoutError:
                if not self._crowd.is_settling:
                    break
                end += AGAIN_SECONDS
        way = random.choice(WAYS_TO_GO)
        self.is_in = False
        if way == "leave":
            await connection.send("leave")
            while (words := await connection.recv()) != "left":
                self._take(words)
        elif way == "vanish":
            connection.transport.abort()
        return way == "leave"

    def _take(self, words: str | bytes) -> None:
        fields = json.loads(words)
        if fields.get("position"):
            self._position = fields["position"]
        if "message" in fields:
            self.ledger.receive(int(fields["message"]))
        elif "recovered" in fields:
            self.ledger.join(fields["recovered"])
            self.is_in = True
            self.joins += 1
        elif "gap" in fields:
            self.ledger.tell_of_gap()
        else:
            raise BenchmarkError(f"a member was told {words!r}")


class Crowd:
    """All members, and the publisher.

    Arguments:
        ports: of the servers, of which each member takes another one each time. The publisher stays
            with the first.
        size: how many members there are.
        stay: seconds that they stay each time, on average.
        rate: messages a second.

    Attributes:
        published: what was sent so far.
        is_settling: nobody goes any more.
    """

    def __init__(self, ports: Sequence[int], size: int, stay: float, rate: float) -> None:
        self.ports = ports
        self.stay = stay
        self.rate = rate
        self.published = Published()
        self.members = [Member(self, number) for number in range(size)]
        self.is_settling = False

    async def run(self, seconds: float, patience: float) -> None:
        """Come and go for so long, then wait until everybody has everything, and go.

        Raises:
            BenchmarkError: somebody could not come back within ``patience`` seconds, or was told
                what makes no sense.
        """
        self.is_settling = False
        for member in self.members:
            member.is_in = False
        members = [asyncio.create_task(member.live()) for member in self.members]
        publisher = asyncio.create_task(self._publish())
        try:
            await asyncio.wait(
                [*members, publisher], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            self.is_settling = True
            await _end([publisher])
            await self._settle(patience)
        finally:
            await _end(members)

    async def _settle(self, patience: float) -> None:
        end = time.monotonic() + patience
        while any(not each.is_in or each.ledger.lacks for each in self.members):
            if time.monotonic() > end:
                break
            await asyncio.sleep(SETTLING_SECONDS)
        for each in self.members:
            each.ledger.settle()
        if absent := sum(not each.is_in for each in self.members):
            raise BenchmarkError(f"{absent} members could not come back within {patience:g} s")

    async def _publish(self) -> None:
        published = self.published
        async with connect(f"ws://{HOST}:{self.ports[0]}/publisher", **OPTIONS) as connection:
            while True:
                await asyncio.sleep(1 / self.rate)
                published.newest += 1
                # Until it is known that it went out.
                published.refused.add(published.newest)
                await connection.send(str(published.newest))
                if await connection.recv() == "sent":
                    published.refused.discard(published.newest)


# Servers ping; a client that pings as well would close a connection that is merely slow.
OPTIONS = {"compression": None, "ping_interval": None}


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks, and raise what has ended one of them before."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, (OSError, WebSocketException)):
            raise BenchmarkError(f"the publisher was cut: {result!r}")
        if isinstance(result, Exception):
            raise result
