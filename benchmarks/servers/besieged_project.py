"""adwebsocket under siege: a Django project with echo views, and views that send without end.

``benchmarks/hostile.py`` serves it with ``python -m adwebsocket``. Beside WebSockets it has one
page, which tells the server's memory when all that is free has been given back.
"""

import asyncio
import ctypes
import gc
import resource
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

from adwebsocket import require_websocket
from adwebsocket.asgi import get_asgi_application

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="benchmark")

MESSAGE = b"x" * 20_000


@require_websocket
async def async_echo(request: HttpRequest) -> None:
    async for message in request.websocket:
        await request.websocket.send(message)


@require_websocket
def sync_echo(request: HttpRequest) -> None:
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket
async def async_flood(request: HttpRequest) -> None:
    while True:
        await request.websocket.send(MESSAGE)
        await asyncio.sleep(0)


@require_websocket
def sync_flood(request: HttpRequest) -> None:
    while True:
        request.websocket.send(MESSAGE)


def show_memory(request: HttpRequest) -> HttpResponse:
    """Give the resident memory in bytes."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # in glibc
        libc.malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return HttpResponse(str(pages * resource.getpagesize()))


urlpatterns = [
    path("async/echo", async_echo),
    path("sync/echo", sync_echo),
    path("async/flood", async_flood),
    path("sync/flood", sync_flood),
    path("memory", show_memory),
]
application = get_asgi_application()
