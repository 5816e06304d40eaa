"""``dwebsocket.backends.uwsgi.factory``, which settings name and nobody needs."""

from adwebsocket.compat import WebSocketFactory as uWsgiWebSocketFactory

__all__ = ["uWsgiWebSocketFactory"]
