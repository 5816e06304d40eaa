"""The ``HttpRequest`` of a WebSocket, and what plain requests get beside it.

The ASGI application makes one for each handshake; middleware, ``urls.py`` and views see a GET
request with a ``websocket`` on it.
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

from django.core.handlers.asgi import ASGIRequest
from django.core.serializers.json import DjangoJSONEncoder

from .async_websocket import AsyncWebSocket
from .groups.registry import get_hub
from .transport.bridge import get_bridge
from .transport.lag import clock
from .transport.waiting import manners
from .websocket import WebSocket
from .websocket_base import WebSocketBase

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeAlias, TypeGuard

    from django.http import HttpRequest
    from django.urls import ResolverMatch

    from .transport.channel import Channel
    from .transport.waiting import Seat
    from .view_runners import ViewRunners

    Scope: TypeAlias = Mapping[str, Any]

WebSocketBase.json_encoder = DjangoJSONEncoder
WebSocketBase.get_hub = staticmethod(get_hub)

_HTTP_SCHEMES = {"ws": "http", "wss": "https"}


class _NoBody(BytesIO):
    """The body of every handshake: one object for all, which a request may close as its own."""

    def close(self) -> None:
        pass


_NO_BODY = _NoBody()


# What is the same for many clients, and no secret of any.
_COMMON_TEXTS = {
    "HTTP_ACCEPT_ENCODING",
    "HTTP_ACCEPT_LANGUAGE",
    "HTTP_CACHE_CONTROL",
    "HTTP_CONNECTION",
    "HTTP_HOST",
    "HTTP_ORIGIN",
    "HTTP_PRAGMA",
    "HTTP_SEC_WEBSOCKET_EXTENSIONS",
    "HTTP_SEC_WEBSOCKET_VERSION",
    "HTTP_UPGRADE",
    "HTTP_USER_AGENT",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "SERVER_NAME",
    "SERVER_PORT",
}


def _share_texts(meta: dict[str, Any]) -> dict[str, Any]:
    """Give the same META, made of texts that it shares with the META of other connections.

    Names, hosts and browsers repeat: of each connection they would take more than the dictionary.
    """
    return {
        _one_of_equal(name): _one_of_equal(value) if name in _COMMON_TEXTS else value
        for name, value in meta.items()
    }


def _one_of_equal(text: str) -> str:
    return _repeated_text(text) if len(text) <= 256 else text


@lru_cache(maxsize=1024)
def _repeated_text(text: str) -> str:
    return text


class WebSocketRequest(ASGIRequest):
    """The handshake of a WebSocket as Django's request. Created on the event loop.

    Attributes:
        websocket: the WebSocket, blocking or async as the view is.
        channel: the connection under it.
        bridge: the way to the event loop of the connection, for other threads.
        runners: what can run the view if it is a sync one.
        early_match: what ``ROOT_URLCONF`` gives for the path, resolved before the middleware ran.
        entered_at: when the handshake came, on the clock of ``transport/lag.py``.
        seat: what runs the view if it is a sync one, as long as it does.
    """

    __slots__ = ("entered_at", "seat")
    websocket: WebSocketBase

    def __init__(self, scope: Scope, channel: Channel, runners: ViewRunners) -> None:
        # A websocket scope has no method.
        super().__init__({**scope, "method": "GET"}, _NO_BODY)
        # The server's own from here on: a copy would cost each connection half a kilobyte.
        self.scope = scope
        self.META = _share_texts(self.META)
        self.channel = channel
        self.runners = runners
        self.early_match: ResolverMatch | None = None
        self.entered_at = clock.now
        self.seat: Seat | None = None
        self.bridge = get_bridge()

    def _get_scheme(self) -> str:
        # That of the scope would make is_secure() and build_absolute_uri() speak of "wss".
        scheme: str = self.scope.get("scheme", "ws")
        return _HTTP_SCHEMES.get(scheme, scheme)

    def is_websocket(self) -> bool:
        """Tell that the request is a WebSocket."""
        return True

    def take_seat(self) -> None:
        """Note what runs the view, which is what runs the caller."""
        self.seat = manners().seat()

    def use_socket(self, *, is_async: bool, blocking_class: type[WebSocket] = WebSocket) -> None:
        """Put the socket of the view's colour on ``websocket``. From any thread."""
        if is_async:
            self.websocket = AsyncWebSocket(self.channel)
        else:
            self.websocket = blocking_class(self.channel, self.bridge)


def is_websocket_request(request: HttpRequest) -> TypeGuard[WebSocketRequest]:
    """Tell whether a request is a WebSocket handshake that our application serves."""
    return isinstance(getattr(request, "websocket", None), WebSocketBase)


def mark_plain_request(request: HttpRequest) -> None:
    """Give a plain HTTP request the two documented attributes."""
    request.is_websocket = _is_not_websocket  # type: ignore[attr-defined]
    request.websocket = None  # type: ignore[attr-defined]


def _is_not_websocket() -> bool:
    return False
