"""adwebsocket: a Django project in one file with an async and a sync echo view.

The catalogue serves it with ``python -m adwebsocket``. It has no middleware and no database,
like its peers beside it, and must not use anything but the public names.
"""

import os

from django.conf import settings
from django.http import HttpRequest
from django.urls import path

from adwebsocket import require_websocket
from adwebsocket.asgi import get_asgi_application

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="benchmark",
    WEBSOCKET_SYNC_RUNNER=os.environ.get("WEBSOCKET_SYNC_RUNNER", "thread"),
    WEBSOCKET_MAX_THREADS=20_000,
)


@require_websocket
async def async_echo(request: HttpRequest) -> None:
    async for message in request.websocket:
        await request.websocket.send(message)


@require_websocket
def sync_echo(request: HttpRequest) -> None:
    for message in request.websocket:
        request.websocket.send(message)


urlpatterns = [path("async", async_echo), path("sync", sync_echo)]
application = get_asgi_application()
