"""adwebsocket: a Django project in one file whose views send each message to all members.

The catalogue serves it with ``python -m adwebsocket``; the benchmark puts the back-end into the
environment. It must not use anything but the public names.
"""

import json
import os

from django.conf import settings
from django.http import HttpRequest
from django.urls import path

from adwebsocket import groups, require_websocket
from adwebsocket.asgi import get_asgi_application

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="benchmark",
    WEBSOCKET_GROUPS=json.loads(os.environ.get("BENCHMARK_GROUPS", '"memory"')),
    WEBSOCKET_MAX_THREADS=20_000,
)


@require_websocket
async def async_relay(request: HttpRequest) -> None:
    await request.websocket.join("room")
    async for message in request.websocket:
        await groups.asend("room", message)


@require_websocket
def sync_relay(request: HttpRequest) -> None:
    request.websocket.join("room")
    for message in request.websocket:
        groups.send("room", message)


urlpatterns = [path("async", async_relay), path("sync", sync_relay)]
application = get_asgi_application()
