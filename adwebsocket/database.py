"""Database connections of views that live for hours.

Sync views own their thread and so their connections. Async views have no thread: their ORM calls
and their sync middleware share the bounded pool that is made here.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import close_old_connections

from .conf import get_settings

if TYPE_CHECKING:
    from collections.abc import Callable


class AsyncViewPool(ThreadPoolExecutor):
    """Threads for the blocking parts of all async views.

    A connection's life has no end at which Django would look after the database connections of
    these threads, so each job does, by the rules of ``CONN_MAX_AGE``.
    """

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a job and leave no stale database connection before or behind it."""
        return super().submit(_with_fresh_connections, function, *args, **kwargs)


def _with_fresh_connections(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()


@lru_cache(maxsize=1)
def _pool_context() -> ThreadSensitiveContext:
    """Make the pool, and the context object by which asgiref finds it."""
    context = ThreadSensitiveContext()
    SyncToAsync.context_to_thread_executor[context] = AsyncViewPool(
        get_settings().async_threads, thread_name_prefix="websocket-async-view"
    )
    return context


def use_async_view_pool() -> None:
    """Let ``sync_to_async`` in the running task use the pool.

    Django's own handler opens a ``ThreadSensitiveContext`` for each request, which holds one
    thread as long as it lasts; without any, asgiref has one thread for the whole process. Neither
    will do for connections that stay: a thousand idle async views would hold a thousand threads,
    or every query would stand in one queue.
    """
    SyncToAsync.thread_sensitive_context.set(_pool_context())
