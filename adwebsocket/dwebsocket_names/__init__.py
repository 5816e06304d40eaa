"""``dwebsocket``, as ``adwebsocket.alias`` lets it be imported.

The modules of this package have the names of those of dwebsocket 0.5 and hold what legacy projects
take from them. What it does is in ``adwebsocket.compat``.
"""

from adwebsocket.compat import accept_websocket, require_websocket

__all__ = ["accept_websocket", "require_websocket"]
