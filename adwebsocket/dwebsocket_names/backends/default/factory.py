"""``dwebsocket.backends.default.factory``."""

from adwebsocket.compat import WebSocketFactory

__all__ = ["WebSocketFactory"]
