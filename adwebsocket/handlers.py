"""Django's request handling for WebSockets, once for each colour of view.

The ASGI application picks the handler that fits the view; middleware then runs as for HTTP. Only
three things differ from Django's own: no transaction around the view, a refusal for views that
are not marked, and a bridge where middleware led to a view of the other colour.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.conf.urls.i18n import is_language_prefix_patterns_used
from django.core.handlers.base import BaseHandler
from django.http import HttpResponse, HttpResponseBadRequest
from django.urls import (
    get_resolver,
    get_script_prefix,
    get_urlconf,
    set_script_prefix,
    set_urlconf,
)
from django.utils import timezone, translation
from django.utils.module_loading import import_string

from .database import use_async_view_pool
from .decorators import accept_websocket, ensure_websocket_view
from .refusals import log_refusal, mark_refusal
from .runners.base import RunnerFull
from .transport.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from django.http import HttpRequest
    from django.urls import ResolverMatch

    from .decorators import View
    from .request import WebSocketRequest


def resolve_early(request: WebSocketRequest) -> ResolverMatch | None:
    """Find the view before any middleware runs, to learn its colour.

    None where there is none, or where ``urls.py`` cannot be loaded: the handler finds that out
    again, in the place where Django answers it.
    """
    # i18n_patterns match the active language only, which is the path's own once LocaleMiddleware
    # has run.
    try:
        language = None
        if is_language_prefix_patterns_used(settings.ROOT_URLCONF)[0]:
            language = translation.get_language_from_path(request.path_info)
        if language is None:
            return get_resolver().resolve(request.path_info)
        with translation.override(language):
            return get_resolver().resolve(request.path_info)
    except Exception:
        return None


def is_async_view(view: View) -> bool:
    """Tell whether a view runs on the event loop, also through decorators that hide it."""
    return getattr(view, "websocket_is_async", False) or iscoroutinefunction(view)


class WebSocketHandler(BaseHandler):
    """What both handlers share."""

    def __init__(self) -> None:
        super().__init__()
        middleware = [import_string(path) for path in settings.MIDDLEWARE]
        # Each sync middleware around an async view holds a thread of the pool as long as the view
        # lasts; the pool would be empty after a few connections.
        self.is_fully_async = all(getattr(entry, "async_capable", False) for entry in middleware)
        decorators = (getattr(entry, "decorate_marked_view", None) for entry in middleware)
        self.decorate_marked_view = next(filter(None, decorators), accept_websocket)

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        """Reuse the early match, unless middleware chose another URLconf."""
        match: ResolverMatch | None = getattr(request, "early_match", None)
        if match is None or hasattr(request, "urlconf"):
            return super().resolve_request(request)
        request.resolver_match = match
        return match

    def make_view_atomic(self, view: View) -> View:
        """Prepare a view: this is where Django would open a transaction, for hours here."""
        websocket_view = ensure_websocket_view(view, self.decorate_marked_view)
        return self.adapt_view(websocket_view or _refuse_unmarked_view)

    def adapt_view(self, view: View) -> View:
        """Make a view callable from this handler's colour."""
        raise NotImplementedError


class SyncHandler(WebSocketHandler):
    """Run middleware and view in the calling thread."""

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware()

    def adapt_view(self, view: View) -> View:
        """Let the event loop run an async view that turns up here; the thread waits for it."""
        if not is_async_view(view):
            return view

        def call(request: WebSocketRequest, *args: Any, **kwargs: Any) -> Any:
            request.use_socket(is_async=True)
            result = view(request, *args, **kwargs)
            if not asyncio.iscoroutine(result):
                return result  # a decorator outside refuses
            # Like any wait of a sync view: without a database connection, and where views share a
            # thread, without that thread.
            return wait_for(_await_with_pool(result, _remember_state()), request.channel.loop)

        return call


class AsyncHandler(WebSocketHandler):
    """Run middleware and view on the event loop; sync middleware in the pool for async views."""

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware(is_async=True)

    def adapt_view(self, view: View) -> View:
        """Let a thread run what would block here."""
        if iscoroutinefunction(view):
            return view
        if view is _refuse_unmarked_view:
            return sync_to_async(view)

        async def call_decorators(request: WebSocketRequest, *args: Any, **kwargs: Any) -> Any:
            result = await sync_to_async(view)(request, *args, **kwargs)
            return await result if asyncio.iscoroutine(result) else result

        async def call_sync_view(request: WebSocketRequest, *args: Any, **kwargs: Any) -> Any:
            request.use_socket(is_async=False)

            restore_state = _remember_state()

            def call() -> Any:
                restore_state()
                request.take_seat()
                return view(request, *args, **kwargs)

            try:
                return await request.runners.choose(view).run(call)
            except RunnerFull:
                return mark_refusal(no_room_response(), "threads")

        return call_decorators if is_async_view(view) else call_sync_view


def _remember_state() -> Callable[[], None]:
    """Give a function that brings Django's state of this request to another thread.

    asgiref shows its locals in their own thread only, even where the context is copied.
    """
    urlconf, prefix = get_urlconf(), get_script_prefix()
    language, zone = translation.get_language(), timezone.get_current_timezone()

    def restore() -> None:
        set_urlconf(urlconf)
        set_script_prefix(prefix)
        if language is None:
            translation.deactivate_all()
        else:
            translation.activate(language)
        timezone.activate(zone)

    return restore


def no_room_response() -> HttpResponse:
    """Refuse for lack of room, with the seconds after which to come back."""
    return _come_back_later(503, "The server has no room for another connection.\n")


def too_many_response() -> HttpResponse:
    """Refuse a client that has as many connections as one may have."""
    return _come_back_later(429, "There are too many connections from your address.\n")


def _come_back_later(status: int, text: str) -> HttpResponse:
    return HttpResponse(
        text,
        status=status,
        content_type="text/plain; charset=utf-8",
        headers={"Retry-After": "5"},
    )


async def _await_with_pool(
    coroutine: Coroutine[Any, Any, Any], restore_state: Callable[[], None]
) -> Any:
    use_async_view_pool()
    restore_state()
    return await coroutine


def _refuse_unmarked_view(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    reason = (
        "This URL does not speak WebSocket: its view is not decorated with accept_websocket or "
        "require_websocket, or a decorator around it hides that (functools.wraps keeps it)."
    )
    response = HttpResponseBadRequest(f"{reason}\n", content_type="text/plain; charset=utf-8")
    log_refusal(request, response, reason)
    return mark_refusal(response, "unmarked")
