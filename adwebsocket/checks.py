"""The system checks: mistakes in a project's settings, found before the first connection.

``manage.py check`` and ``runserver`` call them once ``adwebsocket.apps`` has imported this module.
Each has a number that stays its own, so that ``SILENCED_SYSTEM_CHECKS`` works; none may open a
connection or import a view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.apps import AppConfig


@register()
def check_runserver_is_ours(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[CheckMessage]:
    """Report E001: of two apps with a ``runserver``, Django takes that of the first."""
    names = [config.name for config in apps.get_app_configs()]
    rival = "django.contrib.staticfiles"
    if rival not in names or names.index("adwebsocket") < names.index(rival):
        return []
    return [
        Error(
            f"'adwebsocket' stands after '{rival}' in INSTALLED_APPS, "
            "so 'manage.py runserver' serves no WebSockets.",
            hint=f"Put 'adwebsocket' before '{rival}'; it serves the static files as well.",
            id="adwebsocket.E001",
        )
    ]


@register()
def check_middleware_setting(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[CheckMessage]:
    """Report W001: a middleware setting from the time of dwebsocket, which Django ignores."""
    if not hasattr(settings, "MIDDLEWARE_CLASSES"):
        return []
    return [
        Warning(
            "The setting MIDDLEWARE_CLASSES has no effect: Django has ignored it since 2.0.",
            hint="Move its entries to MIDDLEWARE; 'dwebsocket.middleware.WebSocketMiddleware' "
            "works there as it is.",
            id="adwebsocket.W001",
        )
    ]


@register()
def check_factory_setting(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[CheckMessage]:
    """Report W002: the setting by which dwebsocket chose its server."""
    if not hasattr(settings, "WEBSOCKET_FACTORY_CLASS"):
        return []
    return [
        Warning(
            "The setting WEBSOCKET_FACTORY_CLASS has no effect: adwebsocket has one way to serve "
            "WebSockets, whichever ASGI server runs it.",
            hint="Remove it.",
            id="adwebsocket.W002",
        )
    ]
