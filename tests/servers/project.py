"""A small Django project with a view for everything that a server must carry.

The servers under test import it: its application on any of them must behave the same. The process
of the tests never does; it prepares the database in a process of its own, by ``prepare()``.

Where behaviour might depend on it, there is a view of each colour, below ``sync/`` and ``async/``.
"""

from __future__ import annotations

import os
import threading
from functools import wraps
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings

settings.configure(
    SECRET_KEY="for tests",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("PROJECT_DATABASE", ":memory:"),
        }
    },
    LOGIN_URL="/login/",
    WEBSOCKET_CLOSE_ON_LOGOUT="PROJECT_CLOSE_ON_LOGOUT" in os.environ,
    WEBSOCKET_MAX_CONNECTIONS_PER_IP=int(os.environ.get("PROJECT_CONNECTIONS_PER_IP", 0)) or None,
    WEBSOCKET_SYNC_RUNNER=os.environ.get("ADWEBSOCKET_TEST_RUNNER", "thread"),
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "INFO"},
    },
)

from adwebsocket.asgi import get_asgi_application  # noqa: E402

application = get_asgi_application()

from django.contrib.auth import login, logout  # noqa: E402
from django.contrib.auth.decorators import login_required  # noqa: E402
from django.core.exceptions import PermissionDenied  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.urls import include, path, reverse  # noqa: E402

from adwebsocket import ConnectionClosed, accept_websocket, require_websocket  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from django.http import HttpRequest, HttpResponseBase

    from adwebsocket import AsyncWebSocket, WebSocket
    from adwebsocket.request import WebSocketRequest
    from adwebsocket.websocket_base import WebSocketBase

    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]

    class SyncRequest(WebSocketRequest):
        websocket: WebSocket

    class AsyncRequest(WebSocketRequest):
        websocket: AsyncWebSocket


# Longer than any test waits.
PATIENCE = 60.0

# The first of these that a client offers is chosen.
SUBPROTOCOLS = ["chat.v2", "chat.v1"]


async def listened_application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Stand in for any ASGI middleware that listens in, so that the direct path is not taken.

    It also leaves out of the scope what the specification allows to be missing.
    """

    async def listening_receive() -> Any:
        return await receive()

    async def listening_send(event: Any) -> None:
        await send(event)

    if scope["type"] == "websocket":
        defaults = {"http_version": "1.1", "scheme": "ws", "root_path": "", "query_string": b""}
        defaults |= {"subprotocols": []}
        scope = {
            name: value
            for name, value in scope.items()
            if name not in defaults or value != defaults[name]
        }
    await application(scope, listening_receive, listening_send)


def prepare() -> None:
    """Make the tables, a user and a session, and print the session's key."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    user = User.objects.create_user("ada")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session["city"] = "Zürich"
    session.create()
    print(session.session_key)


class Reports:
    """What views have seen when their client was gone, for a client that asks later."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.values: dict[str, dict[str, Any]] = {}

    def file(self, name: str, socket: WebSocketBase, **facts: Any) -> None:
        """Report how a connection has ended."""
        with self.changed:
            self.values[name] = {
                "code": socket.close_code,
                "reason": socket.close_reason,
                "closed": socket.closed,
                "is_closed": socket.is_closed(),
                **facts,
            }
            self.changed.notify_all()

    def wait_for(self, name: str) -> dict[str, Any]:
        """Wait until a report of this name has come."""
        with self.changed:
            assert self.changed.wait_for(lambda: name in self.values, PATIENCE)
            return self.values[name]


reports = Reports()


def show_report(request: HttpRequest, name: str) -> HttpResponse:
    return JsonResponse(reports.wait_for(name))


# Logins


def begin_session(request: HttpRequest) -> HttpResponse:
    """Log in as ada, and show the key of the session."""
    from django.contrib.auth.models import User

    login(request, User.objects.get(username="ada"))
    return HttpResponse(request.session.session_key or "")


def end_session(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


# Messages


@require_websocket(subprotocols=SUBPROTOCOLS)
def sync_echo(request: SyncRequest) -> None:
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket(subprotocols=SUBPROTOCOLS)
async def async_echo(request: AsyncRequest) -> None:
    async for message in request.websocket:
        await request.websocket.send(message)


@require_websocket
def sync_patience(request: SyncRequest) -> None:
    early = request.websocket.wait(timeout=0.01)
    request.websocket.send(f"nothing: {early!r}, {request.websocket.is_closed()}")
    request.websocket.send(f"then: {request.websocket.wait(timeout=PATIENCE)!r}")


@require_websocket
async def async_patience(request: AsyncRequest) -> None:
    early = await request.websocket.wait(timeout=0.01)
    await request.websocket.send(f"nothing: {early!r}, {request.websocket.is_closed()}")
    await request.websocket.send(f"then: {await request.websocket.wait(timeout=PATIENCE)!r}")


@require_websocket
def sync_farewell(request: SyncRequest) -> None:
    for number in range(100):
        request.websocket.send(f"last words {number}")
    request.websocket.close(4000)


@require_websocket
async def async_farewell(request: AsyncRequest) -> None:
    for number in range(100):
        await request.websocket.send(f"last words {number}")
    await request.websocket.close(4000)


# The end


@require_websocket
def sync_closing(request: SyncRequest) -> None:
    request.websocket.close(4001, "genug für heute")


@require_websocket
async def async_closing(request: AsyncRequest) -> None:
    await request.websocket.close(4001, "genug für heute")


@require_websocket
def sync_returning(request: SyncRequest) -> HttpResponse:
    request.websocket.send("bye")
    return HttpResponse("nobody sees this")


@require_websocket
async def async_returning(request: AsyncRequest) -> HttpResponse:
    await request.websocket.send("bye")
    return HttpResponse("nobody sees this")


@require_websocket
def sync_leaving(request: SyncRequest) -> None:
    request.websocket.wait()


@require_websocket
async def async_leaving(request: AsyncRequest) -> None:
    await request.websocket.wait()


@require_websocket
def sync_failing(request: SyncRequest) -> None:
    request.websocket.send("hold on")
    raise ZeroDivisionError("the sync view is broken on purpose")


@require_websocket
async def async_failing(request: AsyncRequest) -> None:
    await request.websocket.send("hold on")
    raise ZeroDivisionError("the async view is broken on purpose")


@require_websocket
def sync_reporting(request: SyncRequest, name: str) -> None:
    request.websocket.send("ready")
    messages = list(request.websocket)
    try:
        request.websocket.send("is anybody there?")
    except ConnectionClosed as error:
        reports.file(name, request.websocket, messages=messages, error=error.code)


@require_websocket
async def async_reporting(request: AsyncRequest, name: str) -> None:
    await request.websocket.send("ready")
    messages = [message async for message in request.websocket]
    try:
        await request.websocket.send("is anybody there?")
    except ConnectionClosed as error:
        reports.file(name, request.websocket, messages=messages, error=error.code)


# Refusals


@login_required
@require_websocket
def sync_private(request: SyncRequest) -> None:
    request.websocket.send(f"hello {request.user.get_username()}")


@login_required
@require_websocket
async def async_private(request: AsyncRequest) -> None:
    name = await sync_to_async(lambda: request.user.get_username())()
    await request.websocket.send(f"hello {name}")


def members_only(view: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a view as most projects do somewhere: by a sync function that asks the database."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not request.user.is_authenticated:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return wrapper


@members_only
@require_websocket
def sync_members(request: SyncRequest) -> None:
    request.websocket.send(f"hello {request.user.get_username()}")


@members_only
@require_websocket
async def async_members(request: AsyncRequest) -> None:
    name = await sync_to_async(lambda: request.user.get_username())()
    await request.websocket.send(f"hello {name}")


async def unmarked(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page")


@require_websocket
def channel(request: SyncRequest) -> None:
    request.websocket.send(type(request.channel).__name__)


# The handshake in the hands of the view


@require_websocket(accept="manual")
def sync_manual(request: SyncRequest) -> HttpResponseBase | None:
    if "accept" not in request.GET:
        return refusal_by_hand(request)
    request.websocket.accept("by-hand", {"X-Room": request.GET["accept"]})
    request.websocket.send("accepted")
    request.websocket.wait()
    return None


@require_websocket(accept="manual")
async def async_manual(request: AsyncRequest) -> HttpResponseBase | None:
    if "accept" not in request.GET:
        return refusal_by_hand(request)
    request.websocket.accept("by-hand", {"X-Room": request.GET["accept"]})
    await request.websocket.send("accepted")
    await request.websocket.wait()
    return None


def refusal_by_hand(request: WebSocketRequest) -> HttpResponse:
    response = HttpResponse("short and stout", status=418)
    response["X-Room"] = request.GET.get("room", "kitchen")
    for name in request.GET.getlist("cookie"):
        response.set_cookie(name, "tea")
    return response


# The request


@accept_websocket
def sync_request(request: SyncRequest, number: int, word: str) -> HttpResponse | None:
    facts = facts_of(request, number, word)
    if not request.is_websocket():
        return JsonResponse(facts)
    request.websocket.send_json(facts)
    return None


@accept_websocket
async def async_request(request: AsyncRequest, number: int, word: str) -> HttpResponse | None:
    facts = await sync_to_async(facts_of)(request, number, word)
    if not request.is_websocket():
        return JsonResponse(facts)
    await request.websocket.send_json(facts)
    return None


def facts_of(request: HttpRequest, number: int, word: str) -> dict[str, Any]:
    """Say everything that a view may want to know of its request."""
    match = request.resolver_match
    assert match is not None
    return {
        "method": request.method,
        "scheme": request.scheme,
        "is_secure": request.is_secure(),
        "host": request.get_host(),
        "port": request.get_port(),
        "path": request.path,
        "full_path": request.get_full_path(),
        "absolute_uri": request.build_absolute_uri("/elsewhere/"),
        "query": {name: request.GET.getlist(name) for name in request.GET},
        "form": dict(request.POST),
        "body": request.body.decode(),
        "cookies": request.COOKIES,
        "meta": text_of(request.META),
        "headers": dict(request.headers),
        "user": request.user.get_username(),
        "is_authenticated": request.user.is_authenticated,
        "city": request.session.get("city"),
        "arguments": {"number": number, "word": word},
        "view_name": match.view_name,
        "route": match.route,
        "match": match.kwargs,
        "address": reverse(match.view_name, kwargs={"number": 7, "word": "back"}),
    }


def text_of(meta: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in meta.items() if isinstance(value, str)}


# Pages beside WebSockets


@accept_websocket
def sync_page(request: SyncRequest) -> HttpResponse:
    return plain_answer(request)


@accept_websocket
async def async_page(request: AsyncRequest) -> HttpResponse:
    return plain_answer(request)


def plain_answer(request: WebSocketRequest) -> HttpResponse:
    assert request.websocket is None
    assert not request.is_websocket()
    return HttpResponse(f"{request.method} {request.POST.get('word')}")


def urls_of(colour: str, views: dict[str, Callable[..., Any]]) -> list[Any]:
    """Give both colours the same addresses."""
    return [
        path(address, views[f"{colour}_{address.split('/')[0]}"], name=address.split("/")[0])
        for address in (
            "echo/",
            "patience/",
            "farewell/",
            "closing/",
            "returning/",
            "leaving/",
            "failing/",
            "reporting/<str:name>/",
            "private/",
            "members/",
            "manual/",
            "request/<int:number>/<slug:word>/",
            "page/",
        )
    ]


urlpatterns = [
    path("sync/", include((urls_of("sync", globals()), "sync"))),
    path("async/", include((urls_of("async", globals()), "async"))),
    path("unmarked/", unmarked),
    path("channel/", channel),
    path("session/begin/", begin_session),
    path("session/end/", end_session),
    path("reports/<str:name>/", show_report),
]
