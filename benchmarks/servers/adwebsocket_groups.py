"""adwebsocket: a Django project in one file whose views send each message to all members.

The catalogue serves it with ``python -m adwebsocket``, and names the back-end in the environment.
It must not use anything but the public names.
"""

import os

from django.conf import settings
from django.http import HttpRequest
from django.urls import path

from adwebsocket import groups, require_websocket
from adwebsocket.asgi import get_asgi_application

# What no kernel keeps for a member that does not read it, which then is never writable again.
TOO_MUCH = b"." * 16 * 2**20

backend = os.environ.get("BENCHMARK_GROUPS", "memory")
settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="benchmark",
    WEBSOCKET_GROUPS={
        "BACKEND": backend,
        "LOCATION": os.environ["BENCHMARK_REDIS"] if backend == "redis" else None,
    },
    WEBSOCKET_SYNC_RUNNER=os.environ.get("WEBSOCKET_SYNC_RUNNER", "thread"),
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


@require_websocket
async def overwhelm(request: HttpRequest) -> None:
    await request.websocket.join("room", slow="drop_oldest")
    await request.websocket.send(TOO_MUCH)


urlpatterns = [
    path("async", async_relay),
    path("sync", sync_relay),
    path("overwhelmed", overwhelm),
]
application = get_asgi_application()
