"""``dwebsocket.backends.default``."""
