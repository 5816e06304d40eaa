"""A Django project whose views use a database in every way that could go wrong while they wait.

The server under test imports it, and finds its settings in the environment; the process of the
tests never does. What is asked of a view comes as messages.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings

settings.configure(
    SECRET_KEY="for tests",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": json.loads(os.environ["PROJECT_DATABASE"])},
    USE_TZ=True,
    MIDDLEWARE=[
        f"{__name__}.{name}"
        for name in os.environ.get("PROJECT_MIDDLEWARE", "querying_middleware").split(",")
    ],
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "INFO"},
    },
    **json.loads(os.environ.get("PROJECT_SETTINGS", "{}")),
)

from django.db import connection, transaction  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.decorators import sync_and_async_middleware  # noqa: E402

from adwebsocket import require_websocket, stats  # noqa: E402
from adwebsocket.asgi import get_asgi_application  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest


def ask(question: str) -> Any:
    """Run a query, and return the first column of its first row."""
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


@sync_and_async_middleware
def querying_middleware(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Ask the database before each view, as the middleware for sessions does."""
    if asyncio.iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> Any:
            await sync_to_async(ask)("SELECT 1")
            return await get_response(request)
    else:

        def middleware(request: HttpRequest) -> Any:
            ask("SELECT 1")
            return get_response(request)

    return middleware


def sync_only_middleware(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """Let async views be called from sync code."""
    return lambda request: get_response(request)


@require_websocket
def sync_asking(request: Any) -> None:
    for question in request.websocket:
        request.websocket.send_json(ask(question))


@require_websocket
async def async_asking(request: Any) -> None:
    async for question in request.websocket:
        await request.websocket.send_json(await sync_to_async(ask)(question))


@require_websocket
def transaction_view(request: Any) -> None:
    """Ask within a transaction, which is rolled back at the end of the connection."""
    with transaction.atomic():
        for question in request.websocket:
            request.websocket.send_json(ask(question))
        transaction.set_rollback(True)


@require_websocket
def leaving_view(request: Any, state: str) -> None:
    """Leave a connection as no view should."""
    ask("SELECT 1")
    if state == "atomic":
        transaction.atomic().__enter__()
    elif state == "autocommit":
        transaction.set_autocommit(False)
    elif state == "wrapper":
        connection.execute_wrappers.append(refuse)
    elif state == "broken":
        transaction.atomic().__enter__()
        ask("SELECT nonsense")
    elif state == "cursor":
        request.websocket.cursor = connection.cursor()
        request.websocket.cursor.execute("SELECT 1")
    elif state == "closed":
        transaction.atomic().__enter__()
        connection.close()
    request.websocket.send("left")


@require_websocket
def state_view(request: Any) -> None:
    """Tell the state of the connection that a view finds."""
    ask("SELECT 1")
    request.websocket.send_json(
        [connection.in_atomic_block, connection.autocommit, len(connection.execute_wrappers)]
    )


def refuse(execute: Any, *arguments: Any) -> None:
    raise RuntimeError("another view's wrapper")


urlpatterns = [
    path("sync/", sync_asking),
    path("async/", async_asking),
    path("transaction/", transaction_view),
    path("leaving/<str:state>/", leaving_view),
    path("state/", state_view),
    path("stats/", lambda request: JsonResponse(stats())),
]

# Last, since it looks for the middleware in this module.
application = get_asgi_application()
