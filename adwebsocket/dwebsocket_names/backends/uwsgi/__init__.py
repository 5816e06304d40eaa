"""``dwebsocket.backends.uwsgi``."""
