"""``dwebsocket.factory``."""

from adwebsocket.compat import WebSocketFactory

__all__ = ["WebSocketFactory"]
