"""``dwebsocket.decorators``."""

from adwebsocket.compat import accept_websocket, require_websocket

__all__ = ["accept_websocket", "require_websocket"]
