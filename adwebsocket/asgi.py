"""The ASGI application: start reading here.

This is the story of one connection, top to bottom. A server calls the application with a scope;
plain HTTP goes to Django's own handler, and a WebSocket becomes a request that passes middleware,
``urls.py`` and decorators once, until our decorator accepts it and the view runs::

    server -> ASGIApplication.__call__ -> serve_websocket
        find_channel          the connection, straight from our protocol class or over plain ASGI
        WebSocketRequest      the handshake as an HttpRequest, with request.websocket
        resolve_early         is the view sync or async?
        serve_sync_view       in a thread or a greenlet: SyncHandler -> decorator -> view
        serve_async_view      on the event loop:         AsyncHandler -> decorator -> view
        answer                nobody accepted: the response is the answer to the handshake
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.cache import caches, close_caches
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import reset_urlconf
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, reset_queries
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from . import accounts, alias, live
from .client_limits import client_of, give_back_place, take_place
from .conf import get_limits, get_settings
from .database import use_async_view_pool
from .exceptions import HandshakeError
from .groups.registry import get_hub, prepare_to_serve, stop_hub
from .handlers import (
    AsyncHandler,
    SyncHandler,
    is_async_view,
    no_room_response,
    resolve_early,
    too_many_response,
)
from .monitoring import control
from .protocol.codes import CloseCode
from .protocol.handshake import check_upgrade, wants_websocket
from .refusals import count_refusal, mark_refusal
from .request import WebSocketRequest
from .runners.base import RunnerFull
from .transport.asgi_channel import AsgiChannel
from .transport.asgi_interface import find_channel
from .transport.lag import watch_loop
from .transport.tally import tally
from .view_runners import ViewRunners

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import TypeAlias

    from django.dispatch import Signal
    from django.http import HttpResponse

    from .transport.channel import Channel

    Scope: TypeAlias = dict[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
    Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]

logger = logging.getLogger("adwebsocket")

alias.install()


def get_asgi_application() -> ASGIApplication:
    """Set up Django and give the project's ASGI application, for HTTP, WebSockets and lifespan.

    It runs on any ASGI server; ours, ``adwebsocket``, is the fastest.
    """
    django.setup(set_prefix=False)
    return ASGIApplication()


class ASGIApplication:
    """A Django project as one ASGI application."""

    def __init__(self) -> None:
        self.http_handler = ASGIHandler()
        self.sync_handler = SyncHandler()
        self.async_handler = AsyncHandler()
        self.runners = ViewRunners()
        prepare_to_serve()  # a mistake in WEBSOCKET_GROUPS shall turn out at the start
        if not get_settings().dwebsocket_alias:
            alias.uninstall()
        if get_settings().close_on_logout:
            accounts.watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the server's start and stop."""
        kind = scope["type"]
        if kind == "websocket":
            await self.serve_websocket(scope, receive, send)
        elif kind == "http":
            await self.serve_http(scope, receive, send)
        elif kind == "lifespan":
            await serve_lifespan(receive, send)
        else:
            raise ValueError(f"expected http, websocket or lifespan, got {kind!r}")

    async def serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let Django answer; a handshake that the server took for a page is told its fault."""
        if wants_websocket(scope["headers"]):
            try:
                check_upgrade(scope["method"], scope["http_version"], scope["headers"])
            except HandshakeError as error:
                tally.refusals.count(str(error.status))
                tally.reasons.count("handshake")
                await refuse_malformed_handshake(error, send)
                return
        await self.http_handler(scope, receive, send)

    def serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one WebSocket from the handshake to its end.

        Not a coroutine itself: each one that waits for another costs a connection 0.3 KB for as
        long as it lasts.
        """
        channel = find_channel(scope, receive, send)
        if channel is None:
            return self.serve_plain_asgi(scope, receive, send)
        # The direct path: frames go from data_received to the view without a task, a dictionary
        # or a loop iteration in between.
        channel.configure(get_limits())
        return self.serve_channel(scope, channel)

    async def serve_plain_asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket over ``receive`` and ``send`` of any other server or middleware."""
        asgi_channel = AsgiChannel(scope, receive, send, get_limits())
        await asgi_channel.connect()
        try:
            await self.serve_channel(scope, asgi_channel)
        finally:
            await asgi_channel.disconnect()

    def serve_channel(self, scope: Scope, channel: Channel) -> Awaitable[None]:
        """Serve a WebSocket on its channel, if there is room for it and for its client."""
        control.open_socket()
        watch_loop()
        settings = get_settings()
        most = settings.max_connections
        if most is not None and live.count_live() >= most:
            reason = f"there are {most} (WEBSOCKET_MAX_CONNECTIONS)"
            return refuse_for_lack_of_room(channel, scope["path"], "connections", reason)
        if settings.max_connections_per_ip is not None:
            client = client_of(scope)
            if client is not None:
                most = settings.max_connections_per_ip
                return self.serve_client(scope, channel, client, most)
        return self.serve_request(scope, channel)

    async def serve_client(self, scope: Scope, channel: Channel, client: str, most: int) -> None:
        """Serve a WebSocket if its client has not as many as it may have."""
        if not take_place(client, most):
            refuse_greedy_client(channel, scope["path"], client, most)
            return
        try:
            await self.serve_request(scope, channel)
        finally:
            give_back_place(client)

    def serve_request(self, scope: Scope, channel: Channel) -> Awaitable[None]:
        """Make the handshake a request, and serve it in the colour of its view."""
        try:
            request = WebSocketRequest(scope, channel, self.runners)
        except UnicodeDecodeError:
            return refuse_query_string(channel)
        request.early_match = resolve_early(request)
        # A path that leads nowhere needs no thread: the async handler answers it as well.
        is_async = request.early_match is None or is_async_view(request.early_match.func)
        request.use_socket(is_async=is_async)
        if is_async and self.async_handler.is_fully_async:
            return self.serve_async_view(request)
        return self.serve_with_runner(request)

    async def serve_with_runner(self, request: WebSocketRequest) -> None:
        """Let a runner serve a sync view, while the event loop waits for its end."""
        live.enter(request)
        try:
            runner = self.runners.choose(getattr(request.early_match, "func", None))
            await runner.run(lambda: self.serve_sync_view(request))
        except RunnerFull as error:
            await refuse_for_lack_of_room(request.channel, request.path, "threads", str(error))
        finally:
            live.leave(request)
            request.channel.close(CloseCode.INTERNAL_ERROR)

    def serve_sync_view(self, request: WebSocketRequest) -> None:
        """Run middleware, view and the way back where the runner has put them."""
        request.take_seat()
        set_script_prefix_of(request)
        request_started.send(sender=ASGIApplication, scope=request.scope)
        response = self.sync_handler.get_response(request)
        try:
            if is_unanswered(request):
                # That of an async view acts at once, which is for the event loop's thread only.
                request.use_socket(is_async=False)
                refuse(request, response, b"".join(response))
        finally:
            finish(response)

    async def serve_async_view(self, request: WebSocketRequest) -> None:
        """The same on the event loop; what blocks there runs in a bounded pool of threads."""
        live.enter(request)
        try:
            use_async_view_pool()
            set_script_prefix_of(request)
            if has_listeners(request_started):
                send = sync_to_async(request_started.send)
                await send(sender=ASGIApplication, scope=request.scope)
            response = await self.async_handler.get_response_async(request)
            try:
                if is_unanswered(request):
                    refuse(request, response, await read_body(response))
            finally:
                if must_be_finished(response, request):
                    await sync_to_async(finish)(response)
        finally:
            live.leave(request)
            request.channel.close(CloseCode.INTERNAL_ERROR)


def set_script_prefix_of(request: WebSocketRequest) -> None:
    """Tell ``reverse`` below which path the project is mounted, as Django's own handler does.

    That is nowhere, mostly, as it is in a context where nobody has set it; to set it would keep a
    copy for each connection.
    """
    prefix = settings.FORCE_SCRIPT_NAME or request.scope.get("root_path")
    if prefix and prefix != "/":
        set_script_prefix(prefix)


def is_unanswered(request: WebSocketRequest) -> bool:
    """Tell whether the handshake has been neither accepted nor refused by the view."""
    return not request.websocket.accepted and not request.websocket.closed


def refuse(request: WebSocketRequest, response: HttpResponseBase, body: bytes) -> None:
    """Answer the handshake with an ordinary response: a redirect, 403, 404 or what it may be."""
    count_refusal(response)
    headers = list(response.items())
    headers += [("Set-Cookie", cookie.OutputString()) for cookie in response.cookies.values()]
    if settings.DEBUG:
        # Before the client knows, which may ask at once.
        from .console import remember_refusal

        remember_refusal(request, response, body)
    request.websocket.refuse(response.status_code, headers, body)


async def read_body(response: HttpResponseBase) -> bytes:
    """Read a whole response on the event loop, a streaming one included."""
    if isinstance(response, StreamingHttpResponse):
        return b"".join([part async for part in response])
    return b"".join(response)


def has_listeners(signal: Signal) -> bool:
    """Tell whether anybody listens to a signal for whom the trip to a thread is worth while.

    Two trips are half of the time that a connection takes from handshake to end. Django's own
    receivers look after what a thread has: database connections, of which the pool takes care.
    """
    return any(entry[0][0] not in _RECEIVERS_OF_DJANGO for entry in signal.receivers)


_RECEIVERS_OF_DJANGO: Final = {
    id(receiver) for receiver in (reset_queries, close_old_connections, close_caches, reset_urlconf)
}


def must_be_finished(response: HttpResponseBase, request: WebSocketRequest) -> bool:
    """Tell whether something waits for the response of an async view to be closed."""
    closers: list[Any] = response._resource_closers  # type: ignore[attr-defined]
    return (
        has_listeners(request_finished)
        or getattr(response.close, "__func__", None) is not HttpResponseBase.close
        or any(closer != request.close for closer in closers)
        or bool(caches.all(initialized_only=True))
    )


def finish(response: HttpResponseBase) -> None:
    """Close the response, which sends ``request_finished``, where the database may be used."""
    response._handler_class = ASGIApplication  # type: ignore[attr-defined]
    response.close()


async def refuse_malformed_handshake(error: HandshakeError, send: Send) -> None:
    """Answer an HTTP request that wanted to be a WebSocket and cannot."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *error.headers]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{error.message}\n".encode()})


async def refuse_for_lack_of_room(channel: Channel, path: str, of: str, reason: str) -> None:
    """Answer a handshake with 503 and a time to come back."""
    logger.warning("Refused a WebSocket to %a: %s", path, reason)
    refuse_with(channel, mark_refusal(no_room_response(), of))


def refuse_greedy_client(channel: Channel, path: str, client: str, most: int) -> None:
    """Answer the handshake of a client that has enough with 429 and a time to come back."""
    logger.warning(
        "Refused a WebSocket to %a: the client %a has %d (WEBSOCKET_MAX_CONNECTIONS_PER_IP)",
        path,
        client,
        most,
    )
    refuse_with(channel, mark_refusal(too_many_response(), "client"))


def refuse_with(channel: Channel, response: HttpResponse) -> None:
    """Answer a handshake with a response in which nothing is asked of Django."""
    count_refusal(response)
    headers = [(name.encode(), value.encode()) for name, value in response.items()]
    channel.refuse(response.status_code, headers, response.content)


async def refuse_query_string(channel: Channel) -> None:
    """Answer a handshake whose address Django cannot read."""
    tally.reasons.count("handshake")
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    channel.refuse(400, headers, b"The query string must be UTF-8.\n")


async def serve_lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's start and stop, and be reachable for groups and questions in between."""
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            control.open_socket()
            watch_loop()
            get_hub()
        else:
            control.close_socket()
            await stop_hub()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
