"""``dwebsocket.middleware``."""

from adwebsocket.compat import WebSocketMiddleware

__all__ = ["WebSocketMiddleware"]
