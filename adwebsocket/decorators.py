"""``accept_websocket`` and ``require_websocket``: what makes a view serve WebSockets.

The handshake happens here, inside the user's own decorators and middleware, which may answer
before it. Whatever ends the view, the socket is closed once, with the code that fits.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import lru_cache, partial, update_wrapper
from typing import TYPE_CHECKING, Any, overload

from asgiref.sync import iscoroutinefunction
from django.conf import settings as django_settings
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpResponse, HttpResponseBadRequest, HttpResponseForbidden
from django.http.response import HttpResponseBase

from .accounts import aload_session, load_session
from .async_websocket import AsyncWebSocket
from .conf import get_settings
from .options import Options
from .origins import refusal_of_origin
from .protocol.codes import CloseCode
from .protocol.handshake import choose_subprotocol
from .refusals import explain_stray_handshake, log_refusal, mark_refusal
from .request import is_websocket_request, mark_plain_request

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import Literal, Self, TypeAlias

    from django.http import HttpRequest

    from .options import Subprotocols
    from .request import WebSocketRequest
    from .websocket_base import WebSocketBase

    View: TypeAlias = Callable[..., Any]


class WebSocketResponse(HttpResponse):
    """What middleware sees when a WebSocket has ended; it is never sent.

    Its status tells caching middleware, rightly, that there is nothing to keep.
    """

    status_code = 101


class PlainRequestRefusal(HttpResponseBadRequest):
    """What a plain request to ``require_websocket`` gets, from a sync view or from an async one.

    In DEBUG a browser gets a page with a WebSocket client in it. A handshake that the server or a
    proxy has made a plain request is told so, and the log is. It may be awaited: ``dispatch`` of
    an async class-based view is a sync method whose result Django awaits.
    """

    def __init__(self, request: HttpRequest, subprotocols: Subprotocols = ()) -> None:
        request = getattr(request, "_request", request)
        stray = explain_stray_handshake(request)
        text = stray or "This URL speaks WebSocket only; open it with a WebSocket client."
        super().__init__(f"{text}\n", content_type="text/plain; charset=utf-8")
        if stray is not None:
            log_refusal(request, self, stray)
        elif django_settings.DEBUG:
            # Only there, so that it costs nobody else anything.
            from . import console

            console.fill(self, request, subprotocols)

    def __await__(self) -> Generator[None, None, Self]:
        return self
        yield


@overload
def accept_websocket(view: View, /) -> View: ...


@overload
def accept_websocket(
    *,
    subprotocols: Subprotocols = (),
    origins: Sequence[str] | None = None,
    max_message_size: int | None = None,
    rate_limit: float | None = None,
    accept: Literal["auto", "manual"] = "auto",
    runner: Literal["thread", "greenlet"] | None = None,
) -> Callable[[View], View]: ...


def accept_websocket(view: View | None = None, /, **options: Any) -> Any:
    """Let WebSockets reach a view, besides plain HTTP requests.

    ``request.is_websocket()`` tells which it is, and ``request.websocket`` is the socket, None on
    plain HTTP. Works on functions, ``async def`` or not, and through ``method_decorator`` on
    class-based views; bare, or with options.

    Arguments:
        subprotocols: the subprotocols that the view speaks, the preferred one first. The first
            that the client offers is chosen; none is, where it offers no other. Or a function
            of the request and the list that the client offers, which gives one of them or None;
            for an async view it is called on the event loop.
        origins: the origins that may open the socket besides the site's own host, in place of
            ``WEBSOCKET_ALLOWED_ORIGINS`` and ``CSRF_TRUSTED_ORIGINS``.
        max_message_size: bytes of one received message, in place of
            ``WEBSOCKET_MAX_MESSAGE_SIZE``.
        rate_limit: messages a second that the client may send, in place of
            ``WEBSOCKET_RATE_LIMIT``; ``float("inf")`` for any number.
        accept: ``"manual"`` leaves the answer to the view, which calls
            ``request.websocket.accept()`` or returns an ``HttpResponse``.
        runner: what runs the view, in place of ``WEBSOCKET_SYNC_RUNNER``; for sync views only.

    Raises:
        TypeError, ValueError: an option is not what it should be.
    """
    return make_decorator(view, require=False, **options)


@overload
def require_websocket(view: View, /) -> View: ...


@overload
def require_websocket(
    *,
    subprotocols: Subprotocols = (),
    origins: Sequence[str] | None = None,
    max_message_size: int | None = None,
    rate_limit: float | None = None,
    accept: Literal["auto", "manual"] = "auto",
    runner: Literal["thread", "greenlet"] | None = None,
) -> Callable[[View], View]: ...


def require_websocket(view: View | None = None, /, **options: Any) -> Any:
    """Let only WebSockets reach a view; a plain HTTP request is answered with 400.

    The options are those of ``accept_websocket``.
    """
    return make_decorator(view, require=True, **options)


def make_decorator(view: View | None, **options: Any) -> Any:
    """Decorate a view, or without one give the decorator; ``options`` are those of ``Options``."""
    if view is None:
        return partial(decorate, options=Options(**options))
    return decorate(view, Options(**options))


def decorate(view: View, options: Options) -> View:
    """Wrap a view so that it serves WebSockets as ``options`` say; what all decorators do."""
    if not callable(view):
        raise TypeError(f"the decorator takes a view, or options by name, not {view!r}")
    is_async = iscoroutinefunction(view)
    if is_async and options.runner is not None:
        raise TypeError("runner is for sync views; an async one runs on the event loop")

    def serve(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        handshake = _handshake_of(request)
        if handshake is None:
            if options.require:
                return PlainRequestRefusal(request, options.subprotocols)
            return view(request, *args, **kwargs)
        if isinstance(handshake.websocket, AsyncWebSocket):
            return serve_async(request, *args, **kwargs)
        return _serve_sync(handshake, options, view, (request, *args), kwargs)

    # A real coroutine function and not a marked one: functools.wraps would copy the mark to a
    # sync decorator around it. It does everything itself, since each coroutine and each function
    # around the view would cost a connection a quarter of a kilobyte.
    async def serve_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        handshake = _handshake_of(request)
        if handshake is None:
            return await serve(request, *args, **kwargs)
        refusal = _check(handshake, options)
        if refusal is not None:
            return refusal
        if get_settings().close_on_logout:
            await aload_session(handshake)
        _accept(handshake, options)
        socket = handshake.websocket
        try:
            result = view(request, *args, **kwargs)
            if asyncio.iscoroutine(result):
                # A task of its own: each message would otherwise resume the view through the
                # coroutines of all middleware. Measured with seven of them: 14.6 us a message,
                # with it 11.0.
                result = await asyncio.create_task(result, name=handshake.path)
        except BaseException as error:
            if not _close_after_exception(socket, options, error):
                raise
            result = None
        return _end(socket, result)

    decorated: View = serve_async if is_async else serve
    update_wrapper(decorated, view)
    decorated.__dict__.update(
        accept_websocket=True,
        require_websocket=options.require,
        websocket_subprotocols=options.subprotocols,
        websocket_is_async=is_async,
        websocket_runner=options.runner,
        websocket_may_hide=options.may_hide and not is_async,
    )
    return decorated


def _handshake_of(request: HttpRequest) -> WebSocketRequest | None:
    """Give the request that carries the socket, or None for a plain one, which is marked as such.

    Django REST framework wraps it in one of its own.
    """
    handshake = getattr(request, "_request", request)
    if is_websocket_request(handshake):
        return handshake
    mark_plain_request(handshake)
    return None


def _serve_sync(
    handshake: WebSocketRequest, options: Options, view: View, args: Any, kwargs: Any
) -> HttpResponseBase:
    """Serve a WebSocket where its sync view runs."""
    if type(handshake.websocket) is not options.socket_class:
        handshake.use_socket(is_async=False, blocking_class=options.socket_class)
    refusal = _check(handshake, options)
    if refusal is not None:
        return refusal
    if get_settings().close_on_logout:
        load_session(handshake)
    _accept(handshake, options)
    socket = handshake.websocket
    try:
        result = view(*args, **kwargs)
        if asyncio.iscoroutine(result):
            result.close()
            raise TypeError(
                f"the view for {handshake.path!a} gave a coroutine, but Django takes it for a sync "
                "view"
            )
    except BaseException as error:
        if not _close_after_exception(socket, options, error):
            raise
        result = None
    return _end(socket, result)


def _check(request: WebSocketRequest, options: Options) -> HttpResponse | None:
    """Give the response that refuses a handshake from where none may come, or None.

    Raises:
        DisallowedHost: it names a host that is not ours; Django makes that 400.
    """
    reason = refusal_of_origin(request, options.origins)
    return None if reason is None else _forbid(request, reason)


def _forbid(request: WebSocketRequest, reason: str) -> HttpResponse:
    """Refuse with 403, and log why."""
    response = HttpResponseForbidden(f"{reason}\n", content_type="text/plain; charset=utf-8")
    log_refusal(request, response, reason)
    return mark_refusal(response, "origin")


def _accept(request: WebSocketRequest, options: Options) -> None:
    """Set the bounds of a connection, and accept it where that is not left to the view."""
    socket = request.websocket
    limits = options.limits()
    if limits is not None:
        socket.configure(limits)
    if options.accept == "auto" and not socket.accepted:
        socket.accept(_choose_subprotocol(request, options.subprotocols))


def _choose_subprotocol(request: WebSocketRequest, supported: Subprotocols) -> str | None:
    offered = list(request.scope.get("subprotocols") or ())
    if not callable(supported):
        return choose_subprotocol(offered, supported)
    chosen = supported(request, offered)
    if chosen is not None and chosen not in offered:
        # RFC 6455 section 4.1: the client would fail the connection.
        raise ValueError(f"subprotocols chose {chosen!r}, but the client offered {offered}")
    return chosen


def _end(socket: WebSocketBase, result: Any) -> HttpResponseBase:
    """Close the socket behind a view that returned, and give what middleware is to see."""
    response = WebSocketResponse()
    if socket.accepted:
        if isinstance(result, HttpResponseBase):
            # Nothing of it can be sent after 101, but what it holds open must be closed.
            response._resource_closers.extend(result._resource_closers)  # type: ignore[attr-defined]
        socket.close(CloseCode.NORMAL_CLOSURE)
        socket.detach()
        return response
    if isinstance(result, HttpResponseBase):
        return result
    if not socket.closed:
        raise RuntimeError(
            'a view with accept="manual" must call request.websocket.accept() or return an '
            f"HttpResponse, but it returned {result!r}"
        )
    return response


def _close_after_exception(socket: WebSocketBase, options: Options, error: BaseException) -> bool:
    """Close the socket behind a view that raised; tell whether nobody needs to hear of it."""
    is_quiet = socket.ends_quietly(error)
    if socket.accepted:
        socket.close(options.error_code or close_code_of(error))
        socket.detach()
    return is_quiet


def close_code_of(error: BaseException) -> CloseCode:
    """Give the code that tells the peer about an exception in the view, the one place for it."""
    if isinstance(error, (PermissionDenied, Http404, SuspiciousOperation, BadRequest)):
        return CloseCode.POLICY_VIOLATION
    if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt, SystemExit)):
        return CloseCode.SERVICE_RESTART
    return CloseCode.INTERNAL_ERROR


def ensure_websocket_view(view: View, decorator: Callable[[View], View]) -> View | None:
    """Give a view that serves WebSockets, or None where the project does not let it.

    A view that is marked by hand with ``accept_websocket = True`` is decorated here, as is every
    view where ``WEBSOCKET_ACCEPT_ALL`` is set.
    """
    if hasattr(view, "websocket_is_async") or hasattr(_get_of(view), "websocket_is_async"):
        return view
    if _hides_websocket_view(view):
        return view
    marked = getattr(view, "accept_websocket", False) or getattr(view, "require_websocket", False)
    if marked or get_settings().accept_all:
        return decorator(view)
    return None


def runner_named_by(view: Any) -> str | None:
    """Give the runner that the decorator of a view names, None where it leaves that open."""
    name: str | None = getattr(view, "websocket_runner", None)
    return name or getattr(_get_of(view), "websocket_runner", None)


def _get_of(view: Any) -> Any:
    """Give the method of a class-based view that serves handshakes, or None.

    as_view() carries what stands on dispatch(), but not what stands on get().
    """
    return getattr(getattr(view, "view_class", None), "get", None)


@lru_cache(maxsize=1024)
def _hides_websocket_view(view: View) -> bool:
    """Tell whether a legacy view stands behind decorators without ``functools.wraps``.

    dwebsocket shook hands wherever its decorator was reached, and projects have decorators of that
    kind outside it; so has Django REST framework (``api_view``). What is found and never called
    does no harm: the view's response is then the answer to the handshake.
    """
    seen: dict[int, Any] = {}
    left = [view]
    while left and len(seen) < 100:
        each = left.pop()
        if getattr(each, "websocket_may_hide", False):
            return True
        if id(each) not in seen:
            seen[id(each)] = each
            left.extend(_callables_within(each))
    return False


def _callables_within(view: Any) -> Iterator[Any]:
    """Give what a function or a class may call instead of itself."""
    for inner in (_get_of(view), getattr(view, "__wrapped__", None), getattr(view, "func", None)):
        if inner is not None:
            yield inner
    for cell in getattr(view, "__closure__", None) or ():
        # An empty one is of a name that has no value yet.
        with contextlib.suppress(ValueError):
            if callable(cell.cell_contents):
                yield cell.cell_contents
