"""The back-end of this process and the hubs of its event loops, each made when it is needed.

``WEBSOCKET_GROUPS`` chooses the back-end, through a small table; what is made here is forgotten
when the setting changes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from ..accounts import close_sockets_of
from ..conf import get_settings
from .base import Backend
from .counts import counts
from .hub import Hub
from .options import read_config

if TYPE_CHECKING:
    from .messages import Closing

BACKENDS = {
    "memory": "adwebsocket.groups.memory.MemoryBackend",
    "local": "adwebsocket.groups.local.backend.LocalBackend",
    "redis": "adwebsocket.groups.redis.RedisBackend",
}
logger = logging.getLogger("adwebsocket.groups")

# Set by the runner for its workers: how many there are.
WORKERS_VARIABLE = "ADWEBSOCKET_WORKER_COUNT"

_lock = threading.Lock()
_backend: Backend | None = None
_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()
# Whether WebSockets are served in this process, or may be; and whether the log says that not.
_serves = False
_has_warned = False


def get_backend() -> Backend:
    """Give the back-end of this process. From any thread.

    Raises:
        ImproperlyConfigured: ``WEBSOCKET_GROUPS`` has no meaning.
    """
    global _backend
    if _backend is None:
        with _lock:
            if _backend is None:
                _backend = _make_backend()
    return _backend


def reach_backend() -> Backend:
    """Give the back-end to somebody who sends or asks; warn where nobody can be reached, once."""
    global _has_warned
    backend = get_backend()
    if not _serves and not _has_warned and _reaches_nobody(backend):
        _has_warned = True
        logger.warning(
            "No WebSocket gets what this process sends to groups: it serves none itself, and "
            "WEBSOCKET_GROUPS is not set, so that messages stay within their process. Set it to "
            '"local" if the server runs on this machine, or to a URL of Redis (back-end "redis"); '
            'to "memory" if this is how it shall be.'
        )
    return backend


def prepare_to_serve() -> None:
    """Take note that this process is about to serve WebSockets.

    Raises:
        ImproperlyConfigured: ``WEBSOCKET_GROUPS`` has no meaning.
    """
    global _serves
    _serves = True
    get_backend()


def get_hub() -> Hub:
    """Give the hub of the running event loop, which receives from then on."""
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        prepare_to_serve()
        hub = Hub(get_backend(), _close_sockets_of_user)
        with _lock:
            _hubs[loop] = hub
        hub.start()
    return hub


async def stop_hub() -> None:
    """Let the running event loop, which is about to end, receive nothing more."""
    with _lock:
        hub = _hubs.pop(asyncio.get_running_loop(), None)
    if hub is not None:
        await hub.stop()


def all_hubs() -> list[Hub]:
    """Give the hubs of all event loops. From any thread."""
    with _lock:
        return list(_hubs.values())


def statistics() -> dict[str, Any]:
    """Give what groups do in this process, for ``adwebsocket.stats()``. From any thread."""
    hubs = all_hubs()
    return {
        "groups": len({group for hub in hubs for group in hub.groups()}),
        "members": sum(hub.count_members() for hub in hubs),
        "waiting": sum(hub.count_waiting() for hub in hubs),
        "published_total": counts.published,
        "unpublished_total": dict(counts.unpublished),
        "received_total": counts.received,
        "delivered_total": counts.delivered,
        "dropped_total": dict(counts.dropped),
        "skipped_total": dict(counts.skipped),
        "gaps_total": counts.gaps,
        "reconnects_total": counts.reconnects,
    }


def _close_sockets_of_user(order: Closing) -> None:
    close_sockets_of(order.user, order.code, order.reason)


def _reaches_nobody(backend: Backend) -> bool:
    return backend.config.backend is None and not backend.reaches_other_processes


def count_workers() -> int:
    """Give the number of server processes, as far as the environment tells it."""
    for name in (WORKERS_VARIABLE, "WEB_CONCURRENCY"):
        value = os.environ.get(name, "")
        if value.isdecimal():
            return int(value)
    return 1


def explain_lonely_memory(backend: str | None) -> str | None:
    """Say what is wrong with the back-end ``memory`` if there are several server processes."""
    count = count_workers()
    if backend != "memory" or count < 2:
        return None
    return (
        f'WEBSOCKET_GROUPS names the back-end "memory", but there are {count} server processes: '
        "a message reaches the members in the process that sends it, and no others."
    )


def find_backend(name: str) -> type[Backend]:
    """Give the class of a back-end, by its name in ``WEBSOCKET_GROUPS`` or its dotted path.

    Raises:
        ImproperlyConfigured: there is no such class, or a package that it needs is missing.
    """
    try:
        backend = import_string(BACKENDS.get(name, name))
    except ImportError as error:
        raise ImproperlyConfigured(
            f"WEBSOCKET_GROUPS names the back-end {name!r}, which cannot be imported: {error}. "
            f"Expected {', '.join(map(repr, BACKENDS))}, a URL or a dotted path."
        ) from error
    if not (isinstance(backend, type) and issubclass(backend, Backend)):
        raise ImproperlyConfigured(
            f"WEBSOCKET_GROUPS names {name!r}, which is no class derived from "
            "adwebsocket.groups.Backend"
        )
    return backend


def _make_backend() -> Backend:
    config = read_config(get_settings().groups)
    name = config.backend
    if name is None:
        has_sockets = hasattr(socket, "AF_UNIX")
        name = "local" if has_sockets and count_workers() > 1 else "memory"
    if warning := explain_lonely_memory(name):
        logger.warning("%s", warning)
    return find_backend(name)(config)


def _forget(*, setting: str, **_: Any) -> None:
    global _backend
    if setting == "WEBSOCKET_GROUPS":
        with _lock:
            backend, _backend = _backend, None
            _hubs.clear()
        if backend is not None:
            backend.close()


setting_changed.connect(_forget)
