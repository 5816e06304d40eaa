"""WebSockets for Django, for sync and async views.

Names load when they are first asked for: a settings file may import this package, and uvicorn
finds the protocol class here without Django.
"""

from __future__ import annotations

from importlib import import_module

from ._version import __version__

# As in alias.py, which every interpreter of the environment imports with this.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .async_websocket import AsyncWebSocket
    from .decorators import accept_websocket, require_websocket
    from .exceptions import ConnectionClosed
    from .middleware import WebSocketMiddleware
    from .monitoring.statistics import stats
    from .transport.uvicorn_protocol import WebSocketProtocol
    from .websocket import WebSocket

__all__ = [
    "AsyncWebSocket",
    "ConnectionClosed",
    "WebSocket",
    "WebSocketMiddleware",
    "WebSocketProtocol",
    "__version__",
    "accept_websocket",
    "require_websocket",
    "stats",
]

_HOMES = {
    "AsyncWebSocket": ".async_websocket",
    "ConnectionClosed": ".exceptions",
    "WebSocket": ".websocket",
    "WebSocketMiddleware": ".middleware",
    "WebSocketProtocol": ".transport.uvicorn_protocol",
    "accept_websocket": ".decorators",
    "require_websocket": ".decorators",
    "stats": ".monitoring.statistics",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
