"""Whose sockets these are, and closing them when that user is no longer welcome.

With ``WEBSOCKET_CLOSE_ON_LOGOUT`` the decorators load the session of each handshake, and Django's
own signals lead here. Of users this knows what their sessions say, and nothing of what views do.
"""

from __future__ import annotations

import time
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.auth.signals import user_logged_out
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models.signals import post_delete, post_save
from django.utils.functional import LazyObject, empty

from .conf import get_settings
from .live import count_live, live_requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .request import WebSocketRequest
    from .transport.channel import Channel

# Tells a client to log in again, as 401 does; codes from 4000 on are for applications.
LOGGED_OUT: Final = 4401

# A logout is signalled before its session is deleted, and a handshake may load that in between. So
# the keys of sessions that have just ended are kept for as many seconds, with the time.
_MEMORY: Final = 60.0
_ended_sessions: dict[str, float] = {}

# Seconds between two looks at a handshake that nobody has answered yet.
_PATIENCE: Final = 0.05


def live_requests_of(user: Any) -> list[WebSocketRequest]:
    """Give the requests of the live WebSockets that belong to a user. From any thread.

    That is who ``request.user`` is, where somebody has looked at it, and else who is logged in by
    the session, where that has been loaded. Nothing is asked of the database: with
    ``WEBSOCKET_CLOSE_ON_LOGOUT`` each handshake loads its session, without it some have not.

    Arguments:
        user: a user, or the primary key of one.
    """
    user_id = id_of(user)
    if user_id is None:
        return []
    return [request for request in live_requests() if _user_id_of(request) == user_id]


def close_sockets_of(user: Any, code: int = LOGGED_OUT, reason: str = "") -> int:
    """Close all WebSockets of a user, and tell how many they are. From any thread.

    Arguments:
        user: a user, or the primary key of one.
        code, reason: what the client is told (RFC 6455 section 7.4).
    """
    requests = live_requests_of(user)
    close_sockets(requests, code, reason)
    return len(requests)


def close_sockets(
    requests: Iterable[WebSocketRequest], code: int = LOGGED_OUT, reason: str = ""
) -> None:
    """Close the WebSockets of some requests, and wake their views. From any thread.

    One whose handshake has not been answered is closed as soon as it is open.
    """
    for request in requests:
        request.bridge.call(partial(_close_when_open, request.channel, code, reason))


def _close_when_open(channel: Channel, code: int, reason: str) -> None:
    if channel.accepted:
        channel.close(code, reason)
    elif not channel.refused and not channel.ended:
        channel.loop.call_later(_PATIENCE, _close_when_open, channel, code, reason)


# What a request knows of its user, without a query


def id_of(user: Any) -> str | None:
    """Write the primary key of a user as sessions do; None for an anonymous one."""
    key = getattr(user, "pk", user)
    if key is None:
        return None
    meta = getattr(user, "_meta", None)
    return str(key) if meta is None else str(meta.pk.value_to_string(user))


def _user_id_of(request: WebSocketRequest) -> str | None:
    user = _known_user(request)
    return _loaded_session(request).get(SESSION_KEY) if user is None else id_of(user)


def _known_user(request: WebSocketRequest) -> Any:
    """Give ``request.user`` where it has been looked at, or None."""
    user: Any = getattr(request, "user", None)
    # isinstance() would look at it.
    if issubclass(type(user), LazyObject) and user._wrapped is empty:
        return None
    return user


def _loaded_session(request: WebSocketRequest) -> dict[str, Any]:
    """Give the data of the request's session as far as they have been loaded."""
    session = getattr(request, "session", None)
    data: dict[str, Any] | None = getattr(session, "_session_cache", None)
    return data or {}


def _session_key_of(request: Any) -> str | None:
    key: str | None = getattr(getattr(request, "session", None), "session_key", None)
    return key


def _password_hashes_of(user: Any) -> set[str]:
    """Give what a session may hold for a password (Django's ``get_session_auth_hash``)."""
    if not hasattr(user, "get_session_auth_hash"):
        return set()
    fallbacks = getattr(user, "get_session_auth_fallback_hash", tuple)
    return {user.get_session_auth_hash(), *fallbacks()}


def _has_other_password(request: WebSocketRequest, hashes: set[str]) -> bool:
    """Tell whether a request was made with another password than that of these hashes."""
    held = _loaded_session(request).get(HASH_SESSION_KEY)
    if held is None:
        # By a token, or what else the project has in place of a session.
        return _password_hashes_of(_known_user(request)).isdisjoint(hashes)
    return held not in hashes


# When handshakes come


def load_session(request: WebSocketRequest) -> None:
    """Load a handshake's session, so that a logout finds its socket: one query at the most.

    Where the database may be used.
    """
    session = getattr(request, "session", None)
    if session is not None:
        session.get(SESSION_KEY)
        _close_if_ended(request)


async def aload_session(request: WebSocketRequest) -> None:
    """The same on the event loop."""
    if hasattr(getattr(request, "session", None), "_session_cache"):
        _close_if_ended(request)
    else:
        await sync_to_async(load_session)(request)


def _close_if_ended(request: WebSocketRequest) -> None:
    if _session_key_of(request) in _ended_sessions:
        close_sockets([request], reason="logged out")


# When users go


def watch() -> None:
    """Listen to Django's signals, once; the setting decides each time whether they matter."""
    user_logged_out.connect(_handle_logout, dispatch_uid=__name__)
    for model in _user_models():
        post_save.connect(_handle_save, sender=model, dispatch_uid=__name__)
        post_delete.connect(_handle_delete, sender=model, dispatch_uid=__name__)


def _user_models() -> list[type]:
    """Give the user model, its proxies and its children; none without django.contrib.auth.

    Not all models: whoever listens to their deletion makes Django load every row first.
    """
    try:
        user_model = get_user_model()
    except ImproperlyConfigured:
        return []
    return [model for model in apps.get_models() if issubclass(model, user_model)]


def _handle_logout(*, request: Any, user: Any, **_: Any) -> None:
    key = _session_key_of(request)
    if get_settings().close_on_logout and user is not None and key is not None:
        _after_commit(partial(_close_session, key, id_of(user)))


def _handle_save(
    *, instance: Any, using: str, update_fields: frozenset[str] | None, **_: Any
) -> None:
    # Each login saves last_login.
    if update_fields is not None and update_fields.isdisjoint({"is_active", "password"}):
        return
    if not _may_have_sockets():
        return
    deferred = instance.get_deferred_fields()
    if "is_active" not in deferred and not getattr(instance, "is_active", True):
        _after_commit(partial(close_sockets_of, id_of(instance)), using)
    elif "password" not in deferred:
        hashes = _password_hashes_of(instance)
        _after_commit(partial(_close_other_passwords, id_of(instance), hashes), using)


def _handle_delete(*, instance: Any, using: str, **_: Any) -> None:
    if _may_have_sockets():
        _after_commit(partial(close_sockets_of, id_of(instance)), using)


def _may_have_sockets() -> bool:
    return get_settings().close_on_logout and count_live() > 0


def _after_commit(action: Callable[[], object], using: str | None = None) -> None:
    """Act when others can see what has happened, and not at all where it is rolled back."""
    connection = connections[using or DEFAULT_DB_ALIAS]
    # on_commit() alone would connect to a database that may not be there.
    if connection.in_atomic_block:
        connection.on_commit(action)
    else:
        action()


def _note_end(key: str) -> None:
    now = time.monotonic()
    # The oldest stand first, also where a key comes again, as it may where clients keep sessions.
    _ended_sessions.pop(key, None)
    _ended_sessions[key] = now
    for old, since in list(_ended_sessions.items()):
        if now - since < _MEMORY:
            break
        _ended_sessions.pop(old, None)


def _close_session(key: str, user_id: str | None) -> None:
    """Close the sockets of a session that ends, and those whose session has ended before.

    A session changes its key when its user logs in once more. Sockets from before have the old one,
    which leads nowhere, and would outlive the logout.
    """
    _note_end(key)
    own = [request for request in live_requests() if _session_key_of(request) == key]
    others: dict[str, list[WebSocketRequest]] = {}
    for request in live_requests_of(user_id):
        other = _session_key_of(request)
        if other is not None and other != key:
            others.setdefault(other, []).append(request)
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    close_sockets(own, reason="logged out")
    for other, requests in others.items():
        if not store.exists(other):
            close_sockets(requests, reason="logged out")


def _close_other_passwords(user_id: str | None, hashes: set[str]) -> None:
    if hashes:
        requests = live_requests_of(user_id)
        close_sockets(
            [request for request in requests if _has_other_password(request, hashes)],
            reason="the password has changed",
        )
