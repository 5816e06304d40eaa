"""Checks of the settings by themselves: names and values of ``WEBSOCKET_*``, and old ones.

Each mistake is a message of its own, so that a project is set right in one go.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured

from ..conf import PREFIX, known_settings, read_settings, unknown_settings
from ..groups.options import read_config
from ..groups.registry import find_backend
from ..validation import suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.apps import AppConfig

# Those of dwebsocket, which have a check of their own.
_OLD_SETTINGS = {"WEBSOCKET_FACTORY_CLASS"}


@register()
def check_values(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Report E002: a setting whose value has no meaning."""
    configured, problems = read_settings()
    try:
        backend = read_config(configured.groups).backend
        if backend is not None:
            find_backend(backend)
    except ImproperlyConfigured as error:
        problems.append(str(error))
    return [
        Error(
            f"{problem.rstrip('.')}.",
            hint="No server starts with it: correct the value, or remove it for the default.",
            id="adwebsocket.E002",
        )
        for problem in problems
    ]


@register()
def check_names(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Report W003 and I001: a setting that begins as ours do and is none of ours."""
    messages: list[CheckMessage] = []
    for name in unknown_settings():
        if name in _OLD_SETTINGS:
            continue
        # Without what they share, which would make all of them alike.
        known = [each.removeprefix(PREFIX) for each in known_settings()]
        meant = suggest(name.removeprefix(PREFIX), known)
        if meant is not None:
            messages.append(
                Warning(
                    f"The setting {name} does not exist, so it has no effect.",
                    hint=f"Did you mean {PREFIX}{meant}?",
                    id="adwebsocket.W003",
                )
            )
        else:
            messages.append(
                Info(
                    f"The setting {name} is none of adwebsocket's, which ignores it.",
                    hint="Where it is the project's own or another package's, all is well.",
                    id="adwebsocket.I001",
                )
            )
    return messages


@register()
def check_greenlet_is_installed(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[CheckMessage]:
    """Report E003: the greenlet runner without the package that it needs."""
    configured, _ = read_settings()
    if configured.sync_runner != "greenlet" or find_spec("greenlet") is not None:
        return []
    return [
        Error(
            "WEBSOCKET_SYNC_RUNNER is 'greenlet', but the package greenlet is not installed.",
            hint="pip install 'adwebsocket[greenlet]', or let threads run the views.",
            id="adwebsocket.E003",
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
