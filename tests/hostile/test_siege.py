"""All kinds of hostile peers at once: others are served meanwhile, and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import (
    assert_quiet,
    census_of,
    serve_project,
    settled_census,
    settled_megabytes_of,
)
from tests.hostile.guests import Guest, leave_at_once, request_for
from tests.hostile.wire import PING, TEXT, frame
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from pathlib import Path

    from tests.processes import ServerProcess

# Far more than a siege takes where others use the processor, too.
PATIENCE = 120.0
# Peers of each kind: 100 of them do not read while views send to them.
SIZE = 100


class Siege:
    """A crowd of hostile peers, for the length of an ``async with`` block.

    Arguments:
        port: where the server listens.
        size: how many peers there are of each kind.
    """

    def __init__(self, port: int, size: int) -> None:
        self._port = port
        self._size = size
        self._guests: list[Guest] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._storms = 0

    async def __aenter__(self) -> Siege:
        await self._invite(self._half_open, self._size)
        await self._invite(self._never_read, self._size)
        await self._invite(self._never_read_a_hundred_senders, 2)
        pinging = await self._invite(self._open_for_pings, max(self._size // 10, 2))
        loitering = await self._invite(self._begin_handshake, self._size)
        self._start(self._drip(loitering))
        for guest in pinging:
            self._start(guest.send(frame(PING, b"are you there?") * 10_000))
        for _ in range(10):
            self._start(self._storm())
        return self

    async def __aexit__(self, *_: object) -> None:
        failed = [task for task in self._tasks if task.done()]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for number, guest in enumerate(self._guests):
            if number % 2:
                guest.leave_abruptly()
            guest.socket.close()
        for task in failed:
            task.result()

    async def _invite(
        self, begin: Callable[[Guest, str], Awaitable[None]], count: int
    ) -> list[Guest]:
        """Let so many peers begin, each with a view of the other colour than the one before."""
        guests = [Guest(self._port, receive_buffer=4096) for _ in range(count)]
        self._guests += guests
        colours = [("sync", "async")[number % 2] for number in range(count)]
        await asyncio.gather(*map(begin, guests, colours))
        return guests

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _half_open(self, guest: Guest, colour: str) -> None:
        await guest.open(f"/{colour}/watch/siege")
        await guest.send(frame(TEXT, b"half a message")[:9])

    async def _never_read(self, guest: Guest, colour: str) -> None:
        await guest.open(f"/{colour}/flood/siege/1/1000/20000")

    async def _never_read_a_hundred_senders(self, guest: Guest, colour: str) -> None:
        await guest.open(f"/{colour}/flood/siege/100/1000/20000")

    async def _open_for_pings(self, guest: Guest, colour: str) -> None:
        await guest.open(f"/{colour}/watch/siege")

    async def _begin_handshake(self, guest: Guest, colour: str) -> None:
        await guest.connect()
        await guest.send(request_for(f"/{colour}/echo", self._port).removesuffix(b"\r\n"))

    async def _drip(self, guests: list[Guest]) -> None:
        """Go on with each handshake, a little at a time, and never end it."""
        number = 0
        while True:
            for guest in guests:
                # The server may lose its patience with them.
                with contextlib.suppress(OSError):
                    await guest.send(f"X-{number}: y\r\n".encode())
                await asyncio.sleep(0.002)
            number += 1

    async def _storm(self) -> None:
        """Come and go, without end."""
        while True:
            self._storms += 1
            guest = Guest(self._port)
            with contextlib.closing(guest.socket):
                colour = ("sync", "async")[self._storms // 4 % 2]
                await leave_at_once(guest, f"/{colour}/user", self._storms)


async def talk(guest: Guest, count: int) -> None:
    """Send so many messages, one when the echo of the one before has come."""
    for number in range(count):
        message = b"message %d." % number
        await guest.send(frame(TEXT, message))
        assert await guest.receive_until(message) == bytes((0x81, len(message)))


def besiege(port: int, size: int, messages: int) -> None:
    """Besiege the server for as long as ten others need to have their messages echoed."""

    async def others_talk() -> None:
        guests = [Guest(port) for _ in range(10)]
        try:
            for number, guest in enumerate(guests):
                await guest.open(("/sync/echo", "/async/echo")[number % 2])
            before = asyncio.gather(*(talk(guest, 5) for guest in guests))
            async with Siege(port, size):
                await before
                await asyncio.gather(*(talk(guest, messages) for guest in guests))
                # One that comes now is served like those that were there.
                late = Guest(port)
                guests.append(late)
                await late.open("/async/echo")
                await talk(late, messages)
        finally:
            for guest in guests:
                guest.socket.close()

    async def within_limits() -> None:
        async with asyncio.timeout(PATIENCE):
            await others_talk()

    asyncio.run(within_limits())


@pytest.fixture
def fresh_server(database: Path) -> Iterator[ServerProcess]:
    """A server for one test, so that no other one has grown its memory."""
    with serve_project(database) as server:
        yield server
        assert_quiet(server.output())


def test_others_are_served_during_a_siege_and_nothing_stays_behind(
    fresh_server: ServerProcess,
) -> None:
    # One before that counts, so that what is made once has been made: threads of pools, caches,
    # and the allocator's share of what so many views need at their peak.
    besiege(fresh_server.port, SIZE, 100)
    before = settled_census(fresh_server)
    megabytes = settled_megabytes_of(fresh_server)

    besiege(fresh_server.port, SIZE, 100)

    def is_as_before() -> bool:
        now = census_of(fresh_server)
        return all(now[kind] <= before[kind] for kind in now)

    wait_until(is_as_before, "everything to be let go of")
    wait_until(
        lambda: settled_megabytes_of(fresh_server) <= 1.1 * megabytes,
        f"the memory to be near {megabytes:.0f} MB again",
    )
