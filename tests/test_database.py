"""Database connections of views that last: whose they are, and when they are closed."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.test import override_settings
from django.urls import path

from adwebsocket import require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.conf import get_settings
from adwebsocket.database import AsyncViewPool
from tests.connections import DEADLINE, WebSocketConversation, on_event_loop
from tests.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("database")

POOL_THREADS = "websocket-async-view"


class Meeting:
    """Several threads that query, and none that goes before all have come.

    Attributes:
        threads: the names of the threads.
        links: the database connections, the driver's own.
    """

    def __init__(self, parties: int) -> None:
        self.threads: set[str] = set()
        self.links: list[sqlite3.Connection] = []
        self._barrier = threading.Barrier(parties)

    def query(self) -> int:
        count = User.objects.count()
        self.threads.add(threading.current_thread().name)
        assert isinstance(connection.connection, sqlite3.Connection)
        self.links.append(connection.connection)
        self._barrier.wait(DEADLINE)
        return count


meeting = Meeting(1)


@require_websocket
def sync_view(request: Any) -> None:
    meeting.query()
    request.websocket.send_json(connection.in_atomic_block)
    request.websocket.wait()


@require_websocket
async def async_view(request: Any) -> None:
    await sync_to_async(meeting.query)()
    await request.websocket.send_json(await sync_to_async(lambda: connection.in_atomic_block)())
    await request.websocket.wait()


@require_websocket
async def async_orm_view(request: Any) -> None:
    await request.websocket.send_json(await User.objects.acount())


urlpatterns = [
    path("sync/", sync_view),
    path("async/", async_view),
    path("orm/", async_orm_view),
]


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Meeting]:
    """Make the meeting to which the views of this test go."""

    def make(parties: int) -> Meeting:
        made = Meeting(parties)
        monkeypatch.setitem(globals(), "meeting", made)
        return made

    return make


def set_option(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Change a setting of the database; all connections share one dictionary of them."""
    monkeypatch.setitem(connections["default"].settings_dict, name, value)


def fail_to_execute(execute: object, *arguments: object) -> None:
    raise AssertionError("the wrapper of another job")


def is_open(link: sqlite3.Connection) -> bool:
    try:
        link.execute("select 1")
    except sqlite3.ProgrammingError:  # Django lets connections be used in any thread
        return False
    return True


async def connect_and_leave(path: str, count: int) -> list[str | bytes]:
    """Open so many connections at once, and return what each says first."""
    application = ASGIApplication()
    peers = [WebSocketConversation(application, path) for _ in range(count)]
    for peer in peers:
        await peer.__aenter__()
    said = []
    for peer in peers:
        await peer.accepted()
        said.append(await peer.message())
    for peer in peers:
        peer.disconnect()
        await peer.finished()
    return said


class TestSyncViews:
    @pytest.mark.usefixtures("thread_runner")
    @on_event_loop
    async def test_each_has_a_connection_of_its_own_that_is_closed_at_the_end(
        self, meet: Callable[[int], Meeting]
    ) -> None:
        seen = meet(3)
        assert len(await connect_and_leave("/sync/", 3)) == 3
        assert len(seen.threads) == 3
        assert len(set(map(id, seen.links))) == 3
        assert not any(is_open(link) for link in seen.links)

    @pytest.mark.usefixtures("thread_runner")
    @on_event_loop
    async def test_connection_is_closed_even_where_it_might_be_kept(
        self, meet: Callable[[int], Meeting], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The thread ends, and nobody else could use it."""
        set_option(monkeypatch, "CONN_MAX_AGE", None)
        seen = meet(1)
        await connect_and_leave("/sync/", 1)
        assert not is_open(seen.links[0])


class TestAsyncViews:
    @on_event_loop
    async def test_queries_run_side_by_side(self, meet: Callable[[int], Meeting]) -> None:
        parties = get_settings().async_threads
        seen = meet(parties)
        await connect_and_leave("/async/", parties)
        assert len(seen.threads) == parties
        assert all(name.startswith(POOL_THREADS) for name in seen.threads)

    @on_event_loop
    async def test_more_views_than_threads_take_turns(self, meet: Callable[[int], Meeting]) -> None:
        seen = meet(1)
        count = 4 * get_settings().async_threads
        assert len(await connect_and_leave("/async/", count)) == count
        assert len(seen.threads) <= get_settings().async_threads
        assert all(name.startswith(POOL_THREADS) for name in seen.threads)

    @on_event_loop
    async def test_djangos_async_queries_work(self) -> None:
        assert await connect_and_leave("/orm/", 1) == [str(await User.objects.acount())]

    @on_event_loop
    async def test_connection_is_closed_behind_the_query(
        self, meet: Callable[[int], Meeting]
    ) -> None:
        seen = meet(1)
        async with WebSocketConversation(ASGIApplication(), "/async/") as peer:
            await peer.accepted()
            await peer.message()
            assert not is_open(seen.links[0])


class TestTransactions:
    @pytest.mark.parametrize("colour", ["sync", "async"])
    @on_event_loop
    async def test_atomic_requests_opens_none_for_a_websocket(
        self, colour: str, meet: Callable[[int], Meeting], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_option(monkeypatch, "ATOMIC_REQUESTS", True)
        meet(1)
        assert await connect_and_leave(f"/{colour}/", 1) == ["false"]


class TestPool:
    def test_connection_is_closed_behind_a_job(self) -> None:
        seen = Meeting(1)
        with AsyncViewPool(1) as pool:
            pool.submit(seen.query).result(DEADLINE)
            assert not is_open(seen.links[0])

    def test_connection_is_closed_behind_a_job_that_fails(self) -> None:
        seen = Meeting(1)

        def fail() -> None:
            seen.query()
            raise ValueError("after the query")

        with AsyncViewPool(1) as pool:
            assert isinstance(pool.submit(fail).exception(DEADLINE), ValueError)
            assert not is_open(seen.links[0])

    def test_connection_that_may_be_kept_serves_the_next_job(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_option(monkeypatch, "CONN_MAX_AGE", None)
        seen = Meeting(1)
        with AsyncViewPool(1) as pool:
            for _ in range(2):
                pool.submit(seen.query).result(DEADLINE)
            assert seen.links[0] is seen.links[1]
            assert is_open(seen.links[0])
            pool.submit(connections.close_all).result(DEADLINE)
        assert not is_open(seen.links[0])

    def test_connection_that_is_too_old_is_closed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_option(monkeypatch, "CONN_MAX_AGE", 3600)
        seen = Meeting(1)

        def grow_old() -> None:
            connection.close_at = 0

        with AsyncViewPool(1) as pool:
            pool.submit(seen.query).result(DEADLINE)
            assert is_open(seen.links[0])
            pool.submit(grow_old).result(DEADLINE)
            assert not is_open(seen.links[0])

    def test_connection_that_may_be_kept_is_closed_when_nothing_is_done(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_option(monkeypatch, "CONN_MAX_AGE", None)
        seen = Meeting(1)
        with override_settings(WEBSOCKET_DB_IDLE_SECONDS=0.1), AsyncViewPool(1) as pool:
            pool.submit(seen.query).result(DEADLINE)
            wait_until(lambda: not is_open(seen.links[0]), "the connection to be closed")
            pool.submit(seen.query).result(DEADLINE)
            assert is_open(seen.links[1])
            pool.submit(connections.close_all).result(DEADLINE)

    @pytest.mark.parametrize(
        "leave",
        [
            lambda: transaction.atomic().__enter__(),
            lambda: transaction.set_autocommit(False),
            lambda: connection.execute_wrappers.append(fail_to_execute),
        ],
        ids=["atomic", "autocommit", "wrapper"],
    )
    def test_job_finds_nothing_of_the_one_before(
        self, leave: Callable[[], object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_option(monkeypatch, "CONN_MAX_AGE", None)
        seen = Meeting(1)

        def query_and_leave() -> None:
            seen.query()
            leave()

        with AsyncViewPool(1) as pool:
            pool.submit(query_and_leave).result(DEADLINE)
            assert not is_open(seen.links[0])
            pool.submit(seen.query).result(DEADLINE)
            pool.submit(connections.close_all).result(DEADLINE)

    def test_arguments_and_results_pass(self) -> None:
        with AsyncViewPool(1) as pool:
            assert pool.submit(int, "12", base=8).result(DEADLINE) == 10

    def test_threads_are_bounded(self) -> None:
        entered = threading.Semaphore(0)
        go_on = threading.Event()

        def work() -> int:
            entered.release()
            assert go_on.wait(DEADLINE)
            return threading.get_ident()

        with AsyncViewPool(2) as pool:
            jobs = [pool.submit(work) for _ in range(5)]
            for _ in range(2):
                assert entered.acquire(timeout=DEADLINE)
            assert not entered.acquire(blocking=False)
            go_on.set()
            assert len({job.result(DEADLINE) for job in jobs}) == 2
