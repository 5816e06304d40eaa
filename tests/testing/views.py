"""Views in pairs, a sync and an async one each, for tests of the sockets that open them."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse, HttpResponseForbidden, HttpResponseRedirect
from django.urls import path

from adwebsocket import require_websocket

if TYPE_CHECKING:
    from collections.abc import Callable

released = threading.Event()
"""Set by a test to let go on what hangs."""

passed = threading.Event()
"""Set by a view that has come to its end."""


class Middleware:
    """Say on each response of a handshake that it was here."""

    def __init__(self, get_response: Callable[..., Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return HttpResponseForbidden("the middleware was here")


def hang() -> None:
    released.wait(20)  # the line that hangs


@require_websocket(subprotocols=["chat", "news"])
def echo(request: Any) -> None:
    for message in request.websocket:
        request.websocket.send(message)
    passed.set()


@require_websocket(subprotocols=["chat", "news"])
async def async_echo(request: Any) -> None:
    async for message in request.websocket:
        await request.websocket.send(message)
    passed.set()


@require_websocket
def raising(request: Any) -> None:
    raise ValueError(f"wrong: {request.websocket.wait()}")


@require_websocket
async def async_raising(request: Any) -> None:
    raise ValueError(f"wrong: {await request.websocket.wait()}")


@require_websocket(accept="manual")
def raising_early(request: Any) -> None:
    raise ValueError("wrong from the start")


@require_websocket(accept="manual")
async def async_raising_early(request: Any) -> None:
    raise ValueError("wrong from the start")


@require_websocket
def hanging(request: Any) -> None:
    request.websocket.send("hanging")
    hang()


@require_websocket
async def async_hanging(request: Any) -> None:
    await request.websocket.send("hanging")
    await asyncio.sleep(20)  # the line that hangs


@require_websocket(accept="manual")
def never_answering(request: Any) -> None:
    hang()


@require_websocket(accept="manual")
async def async_never_answering(request: Any) -> None:
    await asyncio.sleep(20)  # the line that hangs


@require_websocket
async def blocking(request: Any) -> None:
    await request.websocket.wait()
    released.wait(20)  # the line that blocks the loop


@require_websocket
def pushing(request: Any) -> None:
    while True:
        request.websocket.send("x" * 20_000)


@require_websocket
async def async_pushing(request: Any) -> None:
    while True:
        await request.websocket.send("x" * 20_000)
        await asyncio.sleep(0)


@require_websocket
def closing(request: Any) -> None:
    request.websocket.send("last words")
    request.websocket.close(4001, "enough")


@require_websocket
async def async_closing(request: Any) -> None:
    await request.websocket.send("last words")
    request.websocket.close(4001, "enough")


@require_websocket
def late(request: Any) -> None:
    for message in request.websocket:
        time.sleep(0.05)
        request.websocket.send(message)


@require_websocket
async def async_late(request: Any) -> None:
    async for message in request.websocket:
        await asyncio.sleep(0.05)
        await request.websocket.send(message)


@require_websocket(accept="manual")
def refusing(request: Any) -> HttpResponse:
    response = HttpResponseForbidden("not for you", headers={"X-Reason": "a test"})
    response.set_cookie("seen", "yes")
    return response


@require_websocket(accept="manual")
async def async_refusing(request: Any) -> HttpResponse:
    response = HttpResponseForbidden("not for you", headers={"X-Reason": "a test"})
    response.set_cookie("seen", "yes")
    return response


@require_websocket(accept="manual")
def redirecting(request: Any) -> HttpResponse:
    return HttpResponseRedirect("/elsewhere/")


@require_websocket(accept="manual")
def baking(request: Any) -> None:
    """Set a cookie, and send those that came."""
    request.websocket.accept(headers=[("Set-Cookie", "flavour=vanilla; Path=/")])
    request.websocket.send_json(request.COOKIES)


@require_websocket(accept="manual")
async def async_baking(request: Any) -> None:
    await request.websocket.accept(headers=[("Set-Cookie", "flavour=vanilla; Path=/")])
    await request.websocket.send_json(request.COOKIES)


@require_websocket
def describing(request: Any) -> None:
    """Send what the handshake says."""
    request.websocket.send_json(
        {
            "address": request.build_absolute_uri(),
            "client": request.META["REMOTE_ADDR"],
            "headers": dict(request.headers),
        }
    )


def page(request: Any) -> HttpResponse:
    return HttpResponse("a page")


COLOURED = {
    "echo": (echo, async_echo),
    "raising": (raising, async_raising),
    "raising_early": (raising_early, async_raising_early),
    "hanging": (hanging, async_hanging),
    "never_answering": (never_answering, async_never_answering),
    "pushing": (pushing, async_pushing),
    "closing": (closing, async_closing),
    "late": (late, async_late),
    "refusing": (refusing, async_refusing),
    "baking": (baking, async_baking),
}
urlpatterns = [
    *(path(f"sync/{name}/", views[0]) for name, views in COLOURED.items()),
    *(path(f"async/{name}/", views[1]) for name, views in COLOURED.items()),
    path("blocking/", blocking),
    path("describing/", describing),
    path("page/", page),
    path("redirecting/", redirecting),
]
