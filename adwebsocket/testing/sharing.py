"""The database connections of a test, for whatever thread its views run in.

A view sees what its test has written, and the other way round, because both use one connection: the
one with the test's transaction in it, or the one to a database in memory. Clients and live servers
share connections here; nothing here knows what a WebSocket is.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from django.db import connections

from ..connection_state import is_shared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.backends.base.base import BaseDatabaseWrapper


class _Storage:
    """Stand where Django keeps the connections of each thread, and give shared ones to all.

    In place of assigning them in each thread: those of runners and pools outlive the test, and a
    view may start some of its own.
    """

    def __init__(self, own: Any) -> None:
        # Past our own __setattr__, which means the attributes of the real storage.
        self.__dict__["_own"] = own

    def __getattr__(self, alias: str) -> Any:
        entry = _shared.get(alias)
        return getattr(self._own, alias) if entry is None else entry.connection

    def __setattr__(self, alias: str, connection: Any) -> None:
        if alias not in _shared:
            setattr(self._own, alias, connection)

    def __delattr__(self, alias: str) -> None:
        if alias not in _shared:
            delattr(self._own, alias)


class _Entry:
    """A shared connection, and how often it is."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.count = 0


# Whose ``_connections`` has been there since Django 3.2.
_handler: Any = connections
_lock: Final = threading.Lock()
_shared: Final[dict[str, _Entry]] = {}


class Share:
    """Let all threads use some connections, until ``end``; several shares may overlap.

    Arguments:
        candidates: the connections. Where another one of the same database is shared already, that
            one stays.
    """

    def __init__(self, candidates: Iterable[BaseDatabaseWrapper]) -> None:
        self.connections: list[BaseDatabaseWrapper] = []
        with _lock:
            for connection in candidates:
                entry = _shared.setdefault(connection.alias, _Entry(connection))
                if entry.connection is connection:
                    if not entry.count:
                        _keep_open(connection)
                    entry.count += 1
                    connection.inc_thread_sharing()
                    self.connections.append(connection)
            storage = _handler._connections
            if _shared and not isinstance(storage, _Storage):
                _handler._connections = _Storage(storage)

    def end(self) -> None:
        """Leave each connection to its own thread again; once."""
        with _lock:
            while self.connections:
                connection = self.connections.pop()
                connection.dec_thread_sharing()
                entry = _shared[connection.alias]
                entry.count -= 1
                if not entry.count:
                    del _shared[connection.alias]
                    _let_close(connection)
            storage = _handler._connections
            if not _shared and isinstance(storage, _Storage):
                _handler._connections = storage._own


def _keep_open(connection: Any) -> None:
    """Let nobody close a connection, and the test's transaction with it.

    Django does so at the begin and the end of each request: it takes a transaction for one that
    was forgotten. A view may do so too, where it waits for long; it would have its next query on a
    new connection.
    """
    for name in _CLOSING:
        vars(connection)[name] = _do_nothing


def _let_close(connection: Any) -> None:
    for name in _CLOSING:
        vars(connection).pop(name, None)


def _do_nothing() -> None:
    pass


_CLOSING: Final = ("close", "close_if_unusable_or_obsolete")


def connections_to_share() -> list[BaseDatabaseWrapper]:
    """Give those connections of the calling thread without which a view would see another world.

    That is one inside a transaction, which nobody else can look into; one to a database in memory;
    and one that Django's ``SimpleTestCase`` has closed to queries. Any other one is the thread's
    own, as in production: a ``TransactionTestCase`` has real transactions side by side.
    """
    return [
        connection
        for connection in connections.all(initialized_only=True)
        if connection.in_atomic_block
        or getattr(connection, "is_in_memory_db", bool)()
        # As Django did it before 5.2.
        or "cursor" in vars(connection)
    ]


def close_own_connections() -> None:
    """Close what the calling thread has opened, and nobody is in the middle of using.

    A runner would keep them for a second, in which the test database could not be destroyed.
    """
    for connection in connections.all(initialized_only=True):
        if not is_shared(connection) and not connection.in_atomic_block:
            connection.close()
