"""The entry of ``"adwebsocket"`` in ``INSTALLED_APPS``.

Django loads it while it sets the project up: it brings ``manage.py runserver`` and the system
checks. WebSockets work without it, so nothing that a connection needs may be set up here.
"""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig

from . import alias
from .conf import get_settings

alias.install()


class AdwebsocketConfig(AppConfig):
    """Register the system checks; the development server is found by its place in the package."""

    name = "adwebsocket"
    verbose_name = "WebSockets"

    def ready(self) -> None:
        import_module("adwebsocket.checks")
        if not get_settings().dwebsocket_alias:
            alias.uninstall()
