"""The entry of ``"adwebsocket"`` in ``INSTALLED_APPS``.

Django loads it while it sets the project up: it brings ``manage.py runserver`` and the system
checks. WebSockets work without it, so nothing that a connection needs may be set up here.
"""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig

from . import alias
from .conf import read_settings

alias.install()


class AdwebsocketConfig(AppConfig):
    """Register the system checks; the development server is found by its place in the package."""

    name = "adwebsocket"
    verbose_name = "WebSockets"

    def ready(self) -> None:
        import_module("adwebsocket.checks")
        # Mistakes in other settings are for the checks to report, all at once.
        settings, _ = read_settings()
        if not settings.dwebsocket_alias:
            alias.uninstall()
