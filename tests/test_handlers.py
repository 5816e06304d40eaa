"""Django's request handling for WebSockets: colours, middleware, other URLconfs, refusals."""

from __future__ import annotations

import asyncio
import functools
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf.urls.i18n import i18n_patterns
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.test import override_settings
from django.urls import path, reverse
from django.utils import translation

from adwebsocket import require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.conf import get_settings
from adwebsocket.handlers import is_async_view, resolve_early
from adwebsocket.request import WebSocketRequest
from adwebsocket.transport.asgi_channel import AsgiChannel
from adwebsocket.view_runners import ViewRunners
from tests.connections import (
    DEADLINE,
    RecordingChannel,
    WebSocketConversation,
    on_event_loop,
    websocket_scope,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCALE = "django.middleware.locale.LocaleMiddleware"


def ask_first(view: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate as old decorators do, which know nothing of ``async def``."""

    @functools.wraps(view)
    def ask(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if "refuse" in request.GET:
            return HttpResponseRedirect("/login/")
        return view(request, *args, **kwargs)

    return ask


@require_websocket
def tell_thread(request: Any) -> None:
    request.websocket.send_json([threading.current_thread().name, type(request.websocket).__name__])
    request.websocket.wait()


@require_websocket
async def tell_thread_async(request: Any) -> None:
    await request.websocket.send_json(
        [threading.current_thread().name, type(request.websocket).__name__]
    )
    await request.websocket.wait()


@require_websocket
def tell_match(request: Any, number: int) -> None:
    name = request.resolver_match.url_name
    request.websocket.send_json([name, number, reverse("match", args=[9])])


@require_websocket
async def tell_match_async(request: Any, number: int) -> None:
    name = request.resolver_match.url_name
    await request.websocket.send_json([name, number, reverse("match", args=[9])])


@require_websocket
def tell_language(request: Any) -> None:
    request.websocket.send(f"{translation.get_language()} {threading.current_thread().name}")


@require_websocket
async def tell_language_async(request: Any) -> None:
    await request.websocket.send(f"{translation.get_language()} {threading.current_thread().name}")


def fail_by_stop_iteration(request: Any) -> None:
    next(iter([]))


def unmarked(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page")


async def unmarked_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page")


urlpatterns = [
    path("sync/", tell_thread),
    path("async/", tell_thread_async),
    path("match/sync/<int:number>/", tell_match, name="match"),
    path("match/async/<int:number>/", tell_match_async, name="match_async"),
    path("unmarked/sync/", unmarked),
    path("unmarked/async/", unmarked_async),
]

# What middleware puts in place of the above: the colours are exchanged.
exchanged = types.ModuleType("exchanged")
exchanged.urlpatterns = [  # type: ignore[attr-defined]
    path("sync/", tell_thread_async),
    path("async/", tell_thread),
    path("asked/sync/", ask_first(tell_thread_async)),
    path("asked/async/", ask_first(tell_thread)),
    path("unmarked/sync/", unmarked_async),
    path("unmarked/async/", unmarked),
    path("stop/async/", require_websocket(fail_by_stop_iteration)),
    path("other/sync/<int:number>/", tell_match_async, name="match"),
    path("other/async/<int:number>/", tell_match, name="other"),
    path("language/sync/", tell_language_async),
    path("language/async/", tell_language),
]
# What the first look finds there, in the other colour.
urlpatterns += [
    path("asked/sync/", tell_thread),
    path("asked/async/", tell_thread_async),
    path("stop/async/", tell_thread_async),
    path("other/sync/<int:number>/", tell_match),
    path("other/async/<int:number>/", tell_match_async),
    path("language/sync/", tell_language),
    path("language/async/", tell_language_async),
]

localised = types.ModuleType("localised")
localised.urlpatterns = i18n_patterns(  # type: ignore[attr-defined]
    path("sync/", tell_language), path("async/", tell_language_async)
)

broken = types.ModuleType("broken")
broken.urlpatterns = 5  # type: ignore[attr-defined]


class ExchangeMiddleware:
    """Choose another URLconf, as multi-tenant projects do."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        request.urlconf = exchanged
        return self.get_response(request)


class SyncOnlyMiddleware:
    """Middleware of the old kind."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        return self.get_response(request)


def async_only_middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[..., Any]:
    async def middleware(request: HttpRequest) -> HttpResponse:
        response: HttpResponse = await get_response(request)
        return response

    return middleware


async_only_middleware.sync_capable = False  # type: ignore[attr-defined]
async_only_middleware.async_capable = True  # type: ignore[attr-defined]


EXCHANGE = f"{__name__}.ExchangeMiddleware"
SYNC_ONLY = f"{__name__}.SyncOnlyMiddleware"
ASYNC_ONLY = f"{__name__}.async_only_middleware"


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__):
        yield


def connect(path: str, *middleware: str, **scope: Any) -> WebSocketConversation:
    with override_settings(MIDDLEWARE=list(middleware)):
        return WebSocketConversation(ASGIApplication(), path, **scope)


async def ask_thread(path: str, *middleware: str) -> tuple[str, str]:
    """Return the name of the view's thread, and of the class of its socket."""
    async with connect(path, *middleware) as peer:
        await peer.accepted()
        message = await peer.message()
        assert isinstance(message, str)
        thread, socket = message.strip('[]"').split('","')
        return thread, socket


def is_view_thread(name: str) -> bool:
    return name.startswith(("websocket-view-", "websocket-greenlets-"))


def is_event_loop(name: str) -> bool:
    return name == threading.current_thread().name


class TestColours:
    @pytest.mark.parametrize("middleware", [[], [SYNC_ONLY], [ASYNC_ONLY], [ASYNC_ONLY, SYNC_ONLY]])
    @on_event_loop
    async def test_sync_view_runs_in_a_thread_of_the_runner(self, middleware: list[str]) -> None:
        thread, socket = await ask_thread("/sync/", *middleware)
        assert is_view_thread(thread)
        assert socket == "WebSocket"

    @pytest.mark.parametrize("middleware", [[], [SYNC_ONLY], [ASYNC_ONLY], [SYNC_ONLY, ASYNC_ONLY]])
    @on_event_loop
    async def test_async_view_runs_on_the_event_loop(self, middleware: list[str]) -> None:
        thread, socket = await ask_thread("/async/", *middleware)
        assert is_event_loop(thread)
        assert socket == "AsyncWebSocket"

    @on_event_loop
    async def test_sync_view_runs_in_the_thread_of_its_sync_middleware(self) -> None:
        seen: list[str] = []

        def note_thread(get_response: Callable[..., Any]) -> Callable[..., Any]:
            def middleware(request: HttpRequest) -> Any:
                seen.append(threading.current_thread().name)
                return get_response(request)

            return middleware

        globals()["note_thread"] = note_thread
        try:
            thread, _ = await ask_thread("/sync/", f"{__name__}.note_thread")
        finally:
            del globals()["note_thread"]
        assert seen == [thread]

    def test_colour_is_that_of_the_view_inside_sync_decorators(self) -> None:
        assert is_async_view(tell_thread_async)
        assert is_async_view(ask_first(tell_thread_async))
        assert is_async_view(unmarked_async)
        assert not is_async_view(tell_thread)
        assert not is_async_view(ask_first(tell_thread))
        assert not is_async_view(unmarked)

    @on_event_loop
    async def test_async_views_behind_sync_middleware_are_not_limited_by_the_pool(self) -> None:
        """Sync middleware holds a thread as long as the view lasts; handshakes must not hang."""
        with override_settings(MIDDLEWARE=[SYNC_ONLY]):
            application = ASGIApplication()
        count = get_settings().async_threads + 2
        peers = [WebSocketConversation(application, "/async/") for _ in range(count)]
        try:
            for peer in peers:
                await peer.__aenter__()
            async with asyncio.timeout(DEADLINE / 5):
                for peer in peers:
                    await peer.accepted()
                    await peer.message()
        finally:
            for peer in peers:
                peer.disconnect()
            for peer in peers:
                await peer.finished()

    @pytest.mark.parametrize(
        ("path", "status"),
        [("/nowhere/", 404), ("/unmarked/async/", 400), ("/unmarked/sync/", 400)],
    )
    @on_event_loop
    async def test_refusal_reaches_the_channel_on_the_event_loop(
        self, path: str, status: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A transport that another thread writes to may take the process with it."""
        threads: list[threading.Thread] = []
        refuse = AsgiChannel.refuse

        def note_thread(channel: AsgiChannel, *args: Any) -> None:
            threads.append(threading.current_thread())
            refuse(channel, *args)

        monkeypatch.setattr(AsgiChannel, "refuse", note_thread)
        async with connect(path, SYNC_ONLY) as peer:
            assert (await peer.refused()).status == status
        assert threads == [threading.current_thread()]


@pytest.mark.parametrize("colour", ["sync", "async"])
class TestOtherUrlconf:
    @on_event_loop
    async def test_view_of_the_other_colour_is_served_in_its_own(self, colour: str) -> None:
        thread, socket = await ask_thread(f"/{colour}/", EXCHANGE)
        if colour == "async":  # which leads to the sync view
            assert is_view_thread(thread)
            assert socket == "WebSocket"
        else:
            assert is_event_loop(thread)
            assert socket == "AsyncWebSocket"

    @on_event_loop
    async def test_it_echoes_and_ends(self, colour: str) -> None:
        async with connect(f"/{colour}/", EXCHANGE) as peer:
            await peer.accepted()
            await peer.message()
            peer.send("go on")
            assert await peer.closed() == (1000, "")

    @on_event_loop
    async def test_match_and_reverse_are_those_of_the_other_urlconf(self, colour: str) -> None:
        async with connect(f"/other/{colour}/7/", EXCHANGE) as peer:
            await peer.accepted()
            name = "match" if colour == "sync" else "other"
            assert await peer.message() == f'["{name}",7,"/other/sync/9/"]'
            await peer.closed()

    @on_event_loop
    async def test_reverse_knows_where_the_project_is_mounted(self, colour: str) -> None:
        path = f"/mounted/other/{colour}/7/"
        async with connect(path, EXCHANGE, root_path="/mounted") as peer:
            await peer.accepted()
            message = await peer.message()
            assert isinstance(message, str)
            assert message.endswith(',"/mounted/other/sync/9/"]')
            await peer.closed()

    @on_event_loop
    async def test_language_is_the_one_that_middleware_chose(self, colour: str) -> None:
        headers = {"Accept-Language": "de"}
        async with connect(f"/language/{colour}/", LOCALE, EXCHANGE, headers=headers) as peer:
            await peer.accepted()
            message = await peer.message()
            assert isinstance(message, str)
            assert message.startswith("de ")
            await peer.closed()

    @on_event_loop
    async def test_sync_decorator_around_it_lets_pass(self, colour: str) -> None:
        async with connect(f"/asked/{colour}/", EXCHANGE) as peer:
            await peer.accepted()
            await peer.message()

    @on_event_loop
    async def test_sync_decorator_around_it_refuses(self, colour: str) -> None:
        async with connect(f"/asked/{colour}/", EXCHANGE, query_string=b"refuse=1") as peer:
            response = await peer.refused()
            assert (response.status, response.header("location")) == (302, "/login/")

    @on_event_loop
    async def test_view_that_is_not_marked_is_refused_and_the_log_says_why(
        self, colour: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with connect(f"/unmarked/{colour}/", EXCHANGE) as peer:
            response = await peer.refused()
            assert response.status == 400
            assert "does not speak WebSocket" in response.text
        start = f"Refused a WebSocket to '/unmarked/{colour}/': This URL does not speak WebSocket"
        (message,) = caplog.messages
        assert message.startswith(start)

    @on_event_loop
    async def test_path_that_leads_nowhere_there_is_404(self, colour: str) -> None:
        async with connect(f"/match/{colour}/7/", EXCHANGE) as peer:
            assert (await peer.refused()).status == 404


class TestOtherUrlconfFaults:
    @pytest.mark.usefixtures("thread_runner")
    @on_event_loop
    async def test_no_room_for_a_sync_view_is_503_there_as_well(self) -> None:
        with override_settings(MIDDLEWARE=[EXCHANGE], WEBSOCKET_MAX_THREADS=0):
            application = ASGIApplication()
        async with WebSocketConversation(application, "/async/") as peer:
            response = await peer.refused()
            assert response.status == 503
            assert response.header("retry-after") is not None

    @on_event_loop
    async def test_unmarked_async_view_is_refused_by_a_full_server_as_well(self) -> None:
        with override_settings(WEBSOCKET_MAX_THREADS=0):
            application = ASGIApplication()
        async with WebSocketConversation(application, "/unmarked/async/") as peer:
            assert (await peer.refused()).status == 400

    @on_event_loop
    async def test_stop_iteration_of_a_view_is_an_error_like_any_other(self) -> None:
        peer = connect("/stop/async/", EXCHANGE)
        await peer.__aenter__()
        await peer.accepted()
        assert await peer.closed() == (1011, "")
        try:
            async with asyncio.timeout(DEADLINE / 5):
                await peer.finished()
        except TimeoutError:
            await peer.cancel()
            raise AssertionError("the application waits for a view that has ended") from None


class TestUnmarkedView:
    @pytest.mark.parametrize("colour", ["sync", "async"])
    @on_event_loop
    async def test_is_refused_with_a_sentence(self, colour: str) -> None:
        async with connect(f"/unmarked/{colour}/") as peer:
            response = await peer.refused()
            assert response.status == 400
            assert "accept_websocket or require_websocket" in response.text
            assert response.header("content-type") == "text/plain; charset=utf-8"


class TestEarlyMatch:
    @pytest.mark.parametrize("colour", ["sync", "async"])
    @on_event_loop
    async def test_view_sees_match_kwargs_and_reverse(self, colour: str) -> None:
        async with connect(f"/match/{colour}/7/") as peer:
            await peer.accepted()
            name = "match" if colour == "sync" else "match_async"
            assert await peer.message() == f'["{name}",7,"/match/sync/9/"]'
            await peer.closed()

    @pytest.mark.parametrize("language", ["de", "en"])
    @pytest.mark.parametrize("colour", ["sync", "async"])
    @on_event_loop
    async def test_localised_path_is_served_in_its_language_and_colour(
        self, colour: str, language: str
    ) -> None:
        with override_settings(ROOT_URLCONF=localised):
            async with connect(f"/{language}/{colour}/", LOCALE) as peer:
                await peer.accepted()
                message = await peer.message()
                assert isinstance(message, str)
                seen, _, thread = message.partition(" ")
                assert seen == language
                assert is_view_thread(thread) is (colour == "sync")
                await peer.closed()
        assert translation.get_language() == "en-us"

    @pytest.mark.parametrize("urlconf", ["no.such.module", broken])
    @on_event_loop
    async def test_urlconf_that_cannot_be_loaded_gives_no_match_yet(self, urlconf: object) -> None:
        channel = RecordingChannel(asyncio.get_running_loop())
        request = WebSocketRequest(websocket_scope("/sync/"), channel, ViewRunners())
        with override_settings(ROOT_URLCONF=urlconf):
            assert resolve_early(request) is None

    @on_event_loop
    async def test_urlconf_that_cannot_be_loaded_is_a_server_error(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with override_settings(ROOT_URLCONF=broken):
            async with connect("/sync/") as peer:
                assert (await peer.refused()).status == 500
        assert "ImproperlyConfigured" in caplog.text
