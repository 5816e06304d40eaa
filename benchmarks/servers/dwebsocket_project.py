"""A Django project in one file with the views of dwebsocket's users that never let go.

The catalogue serves it with ``python -m adwebsocket``. It imports what such projects import, and
must not use anything that dwebsocket did not have.
"""

import threading
import time

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from dwebsocket.decorators import require_websocket

from adwebsocket.asgi import get_asgi_application

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="benchmark")

running = 0
lock = threading.Lock()


def count(change: int) -> None:
    global running
    with lock:
        running += change


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page")


def how_many(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"running": running})


@require_websocket
def read(request: HttpRequest) -> None:
    count(1)
    while True:
        request.websocket.read()


@require_websocket
def has_messages(request: HttpRequest) -> None:
    count(1)
    while not request.websocket.has_messages():
        pass


@require_websocket
def push(request: HttpRequest) -> None:
    count(1)
    while True:
        request.websocket.send("tick")


@require_websocket
def push_slowly(request: HttpRequest) -> None:
    count(1)
    while True:
        request.websocket.send("tick")
        time.sleep(0.1)


urlpatterns = [
    path("page", page),
    path("running", how_many),
    path("read", read),
    path("has-messages", has_messages),
    path("push", push),
    path("push-slowly", push_slowly),
]
application = get_asgi_application()
