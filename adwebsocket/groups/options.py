"""How groups are set up: which back-end carries their messages, and what each group wants.

Read from ``WEBSOCKET_GROUPS``. Knows the words of the setting, not what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured

SLOW: Final = ("disconnect", "drop_oldest", "drop_newest", "latest")
_KEYS: Final = ("BACKEND", "LOCATION", "OPTIONS", "GROUPS")


def check_slow(slow: str) -> None:
    """Raise ``ValueError`` for what is no way to deal with a slow member."""
    if slow not in SLOW:
        raise ValueError(f"slow must be one of {', '.join(map(repr, SLOW))}, not {slow!r}")


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """What a group wants; ``GROUPS`` in ``WEBSOCKET_GROUPS`` sets it by pattern.

    Attributes:
        slow: what happens to a member that does not keep up, once its backlog is full:
            ``"disconnect"`` (1013), ``"drop_oldest"``, ``"drop_newest"``, or ``"latest"``: only the
            newest message of each key waits.
        backlog: messages that wait for a slow member.
        backlog_bytes: bytes that do (for text: characters).
        history: messages that are kept for members who come back, 0 for none.
        ttl: seconds that they are kept behind the last one.
        max_message_size: bytes of one message (for text: characters).
    """

    slow: str = "disconnect"
    backlog: int = 100
    backlog_bytes: int = 1024 * 1024
    history: int = 0
    ttl: float = 300
    max_message_size: int = 1024 * 1024

    def __post_init__(self) -> None:
        check_slow(self.slow)
        for name in ("backlog", "backlog_bytes", "history", "ttl", "max_message_size"):
            value = getattr(self, name)
            least = 0 if name == "history" else 1
            types, kind = ((int, float), "number") if name == "ttl" else ((int,), "whole number")
            is_number = isinstance(value, types) and not isinstance(value, bool)
            # In this order: nothing compares to what is no number by its own account.
            if not is_number or not value >= least:
                raise ValueError(f"{name} must be a {kind} of at least {least}, not {value!r}")


_NAMES: Final = tuple(each.name for each in fields(GroupOptions))


@dataclass(frozen=True, slots=True)
class GroupsConfig:
    """``WEBSOCKET_GROUPS``, read.

    Attributes:
        backend: a name of the table in ``groups/__init__.py`` or a dotted path, None for the
            one that fits the server.
        location: where the back-end is, for those that are somewhere.
        options: what the back-end takes besides.
        patterns: patterns of names, and what the groups want that match; the first that does,
            counts.
    """

    backend: str | None = None
    location: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    patterns: tuple[tuple[str, GroupOptions], ...] = ()

    def options_of(self, group: str) -> GroupOptions:
        """Give what a group wants."""
        for pattern, options in self.patterns:
            if fnmatchcase(group, pattern):
                return options
        return _USUAL


_USUAL: Final = GroupOptions()


def read_config(value: Any) -> GroupsConfig:
    """Read ``WEBSOCKET_GROUPS``.

    Arguments:
        value: None, the name or dotted path of a back-end, a URL such as
            ``"redis://localhost:6379/0"``, or a dict with ``BACKEND``, ``LOCATION``, ``OPTIONS``
            and ``GROUPS``.

    Raises:
        ImproperlyConfigured: it has no meaning; the text says what was expected.
    """
    if value is None:
        return GroupsConfig()
    if isinstance(value, str):
        value = {"BACKEND": value}
    if not isinstance(value, dict):
        raise ImproperlyConfigured(
            f"WEBSOCKET_GROUPS must be a str or a dict with some of {_KEYS}, not {value!r}"
        )
    unknown = [key for key in value if key not in _KEYS]
    if unknown:
        raise ImproperlyConfigured(
            f"WEBSOCKET_GROUPS has the unknown keys {unknown}; it may have {_KEYS}"
        )
    backend, location = value.get("BACKEND"), value.get("LOCATION")
    if backend is not None and (not isinstance(backend, str) or not backend):
        raise ImproperlyConfigured(
            "BACKEND in WEBSOCKET_GROUPS must be the name of a back-end, a URL or a dotted path, "
            f"not {backend!r}"
        )
    if backend is not None and "://" in backend:
        backend, location = "redis", location or backend
    options, groups = (value.get(key) or {} for key in ("OPTIONS", "GROUPS"))
    if not isinstance(options, dict) or not isinstance(groups, dict):
        raise ImproperlyConfigured("OPTIONS and GROUPS in WEBSOCKET_GROUPS must be dicts")
    return GroupsConfig(
        backend,
        location,
        options,
        tuple((pattern, _read_group(pattern, each)) for pattern, each in groups.items()),
    )


def _read_group(pattern: Any, value: Any) -> GroupOptions:
    if not isinstance(pattern, str) or not isinstance(value, dict):
        raise ImproperlyConfigured(
            "GROUPS in WEBSOCKET_GROUPS must map patterns of names to dicts, "
            f"not {pattern!r} to {value!r}"
        )
    unknown = [name for name in value if name not in _NAMES]
    if unknown:
        raise ImproperlyConfigured(
            f"GROUPS[{pattern!r}] in WEBSOCKET_GROUPS has the unknown keys {unknown}; "
            f"it may have {_NAMES}"
        )
    try:
        return replace(_USUAL, **value)
    except ValueError as error:
        raise ImproperlyConfigured(f"GROUPS[{pattern!r}] in WEBSOCKET_GROUPS: {error}") from error
