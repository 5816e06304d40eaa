"""The ``WEBSOCKET_*`` settings: their names, defaults and meanings, in one place.

Everything above the transport asks ``get_settings()`` when it needs one; nothing is read at
import, because settings files import this package.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from .protocol.deflate import DeflateOptions
from .transport.limits import Limits

PREFIX = "WEBSOCKET_"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a project; each field is ``WEBSOCKET_`` and its name in upper case.

    Attributes:
        accept_all: every view may be reached by a WebSocket, marked or not.
        allowed_origins: origins that may open a socket besides the site's own host and
            ``CSRF_TRUSTED_ORIGINS``: ``"https://example.com"``, ``"https://*.example.com"``, or
            ``"*"`` for all.
        max_message_size: bytes of one received message; a longer one closes with 1009.
        inbox_messages: received messages that wait for a view before reading pauses.
        inbox_bytes: the same in bytes (for text: characters).
        outbox_bytes: bytes on their way to a slow client before ``send()`` waits.
        compression: permessage-deflate where the client offers it: True, False, or a dict of
            ``DeflateOptions``.
        close_timeout: seconds that a client has to answer a close frame.
        max_threads: sync views that may run at once; above it a handshake gets 503.
        async_threads: threads that all async views together use for sync middleware and the ORM.
    """

    accept_all: bool = False
    allowed_origins: tuple[str, ...] = ()
    max_message_size: int = 1024 * 1024
    inbox_messages: int = 64
    inbox_bytes: int = 256 * 1024
    outbox_bytes: int = 64 * 1024
    compression: bool | dict[str, Any] = True
    close_timeout: float = 10.0
    max_threads: int = 10_000
    async_threads: int = 8

    def limits(self, max_message_size: int | None = None) -> Limits:
        """Give the bounds of one connection; a view may set its own message size."""
        return Limits(
            max_message_size=max_message_size or self.max_message_size,
            inbox_messages=self.inbox_messages,
            inbox_bytes=self.inbox_bytes,
            outbox_bytes=self.outbox_bytes,
            compression=self._deflate_options(),
            close_timeout=self.close_timeout,
        )

    def _deflate_options(self) -> DeflateOptions | None:
        if isinstance(self.compression, dict):
            return DeflateOptions(**self.compression)
        return DeflateOptions() if self.compression else None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the project's settings, once until one of them changes."""
    values: dict[str, Any] = {}
    for field in fields(Settings):
        name = PREFIX + field.name.upper()
        if hasattr(django_settings, name):
            value = getattr(django_settings, name)
            values[field.name] = tuple(value) if isinstance(value, list) else value
    if isinstance(values.get("allowed_origins"), str):
        raise ImproperlyConfigured("WEBSOCKET_ALLOWED_ORIGINS must be a list of origins, not a str")
    return Settings(**values)


def _forget_settings(*, setting: str, **_: Any) -> None:
    if setting.startswith(PREFIX):
        get_settings.cache_clear()


setting_changed.connect(_forget_settings)
