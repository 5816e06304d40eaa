"""What happens around the database: signals, threads, transactions, and the making of it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.contrib import auth
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.handlers.asgi import ASGIHandler
from django.core.management import call_command
from django.core.signals import got_request_exception, request_finished, request_started
from django.db import connection
from django.utils import timezone

from adwebsocket import require_websocket

from .inspection import notes

if TYPE_CHECKING:
    from collections.abc import Callable

SESSION_KEY = "session-of-user-0"


def note_signal(kind: str) -> Callable[..., None]:
    def note(sender: Any, **data: Any) -> None:
        if sender is not ASGIHandler:  # that one serves the pages, which tests ask for at any time
            notes["signals"].append([kind, threading.get_ident()])

    return note


NOTERS = {
    "started": (request_started, note_signal("started")),
    "finished": (request_finished, note_signal("finished")),
    "exception": (got_request_exception, note_signal("exception")),
}
for signal, noter in NOTERS.values():
    signal.connect(noter, weak=False)


@require_websocket
def sync_database(request: Any, name: str) -> None:
    """Note in which thread queries run, and whether a transaction is open."""
    User.objects.count()
    notes[name].append({"thread": threading.get_ident(), "atomic": connection.in_atomic_block})
    request.websocket.wait()


@require_websocket
async def async_database(request: Any, name: str) -> None:
    def look() -> dict[str, Any]:
        User.objects.count()
        return {"thread": threading.get_ident(), "atomic": connection.in_atomic_block}

    notes[name].append(await sync_to_async(look)())
    await request.websocket.wait()


@require_websocket
async def async_chunks(request: Any) -> None:
    """Read rows a few at a time, as for a long answer."""

    def read() -> list[str]:
        return [user.username for user in User.objects.order_by("id").iterator(chunk_size=2)]

    await request.websocket.send(",".join(await sync_to_async(read)()))


def prepare() -> None:
    """Create the tables, a few users, and a session in which the first of them is logged in."""
    call_command("migrate", verbosity=0)
    User.objects.bulk_create(User(username=f"user{number}") for number in range(7))
    user = User.objects.get(username="user0")
    content = {
        auth.SESSION_KEY: str(user.pk),
        auth.BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
        auth.HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    Session.objects.create(
        session_key=SESSION_KEY,
        session_data=SessionStore().encode(content),
        expire_date=timezone.now() + timedelta(days=1),
    )
