"""Views that use the database in all the ways in which a test must see it, and they the test's."""

from __future__ import annotations

import threading
import time
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.db import connection, transaction
from django.http import HttpResponse
from django.urls import path

from adwebsocket import require_websocket

from .models import Note


def texts() -> list[str]:
    return list(Note.objects.order_by("text").values_list("text", flat=True))


@require_websocket
def sync_notes(request: Any) -> None:
    """Write down each message in a transaction, and send all notes."""
    for text in request.websocket:
        with transaction.atomic():
            Note.objects.create(text=text)
        request.websocket.send_json(texts())


@require_websocket
async def async_notes(request: Any) -> None:
    """The same on the event loop."""
    async for text in request.websocket:
        await Note.objects.acreate(text=text)
        await request.websocket.send_json(await sync_to_async(texts)())


@require_websocket
def silent_notes(request: Any) -> None:
    """Write down each message, and say nothing."""
    for text in request.websocket:
        Note.objects.create(text=text)


@require_websocket
def thread_notes(request: Any) -> None:
    """Let another thread look at the notes."""
    for _ in request.websocket:
        thread = threading.Thread(target=lambda: request.websocket.send_json(texts()))
        thread.start()
        thread.join()


@require_websocket
def committing(request: Any) -> None:
    """Answer when a transaction is committed."""
    for text in request.websocket:
        transaction.on_commit(lambda text=text: Note.objects.create(text=text))


@require_websocket
def sync_member(request: Any) -> None:
    """Be in a group."""
    request.websocket.join("room")
    request.websocket.send("joined")
    request.websocket.wait()


@require_websocket
async def async_member(request: Any) -> None:
    """Be in a group, on the event loop."""
    await request.websocket.join("room")
    await request.websocket.send("joined")
    await request.websocket.wait()


@login_required
@require_websocket
def whoami(request: Any) -> None:
    """Tell who has logged in."""
    request.websocket.send(request.user.get_username())


@require_websocket
def backend(request: Any) -> None:
    """Tell which connection of the database's this is, and keep it until the client goes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        number = cursor.fetchone()[0]
    request.websocket.send_json(number)
    request.websocket.wait()


@require_websocket
async def async_backend(request: Any) -> None:
    """Use a connection in a thread of the pool."""
    await request.websocket.send_json(await Note.objects.acount())
    await request.websocket.wait()


@require_websocket
def hanging(request: Any) -> None:
    """Sleep for longer than any test lasts."""
    request.websocket.send("hanging")
    time.sleep(600)


def page(request: Any) -> HttpResponse:
    """A page without a socket."""
    return HttpResponse(", ".join(texts()))


urlpatterns = [
    path("sync/", sync_notes),
    path("async/", async_notes),
    path("silent/", silent_notes),
    path("thread/", thread_notes),
    path("committing/", committing),
    path("sync-member/", sync_member),
    path("async-member/", async_member),
    path("whoami/", whoami),
    path("backend/", backend),
    path("async-backend/", async_backend),
    path("hanging/", hanging),
    path("page/", page),
]
