"""The life of one connection in our ASGI application, with a server that is driven by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.cache import cache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.signals import got_request_exception, request_finished, request_started
from django.http import Http404, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.test import Client, override_settings
from django.urls import path, reverse
from django.utils.decorators import sync_and_async_middleware

from adwebsocket import ConnectionClosed, accept_websocket, require_websocket
from adwebsocket.asgi import ASGIApplication, get_asgi_application, has_listeners
from adwebsocket.live import count_live
from adwebsocket.transport.asgi_interface import AsgiInterface
from tests.connections import (
    DEADLINE,
    Conversation,
    HttpConversation,
    RecordingChannel,
    WebSocketConversation,
    on_event_loop,
    websocket_scope,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from django.dispatch import Signal
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

COLOURS = ["sync", "async"]
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = {
    "Connection": "keep-alive, Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}

# Views and middleware


class ClosingBody:
    """The body of a response that notes whether it was closed, and by whom."""

    def __init__(self, *, fault: Exception | None = None) -> None:
        self.closed_in: list[str] = []
        self.fault = fault

    def __iter__(self) -> Iterator[bytes]:
        yield b"one "
        if self.fault is not None:
            raise self.fault
        yield b"two"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part

    def close(self) -> None:
        self.closed_in.append(threading.current_thread().name)


class AsyncBody:
    """The same, to be read on the event loop."""

    def __init__(self, body: ClosingBody) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.__aiter__()

    def close(self) -> None:
        self._body.close()


body = ClosingBody()


class ClosingResponse(HttpResponse):
    """A response that has something to do when it is closed."""

    def close(self) -> None:
        super().close()
        calls.append("close of the response")


class ClosingCache(LocMemCache):
    """A cache with a connection, so to say."""

    def close(self, **_: Any) -> None:
        calls.append("close of the cache")


def answer_of(request: HttpRequest) -> HttpResponseBase | None:
    """Do what the query string asks for, as the view or the middleware that is asked."""
    match request.GET.get("do"):
        case "403":
            raise PermissionDenied
        case "404":
            raise Http404
        case "400":
            raise BadRequest
        case "suspicious":
            raise SuspiciousOperation
        case "fault":
            raise ValueError("a fault in the view")
        case "exit":
            raise SystemExit(3)
        case "redirect":
            response = HttpResponseRedirect("/elsewhere/")
            response.set_cookie("first", "1")
            response.set_cookie("second", "2", httponly=True)
            return response
        case "own close":
            return ClosingResponse("refused", status=403)
        case "foreign":
            raise ConnectionClosed(1001)
    return None


@accept_websocket
def sync_echo(request: Any) -> HttpResponseBase | None:
    if not request.is_websocket():
        return HttpResponse("a page")
    answer_of(request)
    for message in request.websocket:
        request.websocket.send(message)
    return None


@accept_websocket
async def async_echo(request: Any) -> HttpResponseBase | None:
    if not request.is_websocket():
        return HttpResponse("a page")
    answer_of(request)
    async for message in request.websocket:
        await request.websocket.send(message)
    return None


@require_websocket(accept="manual")
def sync_manual(request: Any) -> HttpResponseBase | None:
    return answer_of(request) or StreamingHttpResponse(body, status=418)


@require_websocket(accept="manual")
async def async_manual(request: Any) -> HttpResponseBase | None:
    return answer_of(request) or StreamingHttpResponse(AsyncBody(body), status=418)


@require_websocket
def sync_late(request: Any) -> HttpResponseBase:
    return StreamingHttpResponse(body)


@require_websocket
async def async_late(request: Any) -> HttpResponseBase:
    return StreamingHttpResponse(AsyncBody(body))


@require_websocket
def sync_push(request: Any) -> None:
    while True:
        request.websocket.send(request.websocket.wait() or "nothing")


async def push_all(socket: Any) -> None:
    while True:
        await socket.send(await socket.wait() or "nothing")


@require_websocket
async def async_push(request: Any) -> None:
    await push_all(request.websocket)


@require_websocket
async def async_tasks(request: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(push_all(request.websocket))
        if request.GET.get("do") == "fault":
            await request.websocket.wait_closed()
            raise ValueError("a fault in the view")


def describe(request: Any, room: str) -> list[object]:
    return [
        request.method,
        request.path,
        room,
        request.resolver_match.url_name,
        reverse("sync_describe", args=["other"]),
        request.get_host(),
        request.build_absolute_uri("?"),
        request.GET.getlist("tag"),
        request.COOKIES,
        request.META["REMOTE_ADDR"],
        request.META["QUERY_STRING"],
        request.META["HTTP_USER_AGENT"],
        request.user.username,
        request.session.get("theme"),
    ]


@require_websocket
def sync_describe(request: Any, room: str) -> None:
    request.websocket.send_json(describe(request, room))


@require_websocket
async def async_describe(request: Any, room: str) -> None:
    await request.websocket.send_json(await sync_to_async(describe)(request, room))


@require_websocket
def sync_session(request: Any) -> None:
    request.session["theme"] = "dark"


@require_websocket
async def async_session(request: Any) -> None:
    await sync_to_async(request.session.__setitem__)("theme", "dark")


@require_websocket
def sync_flood(request: Any) -> None:
    for number in range(100):
        request.websocket.send(str(number))


@require_websocket
async def async_flood(request: Any) -> None:
    for number in range(100):
        await request.websocket.send(str(number))


def by_hand(request: Any) -> Any:
    request.websocket.send("by hand")


by_hand.accept_websocket = True  # type: ignore[attr-defined]


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{request.method} page")


urlpatterns = [
    path("echo/sync/", sync_echo),
    path("echo/async/", async_echo),
    path("manual/sync/", sync_manual),
    path("manual/async/", async_manual),
    path("late/sync/", sync_late),
    path("late/async/", async_late),
    path("push/sync/", sync_push),
    path("push/async/", async_push),
    path("tasks/async/", async_tasks),
    path("describe/sync/<slug:room>/", sync_describe, name="sync_describe"),
    path("describe/async/<slug:room>/", async_describe, name="async_describe"),
    path("session/sync/", sync_session),
    path("session/async/", async_session),
    path("flood/sync/", sync_flood),
    path("flood/async/", async_flood),
    path("by-hand/", by_hand),
    path("page/", page),
]

calls: list[str] = []


class CountingMiddleware:
    """Note each thing that Django calls, for a sync chain and an async one alike."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        calls.append("request")
        response = self.get_response(request)
        calls.append(f"response {response.status_code}")
        return response

    def process_view(self, request: HttpRequest, view: Any, *_: Any) -> None:
        calls.append(f"view {view.__name__}")

    def process_exception(self, request: HttpRequest, exception: Exception) -> None:
        calls.append(f"exception {type(exception).__name__}")


class AnsweringMiddleware:
    """Answer before any view does."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return answer_of(request) or self.get_response(request)


class AnsweringViewMiddleware(AnsweringMiddleware):
    """Answer where the view is known."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponseBase | None:
        return answer_of(request)


class CatchingMiddleware(AnsweringMiddleware):
    """Answer for a view that failed."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse:
        return HttpResponse(f"caught {exception}", status=409)


@sync_and_async_middleware
def caching_middleware(get_response: Any) -> Callable[[HttpRequest], Any]:
    """Look into a cache if the query string asks for it, as that for sessions does."""

    def middleware(request: HttpRequest) -> Any:
        if request.GET["do"] == "cache":
            cache.get("anything")
        return get_response(request)

    return markcoroutinefunction(middleware) if iscoroutinefunction(get_response) else middleware


CACHING = f"{__name__}.caching_middleware"
COUNTING = f"{__name__}.CountingMiddleware"
STOCK = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(globals(), "body", ClosingBody())
    calls.clear()
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.fixture
def faults() -> Iterator[list[BaseException]]:
    """Collect the exceptions that Django reports."""
    found: list[BaseException] = []

    def note(**_: Any) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        found.append(error)

    got_request_exception.connect(note)
    yield found
    got_request_exception.disconnect(note)


@pytest.fixture
def signals() -> Iterator[list[tuple[str, str]]]:
    """Collect the signals of a request's start and end, each with the name of its thread."""
    found: list[tuple[str, str]] = []

    def started(**_: Any) -> None:
        found.append(("started", threading.current_thread().name))

    def finished(**_: Any) -> None:
        found.append(("finished", threading.current_thread().name))

    request_started.connect(started)
    request_finished.connect(finished)
    yield found
    request_started.disconnect(started)
    request_finished.disconnect(finished)


def connect(path: str, *middleware: str, do: str = "", **scope: Any) -> WebSocketConversation:
    with override_settings(MIDDLEWARE=list(middleware)):
        application = ASGIApplication()
    query = f"do={do}".encode()
    return WebSocketConversation(application, path, **{"query_string": query, **scope})


def is_view_thread(name: str) -> bool:
    return name.startswith(("websocket-view-", "websocket-greenlets-"))


def is_pool_thread(name: str) -> bool:
    return name.startswith("websocket-async-view")


@pytest.mark.parametrize("colour", COLOURS)
class TestServedView:
    @on_event_loop
    async def test_messages_pass_both_ways_in_their_type(self, colour: str) -> None:
        async with connect(f"/echo/{colour}/") as peer:
            await peer.accepted()
            messages: list[str | bytes] = ["text", "", b"binary", b"", "Größe"]
            for message in messages:
                peer.send(message)
                assert await peer.message() == message

    @on_event_loop
    async def test_view_that_returns_sends_all_and_closes_with_1000(self, colour: str) -> None:
        async with connect(f"/flood/{colour}/") as peer:
            await peer.accepted()
            assert [await peer.message() for _ in range(100)] == [str(n) for n in range(100)]
            assert await peer.closed() == (1000, "")

    @on_event_loop
    async def test_client_that_leaves_ends_the_view(self, colour: str) -> None:
        async with connect(f"/echo/{colour}/") as peer:
            await peer.accepted()
            peer.send("last")
            assert await peer.message() == "last"
            peer.disconnect(1001)
            await peer.finished()

    def test_request_is_as_for_http(self, colour: str, logged_in: Client) -> None:
        session = logged_in.session
        session["theme"] = "light"
        session.save()
        key = session.session_key

        @on_event_loop
        async def run() -> None:
            async with connect(
                f"/mounted/describe/{colour}/lobby/",
                *STOCK,
                query_string=b"tag=a&tag=b",
                root_path="/mounted",
                headers={"Cookie": f"sessionid={key}; taste=sweet", "User-Agent": "a browser"},
            ) as peer:
                await peer.accepted()
                assert json.loads(await peer.message()) == [
                    "GET",
                    f"/mounted/describe/{colour}/lobby/",
                    "lobby",
                    f"{colour}_describe",
                    "/mounted/describe/sync/other/",
                    "testserver",
                    f"http://testserver/mounted/describe/{colour}/lobby/",
                    ["a", "b"],
                    {"sessionid": key, "taste": "sweet"},
                    "192.0.2.1",
                    "tag=a&tag=b",
                    "a browser",
                    "anna",
                    "light",
                ]
                await peer.closed()

        run()

    def test_session_is_saved_when_the_view_has_ended(self, colour: str, logged_in: Client) -> None:
        cookie = {"Cookie": f"sessionid={logged_in.cookies['sessionid'].value}"}

        @on_event_loop
        async def run() -> None:
            async with connect(f"/session/{colour}/", *STOCK, headers=cookie) as peer:
                await peer.accepted()
                await peer.closed()
                await peer.finished()

        run()
        assert logged_in.session["theme"] == "dark"

    @on_event_loop
    async def test_middleware_runs_once(self, colour: str) -> None:
        async with connect(f"/echo/{colour}/", COUNTING) as peer:
            await peer.accepted()
            peer.disconnect()
            await peer.finished()
        assert calls == ["request", f"view {colour}_echo", "response 101"]

    @on_event_loop
    async def test_signals_are_sent_once_where_the_database_connections_are(
        self, colour: str, signals: list[tuple[str, str]]
    ) -> None:
        async with connect(f"/echo/{colour}/", *STOCK) as peer:
            await peer.accepted()
            assert [name for name, _ in signals] == ["started"]
            peer.disconnect()
            await peer.finished()
        assert [name for name, _ in signals] == ["started", "finished"]
        threads = {thread for _, thread in signals}
        if colour == "sync":
            assert len(threads) == 1
            assert is_view_thread(threads.pop())
        else:
            assert all(is_pool_thread(thread) for thread in threads)

    @on_event_loop
    @override_settings(CACHES={"default": {"BACKEND": f"{__name__}.ClosingCache"}})
    async def test_cache_that_was_used_is_closed_and_no_other(self, colour: str) -> None:
        for do in ["", "cache"]:
            async with connect(f"/echo/{colour}/", CACHING, do=do) as peer:
                await peer.accepted()
                peer.disconnect()
                await peer.finished()
            assert calls == ["close of the cache"] * (do == "cache")

    @on_event_loop
    async def test_stock_middleware_lets_it_pass(self, colour: str) -> None:
        async with connect(f"/echo/{colour}/", *STOCK) as peer:
            await peer.accepted()
            peer.send("text")
            assert await peer.message() == "text"

    @on_event_loop
    async def test_response_that_comes_too_late_is_closed_and_not_sent(self, colour: str) -> None:
        async with connect(f"/late/{colour}/") as peer:
            await peer.accepted()
            assert await peer.closed() == (1000, "")
            await peer.finished()
        assert len(body.closed_in) == 1

    @on_event_loop
    async def test_server_that_is_older_hears_what_it_understands(self, colour: str) -> None:
        async with connect(f"/echo/{colour}/", extensions=...) as peer:
            await peer.accepted()
            peer.send("text")
            assert await peer.message() == "text"

    @on_event_loop
    async def test_application_that_is_cancelled_closes_and_ends(self, colour: str) -> None:
        peer = connect(f"/echo/{colour}/")
        await peer.__aenter__()
        await peer.accepted()
        await peer.cancel()
        assert {event["type"] for event in peer.unread_events()} <= {"websocket.close"}


@pytest.mark.parametrize("colour", COLOURS)
class TestFaultInTheView:
    @pytest.mark.parametrize("do", ["403", "404", "400", "suspicious"])
    @on_event_loop
    async def test_refusal_behind_the_handshake_closes_with_1008(
        self, do: str, colour: str, faults: list[BaseException]
    ) -> None:
        async with connect(f"/echo/{colour}/", COUNTING, do=do) as peer:
            await peer.accepted()
            assert await peer.closed() == (1008, "")
        assert faults == []

    @on_event_loop
    async def test_exception_closes_with_1011_and_is_reported_once(
        self,
        colour: str,
        faults: list[BaseException],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async with connect(f"/echo/{colour}/", COUNTING, do="fault") as peer:
            await peer.accepted()
            assert await peer.closed() == (1011, "")
        assert [str(fault) for fault in faults] == ["a fault in the view"]
        assert calls[2:] == ["exception ValueError", "response 500"]
        errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert [record.name for record in errors] == ["django.request"]
        assert errors[0].exc_info is not None

    @on_event_loop
    async def test_exception_that_middleware_answers_is_no_fault(
        self, colour: str, faults: list[BaseException]
    ) -> None:
        middleware = f"{__name__}.CatchingMiddleware"
        async with connect(f"/echo/{colour}/", middleware, do="fault") as peer:
            await peer.accepted()
            assert await peer.closed() == (1011, "")
        assert faults == []

    @on_event_loop
    async def test_exception_before_the_handshake_is_500(
        self, colour: str, faults: list[BaseException]
    ) -> None:
        async with connect(f"/manual/{colour}/", do="fault") as peer:
            assert (await peer.refused()).status == 500
        assert len(faults) == 1

    @on_event_loop
    async def test_end_of_another_connection_is_a_fault_of_the_view(
        self, colour: str, faults: list[BaseException]
    ) -> None:
        async with connect(f"/echo/{colour}/", do="foreign") as peer:
            await peer.accepted()
            assert await peer.closed() == (1011, "")
        assert [type(fault) for fault in faults] == [ConnectionClosed]

    @on_event_loop
    async def test_end_of_the_own_connection_is_the_normal_way_out(
        self,
        colour: str,
        faults: list[BaseException],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async with connect(f"/push/{colour}/", COUNTING) as peer:
            await peer.accepted()
            peer.send("text")
            assert await peer.message() == "text"
            peer.disconnect(1001)
            await peer.finished()
        assert faults == []
        assert [record for record in caplog.records if record.levelno >= logging.INFO] == []
        assert calls[-1] == "response 101"


@pytest.mark.parametrize("do", ["", "fault"])
@on_event_loop
async def test_end_of_the_own_connection_in_a_group_of_tasks_hides_no_other_fault(
    do: str, faults: list[BaseException]
) -> None:
    async with connect("/tasks/async/", do=do) as peer:
        await peer.accepted()
        peer.disconnect(1001)
        await peer.finished()
    assert len(faults) == (do == "fault")


@on_event_loop
async def test_sync_view_that_exits_ends_its_connection_and_not_the_server() -> None:
    peer = connect("/echo/sync/", do="exit")
    await peer.__aenter__()
    await peer.accepted()
    assert (await peer.closed())[0] in (1011, 1012)
    with pytest.raises(RuntimeError, match="SystemExit"):
        await peer.finished()


@pytest.mark.parametrize("colour", COLOURS)
class TestRefusal:
    @pytest.mark.parametrize(
        ("do", "status"), [("403", 403), ("404", 404), ("400", 400), ("suspicious", 400)]
    )
    @on_event_loop
    async def test_exception_before_the_handshake_is_its_answer(
        self, do: str, status: int, colour: str
    ) -> None:
        async with connect(f"/manual/{colour}/", do=do) as peer:
            response = await peer.refused()
            assert response.status == status
            assert response.header("content-type") == "text/html; charset=utf-8"

    @pytest.mark.parametrize("middleware", ["AnsweringMiddleware", "AnsweringViewMiddleware"])
    @on_event_loop
    async def test_response_of_middleware_is_the_answer(self, middleware: str, colour: str) -> None:
        async with connect(f"/echo/{colour}/", f"{__name__}.{middleware}", do="redirect") as peer:
            response = await peer.refused()
            assert response.status == 302
            assert response.header("location") == "/elsewhere/"
            cookies = [value for name, value in response.headers if name == "set-cookie"]
            assert cookies == ["first=1; Path=/", "second=2; HttpOnly; Path=/"]

    @on_event_loop
    async def test_streamed_response_is_sent_whole_and_closed(self, colour: str) -> None:
        async with connect(f"/manual/{colour}/") as peer:
            response = await peer.refused()
            assert (response.status, response.text) == (418, "one two")
            await peer.finished()
        (thread,) = body.closed_in
        assert is_view_thread(thread) if colour == "sync" else is_pool_thread(thread)

    @on_event_loop
    async def test_streamed_response_that_fails_is_closed_as_well(
        self, colour: str, signals: list[tuple[str, str]]
    ) -> None:
        body.fault = ValueError("in the middle of the body")
        peer = connect(f"/manual/{colour}/")
        await peer.__aenter__()
        with contextlib.suppress(ValueError):  # for which a server answers 500
            await peer.finished()
        assert len(body.closed_in) == 1
        assert [name for name, _ in signals] == ["started", "finished"]

    @on_event_loop
    async def test_response_with_a_close_of_its_own_is_closed(self, colour: str) -> None:
        async with connect(f"/manual/{colour}/", do="own%20close") as peer:
            assert (await peer.refused()).status == 403
            await peer.finished()
        assert calls == ["close of the response"]

    @on_event_loop
    async def test_server_without_the_extension_gets_a_plain_refusal(self, colour: str) -> None:
        async with connect(f"/manual/{colour}/", do="403", extensions={}) as peer:
            event = await peer.next_event()
            assert event["type"] == "websocket.close"

    @on_event_loop
    async def test_signals_are_sent_once(self, colour: str, signals: list[tuple[str, str]]) -> None:
        async with connect(f"/manual/{colour}/", do="redirect") as peer:
            await peer.refused()
            await peer.finished()
        assert [name for name, _ in signals] == ["started", "finished"]

    @on_event_loop
    async def test_host_that_is_not_allowed_is_400(
        self, colour: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        headers = {"Host": "evil.example"}
        async with connect(f"/echo/{colour}/", *STOCK, headers=headers) as peer:
            assert (await peer.refused()).status == 400

    @on_event_loop
    async def test_host_that_is_not_allowed_is_400_when_only_the_origin_asks(
        self, colour: str
    ) -> None:
        headers = {"Host": "evil.example", "Origin": "http://evil.example"}
        async with connect(f"/echo/{colour}/", headers=headers) as peer:
            assert (await peer.refused()).status == 400

    @on_event_loop
    async def test_query_string_that_is_not_utf_8_is_400_with_a_sentence(self, colour: str) -> None:
        async with connect(f"/echo/{colour}/", query_string=b"name=\xff") as peer:
            response = await peer.refused()
            assert (response.status, response.text) == (400, "The query string must be UTF-8.\n")
            assert response.header("content-type") == "text/plain; charset=utf-8"

    @on_event_loop
    async def test_path_that_leads_nowhere_is_404(self, colour: str) -> None:
        async with connect(f"/nowhere/{colour}/", *STOCK) as peer:
            assert (await peer.refused()).status == 404

    @on_event_loop
    async def test_missing_slash_is_redirected_as_for_http(self, colour: str) -> None:
        async with connect(f"/echo/{colour}", *STOCK) as peer:
            response = await peer.refused()
            assert (response.status, response.header("location")) == (301, f"/echo/{colour}/?do=")


class TestMarks:
    @on_event_loop
    async def test_view_that_is_not_marked_is_400(self) -> None:
        async with connect("/page/") as peer:
            assert (await peer.refused()).status == 400

    @on_event_loop
    async def test_setting_lets_every_view_be_reached(self) -> None:
        with override_settings(WEBSOCKET_ACCEPT_ALL=True):
            async with connect("/page/") as peer:
                await peer.accepted()
                assert await peer.closed() == (1000, "")

    @on_event_loop
    async def test_view_that_is_marked_by_hand_is_served(self) -> None:
        async with connect("/by-hand/") as peer:
            await peer.accepted()
            assert await peer.message() == "by hand"
            assert await peer.closed() == (1000, "")


class TestClientThatDoesNotStay:
    @pytest.mark.parametrize("colour", COLOURS)
    @on_event_loop
    async def test_client_that_left_before_the_handshake_gets_no_answer(self, colour: str) -> None:
        async with connect(f"/echo/{colour}/", is_there=False) as peer:
            peer.disconnect(1006)
            await peer.finished()
            assert peer.unread_events() == []

    @pytest.mark.parametrize("colour", COLOURS)
    @on_event_loop
    async def test_messages_that_came_before_the_disconnect_are_served(self, colour: str) -> None:
        peer = connect(f"/push/{colour}/")
        peer.send("kept")
        async with peer:
            await peer.accepted()
            assert await peer.message() == "kept"


class TestRoom:
    @pytest.mark.usefixtures("thread_runner")
    @on_event_loop
    async def test_sync_view_without_room_is_503_with_a_time_to_come_back(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with override_settings(MIDDLEWARE=[], WEBSOCKET_MAX_THREADS=1):
            application = ASGIApplication()
        async with WebSocketConversation(application, "/echo/sync/") as first:
            await first.accepted()
            async with WebSocketConversation(application, "/echo/sync/") as second:
                response = await second.refused()
                assert response.status == 503
                assert int(response.header("retry-after") or "") > 0
                assert "no room" in response.text
            assert "/echo/sync/" in caplog.text
            async with WebSocketConversation(application, "/echo/async/") as third:
                await third.accepted()
            first.disconnect()
            await first.finished()
            async with WebSocketConversation(application, "/echo/sync/") as fourth:
                await fourth.accepted()

    @pytest.mark.parametrize("colour", COLOURS)
    @on_event_loop
    async def test_connection_above_the_limit_is_503_whatever_its_view(
        self, colour: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        application = ASGIApplication()
        with override_settings(WEBSOCKET_MAX_CONNECTIONS=2):
            async with (
                WebSocketConversation(application, f"/echo/{colour}/") as first,
                WebSocketConversation(application, f"/echo/{colour}/") as second,
            ):
                await first.accepted()
                await second.accepted()
                async with WebSocketConversation(application, "/nowhere/") as third:
                    response = await third.refused()
                    assert response.status == 503
                    assert int(response.header("retry-after") or "") > 0
                assert "there are 2 (WEBSOCKET_MAX_CONNECTIONS)" in caplog.text
                first.disconnect()
                await first.finished()
                async with WebSocketConversation(application, f"/echo/{colour}/") as fourth:
                    await fourth.accepted()
        assert count_live() == 0

    @on_event_loop
    async def test_refused_handshakes_and_failing_views_take_no_room(self) -> None:
        application = ASGIApplication()
        with override_settings(WEBSOCKET_MAX_CONNECTIONS=1):
            for _ in range(3):
                async with WebSocketConversation(application, "/nowhere/") as peer:
                    assert (await peer.refused()).status == 404
        assert count_live() == 0

    @on_event_loop
    async def test_path_that_leads_nowhere_needs_no_room(self) -> None:
        with override_settings(MIDDLEWARE=[], WEBSOCKET_MAX_THREADS=0):
            application = ASGIApplication()
        async with WebSocketConversation(application, "/nowhere/") as peer:
            assert (await peer.refused()).status == 404

    @on_event_loop
    async def test_idle_async_views_behind_stock_middleware_hold_no_threads(self) -> None:
        with override_settings(MIDDLEWARE=STOCK):
            application = ASGIApplication()
        before = threading.active_count()
        peers = [WebSocketConversation(application, "/echo/async/") for _ in range(200)]
        for peer in peers:
            await peer.__aenter__()
        for peer in peers:
            await peer.accepted()
        assert threading.active_count() - before <= 16
        for peer in peers:
            peer.disconnect()
            await peer.finished()

    @pytest.mark.usefixtures("thread_runner")
    @on_event_loop
    async def test_many_sync_views_leave_no_thread_behind(self) -> None:
        with override_settings(MIDDLEWARE=STOCK):
            application = ASGIApplication()
        before = set(threading.enumerate())
        peers = [WebSocketConversation(application, "/echo/sync/") for _ in range(50)]
        for peer in peers:
            await peer.__aenter__()
        for peer in peers:
            await peer.accepted()
        new = [thread for thread in threading.enumerate() if thread not in before]
        assert sum(is_view_thread(thread.name) for thread in new) == 50
        for peer in peers:
            peer.disconnect()
            await peer.finished()
        for thread in new:
            if is_view_thread(thread.name):
                thread.join(DEADLINE)
                assert not thread.is_alive()
        assert application.runners.count() == 0


@pytest.mark.parametrize("colour", COLOURS)
class TestDirectPath:
    """Under our protocol class, which the tests of the transport drive."""

    @on_event_loop
    async def test_channel_of_the_server_is_used_where_nobody_stands_between(
        self, colour: str
    ) -> None:
        channel = RecordingChannel(asyncio.get_running_loop())
        interface = AsgiInterface(channel)
        scope = websocket_scope(f"/echo/{colour}/", extensions=interface.extensions())
        channel.inbox.put("text")
        channel.end(1001, "")
        with override_settings(MIDDLEWARE=[], WEBSOCKET_MAX_MESSAGE_SIZE=1234):
            application: Any = ASGIApplication()
            await application(scope, interface.receive, interface.send)
        assert channel.limits.max_message_size == 1234
        assert channel.handshake == (101, None, [])
        # The channel itself was asked; the ASGI interface would have said "connect" first.
        assert (await interface.receive())["type"] == "websocket.connect"

    @on_event_loop
    async def test_middleware_that_listens_in_hears_everything(self, colour: str) -> None:
        channel = RecordingChannel(asyncio.get_running_loop())
        interface = AsgiInterface(channel)
        scope = websocket_scope(f"/echo/{colour}/", extensions=interface.extensions())
        heard: list[str] = []

        async def receive() -> Any:
            event = await interface.receive()
            heard.append(event["type"])
            return event

        async def send(event: Any) -> None:
            heard.append(event["type"])
            await interface.send(event)
            if event["type"] == "websocket.send":
                channel.end(1001, "")

        channel.inbox.put("text")
        with override_settings(MIDDLEWARE=[]):
            application: Any = ASGIApplication()
        await application(scope, receive, send)
        assert channel.written == ["text"]
        assert set(heard) == {
            "websocket.connect",
            "websocket.accept",
            "websocket.receive",
            "websocket.send",
            "websocket.disconnect",
        }


class Listener:
    def hear(self, **_: Any) -> None:
        pass


@pytest.mark.parametrize("signal", [request_started, request_finished])
@pytest.mark.parametrize("options", [{}, {"dispatch_uid": "ours"}, {"sender": ASGIApplication}])
def test_signal_has_listeners_while_somebody_but_django_listens(
    signal: Signal, options: dict[str, Any]
) -> None:
    listener = Listener()
    assert not has_listeners(signal)
    signal.connect(listener.hear, **options)
    try:
        assert has_listeners(signal)
    finally:
        signal.disconnect(listener.hear, **options)
    assert not has_listeners(signal)


class TestHttp:
    @on_event_loop
    async def test_page_is_served_by_django(self) -> None:
        async with HttpConversation(ASGIApplication(), "/page/") as exchange:
            response = await exchange.response()
            assert (response.status, response.text) == (200, "GET page")

    @pytest.mark.parametrize("colour", COLOURS)
    @on_event_loop
    async def test_view_that_accepts_both_gives_its_page(self, colour: str) -> None:
        async with HttpConversation(ASGIApplication(), f"/echo/{colour}/") as exchange:
            response = await exchange.response()
            assert (response.status, response.text) == (200, "a page")

    @on_event_loop
    async def test_upgrade_to_something_else_is_a_page(self) -> None:
        headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}
        async with HttpConversation(ASGIApplication(), "/page/", headers=headers) as exchange:
            assert (await exchange.response()).status == 200

    @on_event_loop
    async def test_sound_handshake_on_a_server_without_websockets_is_a_plain_request(self) -> None:
        async with HttpConversation(ASGIApplication(), "/page/", headers=UPGRADE) as exchange:
            assert (await exchange.response()).status == 200

    @pytest.mark.parametrize(
        ("headers", "scope", "status", "words"),
        [
            ({"Sec-WebSocket-Key": "short"}, {}, 400, "16 bytes in base64"),
            ({"Sec-WebSocket-Key": "?"}, {}, 400, "16 bytes in base64"),
            ({"Connection": "keep-alive"}, {}, 400, "Connection header"),
            ({"Upgrade": "websockets"}, {}, 400, "Upgrade header"),
            ({}, {"method": "POST"}, 400, "GET request, got POST"),
            ({}, {"http_version": "1.0"}, 400, "got HTTP/1.0"),
            ({"Sec-WebSocket-Version": "8"}, {}, 426, "must be 13, got '8'"),
        ],
    )
    @on_event_loop
    async def test_malformed_handshake_is_refused_with_one_sentence(
        self, headers: dict[str, str], scope: dict[str, Any], status: int, words: str
    ) -> None:
        exchange = HttpConversation(
            ASGIApplication(), "/echo/sync/", headers={**UPGRADE, **headers}, **scope
        )
        async with exchange:
            response = await exchange.response()
            assert response.status == status
            assert words in response.text
            assert response.text.count("\n") == 1
            assert response.header("content-type") == "text/plain; charset=utf-8"
            version = response.header("sec-websocket-version")
            assert version == ("13" if status == 426 else None)

    @pytest.mark.parametrize("name", ["Sec-WebSocket-Key", "Sec-WebSocket-Version", "Connection"])
    @on_event_loop
    async def test_handshake_that_lacks_a_header_is_told_which(self, name: str) -> None:
        headers = {key: value for key, value in UPGRADE.items() if key != name}
        async with HttpConversation(ASGIApplication(), "/page/", headers=headers) as exchange:
            response = await exchange.response()
            assert response.status == 400
            assert name in response.text


class TestServer:
    @on_event_loop
    async def test_lifespan_is_answered(self) -> None:
        conversation = Conversation(ASGIApplication(), {"type": "lifespan"})
        conversation.farewell = {"type": "lifespan.shutdown"}
        async with conversation:
            conversation.put({"type": "lifespan.startup"})
            assert await conversation.next_event() == {"type": "lifespan.startup.complete"}
            conversation.put({"type": "lifespan.shutdown"})
            assert await conversation.next_event() == {"type": "lifespan.shutdown.complete"}
            await conversation.finished()

    @on_event_loop
    async def test_unknown_kind_of_connection_raises(self) -> None:
        with pytest.raises(ValueError, match="expected http, websocket or lifespan, got 'mqtt'"):
            await ASGIApplication()({"type": "mqtt"}, None, None)  # type: ignore[arg-type]

    def test_factory_gives_a_new_application(self) -> None:
        assert isinstance(get_asgi_application(), ASGIApplication)
        assert get_asgi_application() is not get_asgi_application()

    def test_connections_of_one_application_on_two_loops_after_each_other(self) -> None:
        application = ASGIApplication()
        for _ in range(2):

            @on_event_loop
            async def run() -> None:
                for colour in COLOURS:
                    async with WebSocketConversation(application, f"/echo/{colour}/") as peer:
                        await peer.accepted()
                        peer.send("text")
                        assert await peer.message() == "text"

            run()

    @pytest.mark.parametrize("colour", COLOURS)
    @on_event_loop
    async def test_anonymous_user_needs_no_database(self, colour: str) -> None:
        headers = {"User-Agent": "a browser"}
        async with connect(f"/describe/{colour}/lobby/", *STOCK, headers=headers) as peer:
            await peer.accepted()
            assert str(await peer.message()).endswith('"a browser","",null]')
            await peer.closed()
