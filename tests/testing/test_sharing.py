"""Connections that all threads share: for how long, and what nobody can do to them meanwhile."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import close_old_connections, connections, transaction

from adwebsocket.connection_state import is_shared
from adwebsocket.testing.sharing import Share, connections_to_share
from tests.database.threads import in_own_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.database.conftest import Database

ResultT = TypeVar("ResultT")


def in_thread(function: Callable[[], ResultT]) -> ResultT:
    """Call a function in another thread, and close what it has opened there."""
    results = []

    def run() -> None:
        results.append(function())
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return results[0]


@in_own_thread
def test_other_threads_see_a_connection_as_long_as_it_is_shared(database: Database) -> None:
    number = database.query()
    assert in_thread(database.query) != number
    first, second = Share([database.connection]), Share([database.connection])
    assert is_shared(database.connection)
    assert in_thread(database.query) == number
    first.end()
    assert in_thread(database.query) == number
    second.end()
    assert in_thread(database.query) != number
    assert not is_shared(database.connection)


@in_own_thread
def test_nobody_closes_a_shared_connection(database: Database) -> None:
    with transaction.atomic(database.alias):
        number = database.query()
        share = Share([database.connection])
        in_thread(close_old_connections)
        in_thread(lambda: database.connection.close())
        assert database.query() == number
        share.end()
    database.connection.close()
    assert not database.is_open()


@in_own_thread
def test_what_threads_set_for_a_shared_connection_is_ignored(database: Database) -> None:
    database.query()
    mine = database.connection
    share = Share([mine])

    def replace() -> Any:
        connections[database.alias] = connections.create_connection(database.alias)
        del connections[database.alias]
        return connections[database.alias]

    assert in_thread(replace) is mine
    share.end()


@in_own_thread
def test_second_connection_to_the_same_database_is_not_shared(database: Database) -> None:
    mine = database.connection
    other = connections.create_connection(database.alias)
    share, late = Share([mine]), Share([other])
    assert late.connections == []
    assert not is_shared(other)
    late.end()
    assert connections[database.alias] is mine
    share.end()


@in_own_thread
def test_connections_in_a_transaction_or_in_memory_are_to_be_shared(database: Database) -> None:
    database.query()
    assert database.connection not in connections_to_share()
    with transaction.atomic(database.alias):
        assert database.connection in connections_to_share()
