"""What the state of a database connection allows: to be closed, to be shared, to be used again.

``database.py`` asks here before it takes a connection away from a view that waits. Connections are
Django's ``DatabaseWrapper`` objects; what such an object wraps, the driver's own, is its link.
"""

from __future__ import annotations

import logging
import threading
import time
from threading import get_ident
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

from django.db import connections
from django.db.backends.signals import connection_created

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

logger = logging.getLogger("adwebsocket")


class _CursorMaker:
    """Make a connection's cursors, and know which of them are open.

    An open one is lost when its connection is closed. Neither Django nor the drivers have a list,
    and references to the link say nothing: each exception of Django's leaves a cycle with a closed
    cursor in it, which waits for the garbage collector. This costs a query half a microsecond.

    Attributes:
        open: the cursors, weakly.
    """

    __slots__ = ("_make", "open")

    def __init__(self, make: Callable[[Any], CursorWrapper], open_ones: set[Any]) -> None:
        self._make = make
        self.open = open_ones

    def __call__(self, cursor: Any) -> CursorWrapper:
        wrapper = self._make(cursor)
        open_ones = self.open
        reference = ref(wrapper, open_ones.discard)

        def close() -> None:
            open_ones.discard(reference)
            cursor.close()

        wrapper.close = close  # type: ignore[attr-defined]
        open_ones.add(reference)
        return wrapper


class _Thread(threading.local):
    """What the calling thread has opened.

    Attributes:
        opened: each connection with its open cursors.
    """

    def __init__(self) -> None:
        self.opened: dict[BaseDatabaseWrapper, set[Any]] = {}


thread = _Thread()
# The identifiers of threads that may have something opened: to look at a thread-local makes one for
# the thread, of half a kilobyte, and most views have no use for it.
openers: set[int] = set()
# What any thread has ever opened and has not dropped, for those who count.
_known: WeakSet[BaseDatabaseWrapper] = WeakSet()


def _remember(*, connection: Any, **_: Any) -> None:
    """Take note of a connection that the calling thread has just opened."""
    if connection not in connections.all(initialized_only=True):
        return  # a copy, whose maker looks after it
    openers.add(get_ident())
    _known.add(connection)
    for other in [other for other in thread.opened if other.connection is None]:
        del thread.opened[other]
    if isinstance(connection.make_cursor, _CursorMaker):
        connection.make_cursor.open.clear()  # those of the link before
    else:
        open_ones: set[Any] = set()
        connection.make_cursor = _CursorMaker(connection.make_cursor, open_ones)
        connection.make_debug_cursor = _CursorMaker(connection.make_debug_cursor, open_ones)
    thread.opened[connection] = connection.make_cursor.open


connection_created.connect(_remember)


def open_connections() -> list[BaseDatabaseWrapper]:
    """Give the connections that all threads have open. From any thread."""
    while True:
        try:
            known = list(_known)
        except RuntimeError:  # a thread has opened one meanwhile
            continue
        return [connection for connection in known if connection.connection is not None]


def reason_to_keep(connection: BaseDatabaseWrapper) -> str:
    """Say why a connection that is open cannot be closed unnoticed; empty if it can."""
    if connection.in_atomic_block:
        return "inside atomic()"
    if connection.connection is None:
        return ""
    if not connection.autocommit:
        return "with autocommit switched off"
    if thread.opened.get(connection):
        return "with a cursor open"
    return ""


def is_anybodys(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a connection has nothing about it that belongs to the view that used it."""
    return not (
        connection.execute_wrappers
        or connection.needs_rollback
        or connection.run_on_commit
        or reason_to_keep(connection)
    )


def is_shared(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether several threads use it: that is a test runner's, and none of our business."""
    return connection.allow_thread_sharing


def is_for_tests(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether only Django's ``TestCase`` has opened a transaction in it."""
    blocks = connection.atomic_blocks
    return bool(blocks) and all(getattr(block, "_from_testcase", False) for block in blocks)


def is_pooled(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether closing gives it back to a pool of Django's, which costs next to nothing."""
    return bool(connection.settings_dict["OPTIONS"].get("pool"))


def close(connection: BaseDatabaseWrapper) -> None:
    """Close a connection, or give it back to its pool; the next query opens it again."""
    try:
        connection.close()
    except Exception:  # a driver's, or a pool's
        # It is gone all the same, and the view has no part in it.
        logger.warning(
            "The database connection %r was not closed properly", connection.alias, exc_info=True
        )


def refresh(connection: BaseDatabaseWrapper) -> None:
    """Let the rules of Django's settings hold before the next query.

    As at the begin of a request, except that ``CONN_MAX_AGE = 0`` closes nothing: it means until
    the end of the request, and that is the end of the view. A transaction is left alone.
    """
    if connection.connection is None or connection.in_atomic_block or not connection.autocommit:
        return
    connection.health_check_done = False  # type: ignore[attr-defined]
    if connection.errors_occurred:
        if not connection.is_usable():
            close(connection)
            return
        connection.errors_occurred = False
        connection.health_check_done = True  # type: ignore[attr-defined]
    if (
        connection.settings_dict["CONN_MAX_AGE"]
        and connection.close_at is not None
        and time.monotonic() >= connection.close_at
        and not reason_to_keep(connection)
    ):
        close(connection)


def end_request(connection: BaseDatabaseWrapper) -> None:
    """Close a connection if Django would do so at the end of a request."""
    try:
        connection.close_if_unusable_or_obsolete()
    except Exception:
        discard(connection)


def discard(connection: BaseDatabaseWrapper) -> None:
    """Close a connection for good, in whatever state, and let nobody get it again."""
    close(connection)
    if getattr(connection, "is_in_memory_db", bool)():
        # Which close() spares, for the database would be gone with it.
        connection._close()  # type: ignore[attr-defined]
    # Inside atomic() Django leaves the link where it was.
    connection.connection = None
    thread.opened.pop(connection, None)
    if connection in connections.all(initialized_only=True):
        del connections[connection.alias]
