"""``dwebsocket.websocket``."""

from adwebsocket.compat import WebSocket

__all__ = ["WebSocket"]
