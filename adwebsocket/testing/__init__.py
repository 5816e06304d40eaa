"""WebSockets in a project's own tests: clients for test cases, and a server for browsers.

Tests import it; a server never does. The clients are Django's, with ``websocket()`` beside
``get()`` and ``post()``: real frames over a real connection into the real application, inside the
test's transaction, with no server process and no event loop in the test.
"""

from .async_sockets import AsyncClientWebSocket
from .clients import AsyncWebSocketClient, WebSocketClient
from .live import WebSocketLiveServerTestCase
from .sockets import ClientWebSocket

__all__ = [
    "AsyncClientWebSocket",
    "AsyncWebSocketClient",
    "ClientWebSocket",
    "WebSocketClient",
    "WebSocketLiveServerTestCase",
]
