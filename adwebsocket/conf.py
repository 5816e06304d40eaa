"""The ``WEBSOCKET_*`` settings: their names, defaults and meanings, in one place.

Everything above the transport asks ``get_settings()`` when it needs one; nothing is read at
import, because settings files import this package. The annotation of a field says what its value
must be; what it does not say stands in the tables above and below the class.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args, get_type_hints

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from .protocol.deflate import DeflateOptions
from .transport.limits import Limits
from .validation import Bounds, mismatch, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PREFIX = "WEBSOCKET_"
# The least that a setting may be where that is not 1, or a thousandth of a second.
_LEAST = {
    "WEBSOCKET_DB_IDLE_SECONDS": 0,
    "WEBSOCKET_DRAIN_SECONDS": 0,
    "WEBSOCKET_MAX_CONNECTIONS": 0,
    "WEBSOCKET_MAX_THREADS": 0,
    # What the interpreter asks for.
    "WEBSOCKET_THREAD_STACK_SIZE": 32 * 1024,
}
# The least and the most that an option of WEBSOCKET_COMPRESSION may be.
_COMPRESSION_BOUNDS: Final = {
    "window_bits": Bounds(9, 15),
    "memory_level": Bounds(1, 9),
    "level": Bounds(1, 9),
    "minimum_size": Bounds(0),
}
# A runner is a name here, a row in view_runners.py and a section of the docs.
SyncRunner: TypeAlias = Literal["thread", "greenlet"]
SYNC_RUNNERS = get_args(SyncRunner)
EXPECTED_RUNNERS = " or ".join(map(repr, SYNC_RUNNERS))


_DEFAULTS = Limits()


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a project; each field is ``WEBSOCKET_`` and its name in upper case.

    Attributes:
        accept_all: every view may be reached by a WebSocket, marked or not.
        allowed_origins: origins that may open a socket besides the site's own host and
            ``CSRF_TRUSTED_ORIGINS``: ``"https://example.com"``, ``"https://*.example.com"``, or
            ``"*"`` for all.
        max_message_size: bytes of one received message; a longer one closes with 1009.
        max_frame_size: bytes of one frame, None for as many as a message may have.
        max_fragments: frames of one message, None for any number.
        max_header_size: bytes of a handshake's headers; more is refused with 431.
        handshake_timeout: seconds in which these must have come, None for any time.
        inbox_messages: received messages that wait for a view before reading pauses.
        inbox_bytes: the same in bytes (for text: characters).
        outbox_bytes: bytes on their way to a slow client before ``send()`` waits.
        compression: permessage-deflate where the client offers it: True, False, or a dict of
            ``DeflateOptions``.
        close_timeout: seconds that a client has to answer a close frame.
        send_timeout: seconds after which a client that takes nothing of what is sent is cut with
            1013, None for never.
        ping_interval: seconds of silence after which a client is pinged, None for never.
        ping_timeout: seconds that it then has to send anything at all, None for any time; else
            the connection ends with 1011.
        max_connections: WebSockets that a process serves at once; above it a handshake gets 503.
            None for as many as there are file descriptors.
        max_connections_per_ip: the same for one client address, and for all of an IPv6 /64; above
            it a handshake gets 429. None for any number.
        rate_limit: messages a second that a client may send, pings and pongs among them; one that
            sends more is closed with 1008. A second's worth may come at once. None for any number.
        close_on_logout: sockets are closed with 4401 when their session logs out, or their user is
            deactivated, deleted or gets another password, in this process.
        sync_runner: what runs sync views: ``"thread"``, one for each, or ``"greenlet"``, many views
            on each of a few threads.
        max_threads: sync views that may run in threads at once; above it a handshake gets 503.
        thread_stack_size: bytes of stack that each of these threads may use.
        greenlet_workers: threads that greenlets run on.
        db_idle_seconds: seconds that a sync view waits before its database connections are given
            back, 0 for at once, None for never.
        drain_seconds: seconds over which the runner spreads the closing of the open sockets of a
            process, when that ends; 0 for all at once.
        async_threads: threads that all async views together use for sync middleware and the ORM.
        groups: the back-end of groups and what each group wants, see docs/groups.md: ``"memory"``,
            ``"local"``, a URL of Redis, or a dict. None for the one that fits the server.
        runtime_dir: directory of the sockets by which the project's processes on this machine find
            each other; None for one that is named after the user and ``SECRET_KEY``.
        status_socket: server processes answer ``manage.py websocket_status``, and each other, at a
            socket in that directory.
        stats_token: what a client without a session sends as ``Authorization: Bearer`` to read the
            statistics; None if staff alone may.
        dwebsocket_alias: ``import dwebsocket`` leads here, be the original installed or not.
    """

    accept_all: bool = False
    allowed_origins: tuple[str, ...] = ()
    max_message_size: int = _DEFAULTS.max_message_size
    max_frame_size: int | None = _DEFAULTS.max_frame_size
    max_fragments: int | None = _DEFAULTS.max_fragments
    max_header_size: int = _DEFAULTS.max_header_size
    handshake_timeout: float | None = _DEFAULTS.handshake_timeout
    inbox_messages: int = _DEFAULTS.inbox_messages
    inbox_bytes: int = _DEFAULTS.inbox_bytes
    outbox_bytes: int = _DEFAULTS.outbox_bytes
    compression: bool | dict[str, Any] = True
    close_timeout: float = _DEFAULTS.close_timeout
    send_timeout: float | None = _DEFAULTS.send_timeout
    ping_interval: float | None = _DEFAULTS.ping_interval
    ping_timeout: float | None = _DEFAULTS.ping_timeout
    max_connections: int | None = None
    max_connections_per_ip: int | None = None
    rate_limit: float | None = _DEFAULTS.rate_limit
    close_on_logout: bool = False
    sync_runner: SyncRunner = "thread"
    max_threads: int = 10_000
    thread_stack_size: int = 2 * 1024 * 1024
    greenlet_workers: int = 2
    db_idle_seconds: float | None = 1.0
    drain_seconds: float = 1.0
    async_threads: int = 8
    groups: str | dict[str, Any] | None = None
    runtime_dir: str | PathLike[str] | None = None
    status_socket: bool = True
    stats_token: str | None = None
    dwebsocket_alias: bool = True


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the project's settings, once until one of them changes.

    Raises:
        ImproperlyConfigured: one of them has no meaning; the message says for each such what was
            expected.
    """
    settings, problems = read_settings()
    if problems:
        raise ImproperlyConfigured("\n".join(problems))
    return settings


def read_settings() -> tuple[Settings, list[str]]:
    """Read the project's settings for who must not fail: the system checks report all at once.

    Returns:
        The settings, the default in place of each that is of a wrong type, and a sentence for each
        mistake in them.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field, annotation in _annotations().items():
        name = PREFIX + field.upper()
        if not hasattr(django_settings, name):
            continue
        value = getattr(django_settings, name)
        fault = mismatch(value, annotation, Bounds(_LEAST.get(name)), is_secret="TOKEN" in name)
        if fault is not None:
            problems.append(f"{name} must be {fault}")
            continue
        if name in _RULES:
            problems += _RULES[name](name, value)
        values[field] = _normalize(value)
    return Settings(**values), problems


def known_settings() -> list[str]:
    """Give the names of all settings that there are."""
    return [PREFIX + field.name.upper() for field in fields(Settings)]


def unknown_settings() -> list[str]:
    """Give the names of the project's that begin as ours do and are none of ours."""
    known = set(known_settings())
    return [name for name in dir(django_settings) if name.startswith(PREFIX) and name not in known]


@lru_cache(maxsize=1)
def get_limits() -> Limits:
    """Give the bounds of a connection; all of a process share this one object."""
    settings = get_settings()
    values = {field.name: getattr(settings, field.name) for field in fields(Limits)}
    compression = settings.compression
    if isinstance(compression, dict):
        values["compression"] = DeflateOptions(**compression)
    else:
        values["compression"] = DeflateOptions() if compression else None
    return Limits(**values)


@lru_cache(maxsize=1)
def _annotations() -> dict[str, Any]:
    # So what stands in an annotation there must be imported at run time.
    return get_type_hints(Settings)


def _normalize(value: Any) -> Any:
    """Give what may be written in several ways in the one way that the fields have."""
    if isinstance(value, (list, set, frozenset)):
        return tuple(value)
    return fspath(value) if isinstance(value, PathLike) else value


def _problems_of_origins(name: str, origins: Any) -> Iterator[str]:
    """Find entries that can match no Origin header, which is a scheme and a host, no path."""
    for origin in origins:
        scheme, separator, host = origin.partition("://")
        is_host = host and not set(host.removeprefix("*.")) & set("/?#@* ")
        # What the pages of a file and of a sandbox send.
        if origin in ("*", "null", "file://") or (scheme and separator and is_host):
            continue
        yield (
            f"{name} has {origin!r}, which matches no origin; an entry looks like "
            "'https://example.com', 'https://*.example.com' or '*', with a scheme and no path"
        )


def _problems_of_compression(name: str, compression: bool | dict[Any, Any]) -> Iterator[str]:
    """Find options that there are not, and values that they may not have."""
    if not isinstance(compression, dict):
        return
    annotations = get_type_hints(DeflateOptions)
    for option, value in compression.items():
        if option not in annotations:
            meant = suggest(str(option), annotations)
            known = (
                f"perhaps {meant!r} is meant" if meant else f"there are {', '.join(annotations)}"
            )
            yield f"{name} has the option {option!r}, which does not exist; {known}"
            continue
        bounds = _COMPRESSION_BOUNDS.get(option, Bounds())
        fault = mismatch(value, annotations[option], bounds)
        if fault is not None:
            yield f"{name}[{option!r}] must be {fault}"


# What more there is to check of settings whose type is right.
_RULES: Final[dict[str, Callable[[str, Any], Iterator[str]]]] = {
    "WEBSOCKET_ALLOWED_ORIGINS": _problems_of_origins,
    "WEBSOCKET_COMPRESSION": _problems_of_compression,
}


def _forget_settings(*, setting: str, **_: Any) -> None:
    if setting.startswith(PREFIX):
        get_settings.cache_clear()
        get_limits.cache_clear()


setting_changed.connect(_forget_settings)
