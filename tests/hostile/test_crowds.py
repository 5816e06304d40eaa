"""Many clients at once: they come, they leave, and nothing of them is left."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import (
    assert_quiet,
    assert_serving,
    census_of,
    serve_project,
    settled_census,
)
from tests.hostile.guests import Guest, leave_at_once, request_for
from tests.hostile.wire import TEXT, frame
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.processes import ServerProcess

CROWD = 1000
# Each conversation ends well within it, also when a thousand share the processor.
PATIENCE = 60.0


async def leave_in_the_handshake(guest: Guest, path: str, number: int) -> None:
    """Leave before the server can have answered."""
    await asyncio.get_running_loop().sock_connect(guest.socket, ("127.0.0.1", guest.port))
    await guest.send(request_for(path, guest.port))
    if number % 2:
        guest.leave_abruptly()


async def leave_amid_an_answer(guest: Guest, path: str, number: int) -> None:
    """Ask for an echo, and do not stay for it."""
    await guest.open(path)
    await guest.send(frame(TEXT, b"x" * 60_000) * 4)
    if number % 2:
        guest.leave_abruptly()


def visit(
    port: int, path: str, conversation: Callable[[Guest, str, int], Awaitable[None]], count: int
) -> None:
    """Let so many clients have a conversation, all at once."""

    async def visit_once(number: int) -> None:
        guest = Guest(port)
        with closing(guest.socket):
            await conversation(guest, path, number)

    async def visit_all() -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*map(visit_once, range(count)))

    asyncio.run(visit_all())


CONVERSATIONS = {
    "at once": (leave_at_once, CROWD),
    "in the handshake": (leave_in_the_handshake, 400),
    "amid an answer": (leave_amid_an_answer, 400),
}


@pytest.fixture(scope="module")
def used_server(database: Path) -> Iterator[ServerProcess]:
    """A server that has made all that it keeps: its pool of threads, its caches."""
    with serve_project(database) as server:
        for colour in ("sync", "async"):
            visit(server.port, f"/{colour}/user", leave_at_once, 100)
        yield server
        assert_quiet(server.output())


@pytest.fixture(scope="module")
def used_plain_server(database: Path) -> Iterator[ServerProcess]:
    with serve_project(database, application="plain_application") as server:
        for colour in ("sync", "async"):
            visit(server.port, f"/{colour}/user", leave_at_once, 100)
        yield server
        assert_quiet(server.output())


@pytest.mark.parametrize(
    ("conversation", "count"), CONVERSATIONS.values(), ids=CONVERSATIONS.keys()
)
def test_crowd_of_clients_that_leave_leaves_nothing_behind(
    used_server: ServerProcess,
    colour: str,
    conversation: Callable[[Guest, str, int], Awaitable[None]],
    count: int,
) -> None:
    assert_leaves_nothing(used_server, f"/{colour}/user", conversation, count)


def test_crowd_of_clients_that_leave_leaves_nothing_behind_over_plain_asgi(
    used_plain_server: ServerProcess, colour: str
) -> None:
    assert_leaves_nothing(used_plain_server, f"/{colour}/user", leave_at_once, 300)


def assert_leaves_nothing(
    server: ServerProcess,
    path: str,
    conversation: Callable[[Guest, str, int], Awaitable[None]],
    count: int,
) -> None:
    before = settled_census(server)
    visit(server.port, path, conversation, count)

    def is_as_before() -> bool:
        now = census_of(server)
        return all(now[kind] <= before[kind] for kind in now)

    try:
        wait_until(is_as_before, "everything to be let go of")
    except AssertionError as error:
        error.add_note(f"before: {before}\nnow:    {census_of(server)}")
        raise
    assert_serving(server)


def test_a_thousand_idle_async_views_behind_the_stock_middlewares_hold_no_thread(
    used_server: ServerProcess,
) -> None:
    before = settled_census(used_server)

    async def stay() -> dict[str, int]:
        guests = [Guest(used_server.port) for _ in range(CROWD)]
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(guest.open("/async/user") for guest in guests))
                await asyncio.gather(*(guest.receive_until(b"user0") for guest in guests))
            return await asyncio.to_thread(census_of, used_server)
        finally:
            for guest in guests:
                guest.socket.close()

    idle = asyncio.run(stay())
    assert idle["AsyncWebSocket"] == CROWD
    assert idle["threads"] - before["threads"] <= 16
    assert idle["databases"] - before["databases"] <= 16
    settled_census(used_server)


def test_a_hundred_async_views_behind_a_middleware_that_knows_no_async_are_all_served(
    database: Path,
) -> None:
    middleware = "tests.hostile.project.sync_only_middleware"
    with serve_project(database, PROJECT_MIDDLEWARE=middleware) as server:

        async def stay() -> None:
            guests = [Guest(server.port) for _ in range(100)]
            try:
                async with asyncio.timeout(PATIENCE / 3):
                    await asyncio.gather(*(guest.open("/async/echo") for guest in guests))
                    await asyncio.gather(*(guest.send(frame(TEXT, b"hello")) for guest in guests))
                    await asyncio.gather(*(guest.receive_until(b"hello") for guest in guests))
            finally:
                for guest in guests:
                    guest.socket.close()

        asyncio.run(stay())
        # Threads stay for a second, for the next connections.
        wait_until(lambda: census_of(server)["threads"] < 50, "the end of most threads")
