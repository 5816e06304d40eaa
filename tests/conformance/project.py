"""What the Autobahn testsuite talks to: one echo for each way that messages take through us.

The runner serves it in a process of its own. The two views take the direct path; the ASGI
application knows nothing of us and gets dictionaries from our protocol class.
"""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.urls import path

from adwebsocket import require_websocket
from adwebsocket.asgi import get_asgi_application

CONTEXT_TAKEOVER = {"context_takeover": True, "window_bits": 15, "minimum_size": 0}

settings.configure(
    SECRET_KEY="for tests",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    # Section 9 sends messages of 16 MiB, and others in 65,536 fragments.
    WEBSOCKET_MAX_MESSAGE_SIZE=32 * 1024 * 1024,
    WEBSOCKET_MAX_FRAGMENTS=100_000,
    WEBSOCKET_COMPRESSION=CONTEXT_TAKEOVER if "CONTEXT_TAKEOVER" in os.environ else True,
)


@require_websocket
def sync_echo(request: Any) -> None:
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket
async def async_echo(request: Any) -> None:
    async for message in request.websocket:
        await request.websocket.send(message)


urlpatterns = [path("sync", sync_echo), path("async", async_echo)]
django_application = get_asgi_application()


async def plain_echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] != "websocket.disconnect":
        await send({**event, "type": "websocket.send"})


async def application(scope: Any, receive: Any, send: Any) -> None:
    chosen = plain_echo if scope["path"] == "/plain" else django_application
    await chosen(scope, receive, send)
