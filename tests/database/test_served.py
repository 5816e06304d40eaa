"""Views of the real server with a real PostgreSQL: how many connections they hold, and when."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import pytest

from tests.components import skip_or_fail
from tests.processes import ServerProcess, serve, wait_until
from tests.servers.clients import bounded, connect, fetch_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractContextManager

    from websockets.asyncio.client import ClientConnection

    from .postgresql import Cluster

ROOT = Path(__file__).parents[2]

both_runners = pytest.mark.parametrize("runner", ["thread", "greenlet"])

# Blocks as long as somebody holds the lock, and gives 1.
SLOW_QUERY = "SELECT 1 FROM pg_advisory_xact_lock_shared(1)"


def serve_project(
    database: dict[str, Any],
    runner: str = "thread",
    middleware: str = "querying_middleware",
    **settings: Any,
) -> AbstractContextManager[ServerProcess]:
    """Serve the project with a database; other keywords are our settings without their prefix."""
    if runner == "greenlet" and importlib.util.find_spec("greenlet") is None:
        skip_or_fail("needs greenlet")
    names = {f"WEBSOCKET_{name.upper()}": value for name, value in settings.items()}
    return serve(
        ["-m", "adwebsocket", "tests.database.project:application", "--port", "{port}"],
        cwd=ROOT,
        env={
            "PROJECT_DATABASE": json.dumps(database),
            "PROJECT_MIDDLEWARE": middleware,
            "PROJECT_SETTINGS": json.dumps({"WEBSOCKET_SYNC_RUNNER": runner, **names}),
        },
    )


async def open_clients(
    stack: AsyncExitStack, server: ServerProcess, path: str, count: int
) -> list[ClientConnection]:
    """Open clients, and close them with the stack."""
    opening = (stack.enter_async_context(connect(server, path)) for _ in range(count))
    return await asyncio.gather(*opening)


async def ask(client: ClientConnection, question: str) -> Any:
    """Let a view run a query, and return what it says."""
    await client.send(question)
    return json.loads(await client.recv())


async def ask_all(clients: Sequence[ClientConnection], question: str) -> list[Any]:
    return await asyncio.gather(*(ask(client, question) for client in clients))


async def ask_views_of_both_colours(
    stack: AsyncExitStack,
    server: ServerProcess,
    count: int,
    check: Callable[[], Awaitable[None]],
) -> None:
    """Let so many views of each colour run two queries, and ``check`` behind each."""
    for path in ("/sync/", "/async/"):
        clients = await open_clients(stack, server, path, count)
        for _ in range(2):
            assert await ask_all(clients, "SELECT 2") == [2] * count
            await check()


async def wait_for_count(cluster: Cluster, *arguments: Any) -> None:
    """Wait until an application has exactly so many connections, and serve ours meanwhile."""
    await asyncio.to_thread(cluster.wait_for_count, *arguments)


class TestQueriesAtTheSameTime:
    @pytest.mark.parametrize(
        ("path", "clients", "queries"),
        [("/sync/", 100, 100), ("/async/", 20, 8)],
        ids=["100 sync views", "8 threads of async views"],
    )
    @bounded
    async def test_slow_queries_run_side_by_side(
        self, cluster: Cluster, name: str, path: str, clients: int, queries: int
    ) -> None:
        """None of them could be run behind another: all wait for one lock."""
        async with AsyncExitStack() as stack:
            server = stack.enter_context(serve_project(cluster.database(name), async_threads=8))
            connected = await open_clients(stack, server, path, clients)
            with cluster.connect() as connection:
                connection.execute("SELECT pg_advisory_lock(1)")
                answers = asyncio.create_task(ask_all(connected, SLOW_QUERY))
                await wait_for_count(cluster, name, queries, "active")
            assert await answers == [1] * clients


class TestParkedViews:
    @both_runners
    @bounded
    async def test_1000_hold_no_connection_and_all_work_again(
        self, cluster: Cluster, name: str, runner: str
    ) -> None:
        async with AsyncExitStack() as stack:
            server = stack.enter_context(
                serve_project(cluster.database(name), runner, db_idle_seconds=0.1)
            )
            clients = []
            for _ in range(10):
                clients += await open_clients(stack, server, "/sync/", 100)
                # Each of them has asked by now, in the middleware.
                await wait_for_count(cluster, name, 0)
            assert await ask_all(clients[::10], "SELECT 2") == [2] * 100
            await wait_for_count(cluster, name, 0)

    @both_runners
    @bounded
    async def test_views_of_both_colours_close_what_might_live_for_ever(
        self, cluster: Cluster, name: str, runner: str
    ) -> None:
        database = cluster.database(name, CONN_MAX_AGE=None)
        async with AsyncExitStack() as stack:
            server = stack.enter_context(serve_project(database, runner, db_idle_seconds=0.1))
            await ask_views_of_both_colours(
                stack, server, 10, lambda: wait_for_count(cluster, name, 0)
            )

    @both_runners
    @bounded
    async def test_nothing_is_open_when_all_have_left(
        self, cluster: Cluster, name: str, runner: str
    ) -> None:
        database = cluster.database(name, CONN_MAX_AGE=None)
        with serve_project(database, runner, db_idle_seconds=0.1) as server:
            for path in ("/sync/", "/async/"):
                async with connect(server, path) as client:
                    assert await ask(client, "SELECT 2") == 2
                await wait_for_count(cluster, name, 0)

    @both_runners
    @pytest.mark.parametrize(
        ("rules", "idle"),
        [
            ({}, 0.1),
            ({"CONN_MAX_AGE": None}, 0.1),
            ({"CONN_HEALTH_CHECKS": True}, None),
            ({"CONN_HEALTH_CHECKS": True, "CONN_MAX_AGE": None}, None),
        ],
        ids=["closed", "closed, for ever", "checked", "checked, for ever"],
    )
    @bounded
    async def test_view_outlives_the_patience_of_the_server(
        self, cluster: Cluster, name: str, runner: str, rules: dict[str, Any], idle: float | None
    ) -> None:
        options = {"options": "-c idle_session_timeout=300ms"}
        database = cluster.database(name, OPTIONS=options, **rules)
        async with AsyncExitStack() as stack:
            server = stack.enter_context(serve_project(database, runner, db_idle_seconds=idle))
            (client,) = await open_clients(stack, server, "/sync/", 1)
            for _ in range(2):
                assert await ask(client, "SELECT 2") == 2
                await wait_for_count(cluster, name, 0)
            assert await ask(client, "SELECT 2") == 2
            assert "Traceback" not in server.output()

    @both_runners
    @bounded
    async def test_pool_is_enough_for_many_more_views(
        self, cluster: Cluster, name: str, runner: str
    ) -> None:
        if django.VERSION < (5, 1):
            pytest.skip("needs Django 5.1")
        database = cluster.database(name, OPTIONS={"pool": {"min_size": 1, "max_size": 4}})

        async def check() -> None:
            assert cluster.count(name) <= 4

        async with AsyncExitStack() as stack:
            server = stack.enter_context(serve_project(database, runner))
            await ask_views_of_both_colours(stack, server, 40, check)

    @both_runners
    @bounded
    async def test_async_views_behind_sync_middleware_hold_neither_connection_nor_worker(
        self, cluster: Cluster, name: str, runner: str
    ) -> None:
        async with AsyncExitStack() as stack:
            server = stack.enter_context(
                serve_project(
                    cluster.database(name),
                    runner,
                    middleware="sync_only_middleware,querying_middleware",
                    db_idle_seconds=0.1,
                    greenlet_workers=1,
                )
            )
            clients = await open_clients(stack, server, "/async/", 5)
            await wait_for_count(cluster, name, 0)
            assert await ask_all(clients, "SELECT 2") == [2] * 5

    @both_runners
    @bounded
    async def test_sqlite_files_are_closed(self, tmp_path: Path, runner: str) -> None:
        file = tmp_path / "db.sqlite3"
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file)}

        def count(server: ServerProcess) -> int:
            links = Path(f"/proc/{server.process.pid}/fd").glob("*")
            return sum(os.path.realpath(link) == str(file) for link in links)

        async def check() -> None:
            await asyncio.to_thread(wait_until, lambda: count(server) == 0, "the file to be closed")

        async with AsyncExitStack() as stack:
            server = stack.enter_context(serve_project(database, runner, db_idle_seconds=0.1))
            await ask_views_of_both_colours(stack, server, 10, check)


class TestTransactions:
    @both_runners
    @bounded
    async def test_each_view_keeps_its_own_and_is_reported_once(
        self, cluster: Cluster, name: str, runner: str
    ) -> None:
        async with AsyncExitStack() as stack:
            server = stack.enter_context(
                serve_project(cluster.database(name), runner, db_idle_seconds=0, greenlet_workers=1)
            )
            clients = await open_clients(stack, server, "/transaction/", 3)
            (bystander,) = await open_clients(stack, server, "/sync/", 1)
            numbers = await ask_all(clients, "SELECT txid_current()")
            assert len(set(numbers)) == 3
            await wait_for_count(cluster, name, 3, "idle in transaction")
            assert await ask(bystander, "SELECT txid_current()") not in numbers
            assert await ask_all(clients, "SELECT txid_current()") == numbers
            for client in clients:
                await client.close()
            await wait_for_count(cluster, name, 0)
            output = server.output()
            assert output.count("inside atomic(), at ") == 1
            line = int(re.findall(r"inside atomic\(\), at \S+/project.py:(\d+)\.", output)[0])
        source = (Path(__file__).parent / "project.py").read_text().splitlines()
        assert source[line - 1].strip() == "for question in request.websocket:"


class TestStatistics:
    @both_runners
    @bounded
    async def test_tell_who_holds_connections_and_how_many_a_pool_has(
        self, cluster: Cluster, name: str, runner: str
    ) -> None:
        if django.VERSION < (5, 1):
            pytest.skip("needs Django 5.1")
        database = cluster.database(name, OPTIONS={"pool": {"min_size": 1, "max_size": 4}})
        async with AsyncExitStack() as stack:
            server = stack.enter_context(serve_project(database, runner))
            clients = await open_clients(stack, server, "/transaction/", 2)
            assert await ask_all(clients, "SELECT 2") == [2] * 2
            figures = (await fetch_json(server, "/stats/"))["database"]
            assert figures["held"][f"{runner}s"] == 2
            # The page has asked the database as well.
            assert 2 <= figures["pools"]["default"]["in_use"] <= 3
            assert 2 <= figures["pools"]["default"]["open"] <= 4


class TestLeavingViews:
    @both_runners
    @bounded
    async def test_next_one_finds_nothing_of_them(
        self, cluster: Cluster, name: str, runner: str
    ) -> None:
        database = cluster.database(name, CONN_MAX_AGE=None)
        states = ["atomic", "autocommit", "wrapper", "broken", "cursor", "closed"]
        async with AsyncExitStack() as stack:
            server = stack.enter_context(
                serve_project(database, runner, db_idle_seconds=0.1, greenlet_workers=1)
            )
            for state in states:
                async with connect(server, f"/leaving/{state}/") as client:
                    await client.wait_closed()
                assert client.close_code == (1011 if state == "broken" else 1000), state
                async with connect(server, "/state/") as client:
                    assert json.loads(await client.recv()) == [False, True, 0], state
            (client,) = await open_clients(stack, server, "/sync/", 1)
            await wait_for_count(cluster, name, 0)
