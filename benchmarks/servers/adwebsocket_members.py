"""adwebsocket with the session and auth middleware around an async and a sync echo view.

The catalogue serves it with ``python -m adwebsocket``. Each view looks who is there, as Channels'
middleware does without being asked.
"""

from django.http import HttpRequest
from django.urls import path

from adwebsocket import require_websocket
from adwebsocket.asgi import get_asgi_application
from benchmarks.servers.members import urlpatterns


@require_websocket
async def async_echo(request: HttpRequest) -> None:
    assert (await request.auser()).is_authenticated
    async for message in request.websocket:
        await request.websocket.send(message)


@require_websocket
def sync_echo(request: HttpRequest) -> None:
    assert request.user.is_authenticated
    for message in request.websocket:
        request.websocket.send(message)


urlpatterns += [path("async", async_echo), path("sync", sync_echo)]
application = get_asgi_application()
