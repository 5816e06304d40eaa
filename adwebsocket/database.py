"""Database connections of views that live for hours: who has them meanwhile, and for how long.

The runners call a parking around each wait of a sync view: one kind where a view has its thread,
another where it shares one. Async views have no thread: their ORM calls and their sync middleware
share the bounded pool that is made here.
"""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .caller import place_of_caller
from .conf import get_settings
from .connection_state import (
    close,
    discard,
    end_request,
    is_anybodys,
    is_for_tests,
    is_pooled,
    is_shared,
    openers,
    reason_to_keep,
    refresh,
    thread,
)
from .runners.base import let_wakers_go_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("adwebsocket")

# How the names of the threads begin.
ASYNC_POOL_NAME: Final = "websocket-async-view"


class ThreadParking:
    """Look after the connections of a view that has its thread for itself.

    What has been open for ``WEBSOCKET_DB_IDLE_SECONDS`` of waiting is closed, or given back to a
    pool, which happens at once. A transaction keeps its connection, and is reported.
    """

    __slots__ = ()

    def begin(self) -> float | None:
        """Close what may not stay open; give the seconds after which the rest is to be closed."""
        # A view without connections pays 0.1 us for a wait, so nothing else is looked at.
        return _begin_wait(thread.opened) if get_ident() in openers else None

    def idle(self) -> None:
        """Close what the view does not need while it waits."""
        for connection in list(thread.opened):
            if connection.connection is not None and not _must_stay(connection):
                close(connection)

    def end(self) -> None:
        """See to it that the next query gets a connection that works."""
        if get_ident() in openers:
            for connection in thread.opened:
                refresh(connection)

    def finish(self) -> float | None:
        """Leave the thread as a new one is: not even a closed connection has state then."""
        for connection in _known_connections():
            discard(connection)
        if get_ident() in openers:
            thread.opened.clear()
            openers.discard(get_ident())
        return None


def _begin_wait(opened: dict[BaseDatabaseWrapper, set[Any]]) -> float | None:
    seconds = get_settings().db_idle_seconds
    due = None
    for connection in list(opened):
        if connection.connection is None:
            del opened[connection]
        elif reason := reason_to_keep(connection):
            _report(connection, reason)
        elif is_shared(connection):
            continue
        elif _goes_at_once(connection, seconds):
            close(connection)
        else:
            due = seconds
    if not opened:
        openers.discard(get_ident())
    return due


def _must_stay(connection: BaseDatabaseWrapper) -> bool:
    return bool(reason_to_keep(connection)) or is_shared(connection)


def _goes_at_once(connection: BaseDatabaseWrapper, seconds: float | None) -> bool:
    return seconds == 0 or (seconds is not None and is_pooled(connection))


def _known_connections() -> list[BaseDatabaseWrapper]:
    """Give the connections of the calling thread, open or not, except for what others use too."""
    known = connections.all(initialized_only=True)
    return [connection for connection in known if not is_shared(connection)]


_reported: Final[set[tuple[str, str]]] = set()


def _report(connection: BaseDatabaseWrapper, reason: str) -> None:
    """Say where a view waits that keeps a connection, once for each place."""
    place = place_of_caller()
    if (place, reason) in _reported or is_for_tests(connection):
        return
    _reported.add((place, reason))
    logger.warning(
        "A view waits for its WebSocket %s, at %s. It keeps its connection to the database %r "
        "as long as it waits; %s",
        reason,
        place,
        connection.alias,
        _ADVICE[reason],
    )


_TRANSACTION_ADVICE: Final = (
    "its transaction holds locks meanwhile, and 1000 such views hold 1000 connections. "
    "Leave the transaction before the wait."
)
_ADVICE: Final = {
    "inside atomic()": _TRANSACTION_ADVICE,
    "with autocommit switched off": _TRANSACTION_ADVICE,
    "with a cursor open": "fetch all rows before the wait, and open a new cursor behind it.",
}


class _Worker:
    """What the views of one thread share.

    Attributes:
        connections: by alias, those that whoever runs uses; each is in Django's ``connections``.
        spares: by alias, those that a view displaced by its own; open, and nobody's.
        closable: those that wait with their view and may be closed nevertheless.
    """

    __slots__ = ("closable", "connections", "spares")

    def __init__(self) -> None:
        self.connections: dict[str, BaseDatabaseWrapper] = {}
        self.spares: dict[str, BaseDatabaseWrapper] = {}
        self.closable: set[BaseDatabaseWrapper] = set()
        # All of them now: a connection may have wrappers for execute() before it is opened. To
        # ask Django for them at each wait would take a microsecond for each.
        for alias in connections:
            try:
                self.connections[alias] = connections[alias]
            except ImproperlyConfigured:  # nobody can use it, and perhaps nobody wants to
                continue

    def replace(self, alias: str, connection: BaseDatabaseWrapper | None = None) -> None:
        """Let others have a connection that nobody has touched, or the one that is given."""
        if connection is None:
            connection = self.spares.pop(alias, None) or connections.create_connection(alias)
        self.connections[alias] = connections[alias] = connection

    def spare(self, connection: BaseDatabaseWrapper) -> None:
        """Keep a connection that nobody uses now, but no second one."""
        if connection.connection is None:
            return
        if is_anybodys(connection) and connection.alias not in self.spares:
            self.spares[connection.alias] = connection
        else:
            discard(connection)

    def close_idle(self) -> None:
        """Close all that may be closed while no view runs."""
        shared: Iterable[BaseDatabaseWrapper] = self.connections.values()
        for connection in [*shared, *self.spares.values(), *self.closable]:
            if connection.connection is not None and not _must_stay(connection):
                close(connection)
        self.spares.clear()
        self.closable.clear()


class _Own(threading.local):
    """The worker of the calling thread, made when a view waits there or ends."""

    worker: _Worker | None = None


_own = _Own()


def _get_worker() -> _Worker:
    worker = _own.worker
    if worker is None:
        worker = _own.worker = _Worker()
    return worker


class GreenletParking:
    """Look after the connections of a view that shares its thread with others.

    They use one connection in turn. What a view has begun with it (a transaction, a cursor, a
    wrapper around ``execute``) makes it the view's own: it is taken away from the others while
    the view waits, and put back when it goes on.
    """

    __slots__ = ("_aside", "_worker")

    def __init__(self) -> None:
        self._aside: dict[str, BaseDatabaseWrapper] | None = None
        # That of the thread in which it is called; where it is made does not matter.
        self._worker: _Worker | None = None

    def begin(self) -> float | None:
        """Set aside what is the view's own; give the seconds after which ``idle`` is due."""
        worker = self._worker
        if worker is None:
            worker = self._worker = _get_worker()
        due = False
        for alias, connection in worker.connections.items():
            if (
                connection.connection is None
                and not connection.execute_wrappers
                and not connection.in_atomic_block
            ) or is_shared(connection):
                continue
            if not is_anybodys(connection):
                self._set_aside(worker, alias, connection)
            elif _goes_at_once(connection, get_settings().db_idle_seconds):
                close(connection)
            else:
                due = True
        if due or worker.spares or worker.closable:
            return get_settings().db_idle_seconds
        return None

    def idle(self) -> None:
        """Close what no view of the thread needs while all of them wait."""
        _get_worker().close_idle()

    def end(self) -> None:
        """Put back what is the view's own, and see to it that the next query works."""
        worker = self._worker
        if worker is None:
            return
        if self._aside:
            self._put_back(worker)
        for connection in worker.connections.values():
            if connection.connection is not None:
                refresh(connection)

    def finish(self) -> float | None:
        """Close what the view has left in disorder, so that the next one does not get it.

        Returns:
            Seconds after which ``idle`` is due for what is in order, and others may use.
        """
        worker = _get_worker()
        for connection in (self._aside or {}).values():
            worker.closable.discard(connection)
            discard(connection)
        self._aside = None
        for connection in _known_connections():
            if is_anybodys(connection):
                end_request(connection)
                worker.connections[connection.alias] = connections[connection.alias]
            else:
                discard(connection)
                worker.replace(connection.alias)
        return self.begin()

    def _set_aside(self, worker: _Worker, alias: str, connection: BaseDatabaseWrapper) -> None:
        aside = self._aside = self._aside or {}
        # An exception has ended the wait before this one, and nobody comes back for it.
        if alias in aside:
            discard(aside.pop(alias))
        aside[alias] = connection
        if reason := reason_to_keep(connection):
            _report(connection, reason)
        elif connection.connection is not None:
            worker.closable.add(connection)
        worker.replace(alias)

    def _put_back(self, worker: _Worker) -> None:
        aside, self._aside = self._aside or {}, None
        for alias, connection in aside.items():
            displaced = worker.connections[alias]
            worker.replace(alias, connection)
            worker.spare(displaced)
            worker.closable.discard(connection)


class _IdleQueue(queue.SimpleQueue[Any]):
    """The jobs of a pool, whose threads close their connections when no job comes for a while."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        seconds = get_settings().db_idle_seconds
        if block and timeout is None and thread.opened and seconds is not None:
            try:
                return super().get(timeout=seconds)
            except queue.Empty:
                ThreadParking().idle()
        return super().get(block, timeout)


class AsyncViewPool(ThreadPoolExecutor):
    """Threads for the blocking parts of all async views.

    A connection's life has no end at which Django would look after the database connections of
    these threads, so each job does, by the rules of ``CONN_MAX_AGE``. What these let live is
    closed when its thread had nothing to do for ``WEBSOCKET_DB_IDLE_SECONDS``.
    """

    def __init__(self, max_workers: int, thread_name_prefix: str = "") -> None:
        super().__init__(max_workers, thread_name_prefix, let_wakers_go_on)
        self._work_queue = _IdleQueue()
        self._busy: set[int] = set()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a job and leave no stale database connection before or behind it."""
        return super().submit(self._run, function, *args, **kwargs)

    def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._busy.add(get_ident())
        try:
            _tidy_up()
            try:
                return function(*args, **kwargs)
            finally:
                _tidy_up()
        finally:
            self._busy.discard(get_ident())

    def load(self) -> dict[str, int]:
        """Count its threads, those that have a job, and jobs that wait for one."""
        return {
            "threads": len(self._threads),
            "busy": len(self._busy),
            "queued": self._work_queue.qsize(),
        }


def _tidy_up() -> None:
    if get_ident() not in openers:
        return
    for connection in _known_connections():
        if connection.in_atomic_block or connection.execute_wrappers:
            # The next job may be another view's.
            discard(connection)
        else:
            end_request(connection)


@lru_cache(maxsize=1)
def _pool() -> AsyncViewPool:
    return AsyncViewPool(get_settings().async_threads, thread_name_prefix=ASYNC_POOL_NAME)


@lru_cache(maxsize=1)
def _pool_context() -> ThreadSensitiveContext:
    """Make the context object by which asgiref finds the pool."""
    context = ThreadSensitiveContext()
    SyncToAsync.context_to_thread_executor[context] = _pool()
    return context


def async_pool_load() -> dict[str, int]:
    """Give the load of the pool of all async views, as far as one has needed it."""
    is_made = _pool.cache_info().currsize > 0
    return _pool().load() if is_made else dict.fromkeys(("threads", "busy", "queued"), 0)


def use_async_view_pool() -> None:
    """Let ``sync_to_async`` in the running task use the pool.

    Django's own handler opens a ``ThreadSensitiveContext`` for each request, which holds one
    thread as long as it lasts; without any, asgiref has one thread for the whole process. Neither
    will do for connections that stay: a thousand idle async views would hold a thousand threads,
    or every query would stand in one queue.
    """
    SyncToAsync.thread_sensitive_context.set(_pool_context())
