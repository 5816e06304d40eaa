"""The back-end on Redis or Valkey: groups over many machines. Needs the package redis.

``WEBSOCKET_GROUPS`` leads here, and here it is found out whether that package is installed. What
works is in the modules beside this one: ``backend`` puts them together.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

try:
    from .backend import RedisBackend
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "redis":
        raise
    raise ImproperlyConfigured(
        'the back-end "redis" of WEBSOCKET_GROUPS needs the package redis: '
        'pip install "adwebsocket[redis]"'
    ) from error

__all__ = ["RedisBackend"]
