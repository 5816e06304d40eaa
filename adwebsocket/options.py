"""What a decorator may be told about its view, and what of that is nonsense.

``decorators.py`` makes one ``Options`` for each decorated view. It knows settings and bounds, and
neither requests nor sockets that are open.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from asgiref.sync import iscoroutinefunction

from .conf import EXPECTED_RUNNERS, SYNC_RUNNERS, get_limits
from .websocket import WebSocket

if TYPE_CHECKING:
    from typing import Literal

    from django.http import HttpRequest

    from .protocol.codes import CloseCode
    from .transport.limits import Limits

Subprotocols: TypeAlias = "Sequence[str] | Callable[[HttpRequest, list[str]], str | None]"


@dataclass(frozen=True, slots=True)
class Options:
    """What a decorator was told; see ``accept_websocket``."""

    require: bool
    subprotocols: Subprotocols = ()
    origins: Sequence[str] | None = None
    max_message_size: int | None = None
    rate_limit: float | None = None
    accept: Literal["auto", "manual"] = "auto"
    runner: Literal["thread", "greenlet"] | None = None
    # What a dialect changes: the class of the blocking socket, the code that any exception in the
    # view closes it with (None: the one that fits), and whether the view is found behind decorators
    # that do not carry its attributes.
    socket_class: type[WebSocket] = WebSocket
    error_code: CloseCode | None = None
    may_hide: bool = False

    def __post_init__(self) -> None:
        for name in ("subprotocols", "origins"):
            value = getattr(self, name)
            if value is None and name == "origins":
                continue
            if callable(value) and name == "subprotocols":
                if iscoroutinefunction(value):
                    raise TypeError("subprotocols must not be an async def: nobody awaits it")
                continue
            if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
                raise TypeError(f"{name} must be a list of strings, not {value!r}")
        if self.accept not in ("auto", "manual"):
            raise ValueError(f'accept must be "auto" or "manual", not {self.accept!r}')
        if self.runner not in (None, *SYNC_RUNNERS):
            raise ValueError(f"runner must be {EXPECTED_RUNNERS}, not {self.runner!r}")
        size = self.max_message_size
        if size is not None and (not isinstance(size, int) or size < 1):
            raise ValueError(f"max_message_size must be a positive number of bytes, not {size!r}")
        rate = self.rate_limit
        if rate is not None and (not isinstance(rate, (int, float)) or not rate > 0):
            raise ValueError(f"rate_limit must be a positive number of messages, not {rate!r}")

    def limits(self) -> Limits | None:
        """Give the bounds of a connection to the view, None for those of the settings."""
        if self.max_message_size is None and self.rate_limit is None:
            return None
        return _limits_with(get_limits(), self.max_message_size, self.rate_limit)


@lru_cache(maxsize=256)
def _limits_with(limits: Limits, max_message_size: int | None, rate_limit: float | None) -> Limits:
    """Give bounds that are as others but for these two; one object for all equal ones."""
    if max_message_size is not None:
        limits = replace(limits, max_message_size=max_message_size)
    if rate_limit is not None:
        limits = replace(limits, rate_limit=None if rate_limit == inf else rate_limit)
    return limits
