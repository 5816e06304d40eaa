"""A Django project for hostile clients: views that note what happens to them, and ways to ask.

The server under test imports it; the process of the tests never does. Views of both colours stand
below ``sync/`` and ``async/``. What a view noted is read at ``/notes/NAME``, what it waits for is
opened at ``/open/NAME``, and ``/census`` counts what the process holds.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from django.conf import settings

from adwebsocket.asgi import get_asgi_application

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

settings.configure(
    SECRET_KEY="for tests",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=f"{__name__}.urls",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        *filter(None, os.environ.get("PROJECT_MIDDLEWARE", "").split(",")),
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("PROJECT_DATABASE", ":memory:"),
            "ATOMIC_REQUESTS": True,
            "OPTIONS": {"timeout": 30},
        }
    },
    USE_TZ=True,
    **json.loads(os.environ.get("PROJECT_SETTINGS", "{}")),
    WEBSOCKET_SYNC_RUNNER=os.environ.get("ADWEBSOCKET_TEST_RUNNER", "thread"),
    WEBSOCKET_CLOSE_TIMEOUT=float(os.environ.get("PROJECT_CLOSE_TIMEOUT", "10")),
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"level": {"format": "%(levelname)s %(name)s: %(message)s"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "level"}},
        "root": {"handlers": ["console"], "level": "INFO"},
    },
)


def sync_only_middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[..., Any]:
    """A middleware as in Django's tutorial, which knows nothing of async."""

    def middleware(request: HttpRequest) -> Any:
        return get_response(request)

    return middleware


application = get_asgi_application()


async def plain_application(scope: Any, receive: Any, send: Any) -> None:
    """The same application behind a layer that listens in, which the direct path must avoid."""

    async def listen(event: Any) -> None:
        await send(event)

    await application(scope, receive, listen)
