"""Django's test clients, which can open WebSockets too.

A test case names one as its ``client_class``, or as its ``async_client_class``. What they add to
Django's is one method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.test import AsyncClient, Client

from .async_sockets import AsyncClientWebSocket
from .sockets import ClientWebSocket

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class WebSocketClient(Client):
    """Django's test client with ``websocket()``, for tests that block while they wait.

    Attributes:
        websocket_timeout: seconds that each wait of a socket takes at the most; on the class, for
            all, or on one client.
    """

    websocket_timeout = 5.0

    def websocket(
        self,
        path: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str | None] | None = None,
        query_params: Mapping[str, Any] | None = None,
        secure: bool = False,
        timeout: float | None = None,
        **extra: Any,
    ) -> ClientWebSocket:
        """Give a WebSocket to a path of the project, to be opened by ``with``.

        The handshake carries the client's cookies, and stores those that its answer sets. It comes
        from a page of the test's own host, unless ``headers`` say otherwise.

        Arguments:
            path: the path, with a query string or without.
            subprotocols: what the client offers, the preferred one first.
            headers: what the client sends, such as ``{"Origin": "https://elsewhere.example"}``;
                None leaves a header out that would be there.
            query_params: the query string as a dictionary.
            secure: whether it comes over TLS, as with ``get(secure=True)``.
            timeout: seconds that each wait takes at the most, in place of ``websocket_timeout``.
            extra: as for ``get()``: ``REMOTE_ADDR="192.0.2.1"``, ``HTTP_HOST="..."``.
        """
        arguments = (path, subprotocols, headers, query_params, secure, extra)
        seconds = self.websocket_timeout if timeout is None else timeout
        return ClientWebSocket(self, arguments, seconds)


class AsyncWebSocketClient(AsyncClient):
    """Django's async test client with ``websocket()``, for ``async def`` tests.

    Attributes:
        websocket_timeout: see ``WebSocketClient``.
    """

    websocket_timeout = 5.0

    def websocket(
        self,
        path: str,
        *,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str | None] | None = None,
        query_params: Mapping[str, Any] | None = None,
        secure: bool = False,
        timeout: float | None = None,
        **extra: Any,
    ) -> AsyncClientWebSocket:
        """Give a WebSocket to a path of the project, to be opened by ``async with``.

        The arguments are those of ``WebSocketClient.websocket``.
        """
        arguments = (path, subprotocols, headers, query_params, secure, extra)
        seconds = self.websocket_timeout if timeout is None else timeout
        return AsyncClientWebSocket(self, arguments, seconds)
