"""``accept_websocket`` and ``require_websocket``: what they carry, serve and refuse."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from adwebsocket import AsyncWebSocket, WebSocket, accept_websocket, require_websocket
from adwebsocket.asgi import ASGIApplication
from tests.connections import WebSocketConversation, on_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DECORATORS = [accept_websocket, require_websocket]


def legacy_login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    """Ask for a user as old decorators do, which know nothing of ``async def``."""

    @functools.wraps(view)
    def ask(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        assert not is_on_event_loop(), "what blocks may stand here"
        if "user" not in request.GET:
            return HttpResponseRedirect("/login/")
        return view(request, *args, **kwargs)

    return ask


def is_on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def forgetful(view: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate without ``functools.wraps``."""
    return lambda request: view(request)


def sync_view(request: Any) -> HttpResponse | None:
    """Echo in the blocking way."""
    if not request.is_websocket():
        return HttpResponse(f"plain, websocket is {request.websocket}")
    for message in request.websocket:
        request.websocket.send(message)
    return None


async def async_view(request: Any) -> HttpResponse | None:
    """Echo on the event loop."""
    if not request.is_websocket():
        return HttpResponse(f"plain, websocket is {request.websocket}")
    async for message in request.websocket:
        await request.websocket.send(message)
    return None


class CallableView:
    """A view that is an instance."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    def __call__(self, request: Any) -> None:
        request.websocket.send(self.greeting)


class Methods:
    """A class with nothing but a name for its views."""

    @staticmethod
    @require_websocket
    def sync_view(request: Any) -> None:
        request.websocket.send("static")

    @staticmethod
    @require_websocket
    async def async_view(request: Any) -> None:
        await request.websocket.send("static")


class SyncEcho(View):
    def get(self, request: Any, **kwargs: Any) -> HttpResponse | None:
        return sync_view(request)


class AsyncEcho(View):
    async def get(self, request: Any, **kwargs: Any) -> HttpResponse | None:
        return await async_view(request)


@method_decorator(accept_websocket, name="dispatch")
class SyncAcceptOnDispatch(SyncEcho):
    pass


@method_decorator(require_websocket, name="dispatch")
class SyncRequireOnDispatch(SyncEcho):
    pass


@method_decorator(accept_websocket, name="dispatch")
class AsyncAcceptOnDispatch(AsyncEcho):
    pass


@method_decorator(require_websocket, name="dispatch")
class AsyncRequireOnDispatch(AsyncEcho):
    pass


@method_decorator(require_websocket(subprotocols=["chat"]), name="dispatch")
class OptionsOnDispatch(SyncEcho):
    pass


class SyncAcceptOnGet(View):
    @method_decorator(accept_websocket)
    def get(self, request: Any) -> HttpResponse | None:
        return sync_view(request)


class AsyncAcceptOnGet(View):
    @method_decorator(accept_websocket)
    async def get(self, request: Any) -> HttpResponse | None:
        return await async_view(request)


@require_websocket
def arguments(request: Any, **kwargs: Any) -> None:
    request.websocket.send_json(kwargs)


@require_websocket
def describe_socket(request: Any) -> None:
    request.websocket.send(type(request.websocket).__name__)


@require_websocket
async def describe_async_socket(request: Any) -> None:
    await request.websocket.send(type(request.websocket).__name__)


def choose(request: HttpRequest, offered: list[str]) -> str | None:
    """Choose as the query string says."""
    choices = {"last": offered[-1] if offered else None, "none": None, "mine": "mine"}
    return choices[request.META["QUERY_STRING"]]


@require_websocket(subprotocols=choose)
def choosing(request: Any) -> None:
    request.websocket.send(str(request.websocket.subprotocol))


@require_websocket(subprotocols=choose)
async def async_choosing(request: Any) -> None:
    await request.websocket.send(str(request.websocket.subprotocol))


@require_websocket(subprotocols=["first", "second"])
def with_subprotocols(request: Any) -> None:
    request.websocket.send(str(request.websocket.subprotocol))


@require_websocket(max_message_size=5)
async def with_small_messages(request: Any) -> None:
    async for message in request.websocket:
        await request.websocket.send(message)


@require_websocket(rate_limit=3)
def with_few_messages(request: Any) -> None:
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket(rate_limit=float("inf"))
async def with_any_messages(request: Any) -> None:
    async for message in request.websocket:
        await request.websocket.send(message)


@require_websocket(origins=["https://friend.example"])
def with_origins(request: Any) -> None:
    request.websocket.send("let in")


@require_websocket(accept="manual")
def manual(request: Any) -> HttpResponse | None:
    match request.GET.get("do"):
        case "accept":
            request.websocket.accept(subprotocol="mine", headers={"X-Mine": "1"})
            request.websocket.send("accepted")
        case "answer":
            return HttpResponse("come later", status=429, headers={"Retry-After": "60"})
        case "close":
            request.websocket.close()
    return None


@require_websocket(accept="manual")
async def async_manual(request: Any) -> HttpResponse | None:
    match request.GET.get("do"):
        case "accept":
            await request.websocket.accept(subprotocol="mine", headers={"X-Mine": "1"})
            await request.websocket.send("accepted")
        case "answer":
            return HttpResponse("come later", status=429, headers={"Retry-After": "60"})
        case "close":
            await request.websocket.close()
    return None


urlpatterns = [
    path("accept/sync/", accept_websocket(sync_view)),
    path("accept/async/", accept_websocket(async_view)),
    path("require/sync/", require_websocket(sync_view)),
    path("require/async/", require_websocket(async_view)),
    path("accept/sync/dispatch/", SyncAcceptOnDispatch.as_view()),
    path("accept/async/dispatch/", AsyncAcceptOnDispatch.as_view()),
    path("require/sync/dispatch/", SyncRequireOnDispatch.as_view()),
    path("require/async/dispatch/", AsyncRequireOnDispatch.as_view()),
    path("accept/sync/get/", SyncAcceptOnGet.as_view()),
    path("accept/async/get/", AsyncAcceptOnGet.as_view()),
    path("options/dispatch/", OptionsOnDispatch.as_view()),
    path("callable/", require_websocket(CallableView("from an instance"))),
    path("static/sync/", Methods.sync_view),
    path("static/async/", Methods.async_view),
    path("arguments/<int:number>/<slug:name>/", arguments, {"extra": "given"}),
    path("describe/sync/", describe_socket),
    path("describe/async/", describe_async_socket),
    path("subprotocols/", with_subprotocols),
    path("choosing/sync/", choosing),
    path("choosing/async/", async_choosing),
    path("small/", with_small_messages),
    path("few/", with_few_messages),
    path("any/", with_any_messages),
    path("origins/", with_origins),
    path("manual/sync/", manual),
    path("manual/async/", async_manual),
    path("twice/", accept_websocket(require_websocket(sync_view))),
    path("hidden/sync/", forgetful(require_websocket(sync_view))),
    path("hidden/async/", forgetful(require_websocket(async_view))),
    path("login/sync/", login_required(require_websocket(sync_view))),
    path("login/async/", login_required(require_websocket(async_view))),
    path("legacy/sync/", legacy_login_required(require_websocket(sync_view))),
    path("legacy/async/", legacy_login_required(require_websocket(async_view))),
    path("inner/sync/", require_websocket(legacy_login_required(sync_view))),
]


ACCEPTING = [
    f"/accept/{colour}/{kind}" for colour in ("sync", "async") for kind in ("", "dispatch/", "get/")
]
REQUIRING = [
    f"/require/{colour}/{kind}" for colour in ("sync", "async") for kind in ("", "dispatch/")
]
if not iscoroutinefunction(AsyncAcceptOnGet.as_view()):
    # The method_decorator of Django 4.2 makes a sync method of any.
    ACCEPTING.remove("/accept/async/get/")


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(
        ROOT_URLCONF=__name__,
        LOGIN_URL="/login/",
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
    ):
        yield


def connect(path: str, **scope: Any) -> WebSocketConversation:
    return WebSocketConversation(ASGIApplication(), path, **scope)


async def check_echo(path: str, **scope: Any) -> None:
    async with connect(path, **scope) as peer:
        await peer.accepted()
        for message in ("text", b"binary"):
            peer.send(message)
            assert await peer.message() == message


class TestDecorating:
    @pytest.mark.parametrize("decorator", DECORATORS)
    @pytest.mark.parametrize("view", [sync_view, async_view])
    def test_name_doc_and_module_are_carried(
        self, decorator: Callable[..., Any], view: Callable[..., Any]
    ) -> None:
        for decorated in (decorator(view), decorator()(view), decorator(subprotocols=["a"])(view)):
            assert decorated.__name__ == view.__name__
            assert decorated.__doc__ == view.__doc__
            assert decorated.__module__ == view.__module__
            assert decorated.__wrapped__ is view
            assert inspect.signature(decorated) == inspect.signature(view)

    @pytest.mark.parametrize("decorator", DECORATORS)
    def test_decorated_view_leads_to_the_view_inside(self, decorator: Callable[..., Any]) -> None:
        inside = csrf_exempt(sync_view)
        assert decorator(inside).__wrapped__ is inside
        assert inspect.unwrap(decorator(inside)) is sync_view

    @pytest.mark.parametrize("decorator", DECORATORS)
    def test_attributes_are_carried_whichever_decorator_comes_first(
        self, decorator: Callable[..., Any]
    ) -> None:
        def view(request: Any) -> None:
            """Do nothing."""

        view.mark = "mine"  # type: ignore[attr-defined]
        for decorated in (decorator(csrf_exempt(view)), csrf_exempt(decorator(view))):
            assert decorated.csrf_exempt is True
            assert decorated.mark == "mine"
            assert decorated.accept_websocket is True
            assert decorated.require_websocket is (decorator is require_websocket)
        assert not hasattr(view, "accept_websocket")

    @pytest.mark.parametrize("decorator", DECORATORS)
    def test_colour_stays_what_it_is(self, decorator: Callable[..., Any]) -> None:
        assert not iscoroutinefunction(decorator(sync_view))
        assert iscoroutinefunction(decorator(async_view))
        assert iscoroutinefunction(decorator(accept="manual")(async_view))

    @pytest.mark.parametrize("decorator", DECORATORS)
    def test_sync_decorator_around_an_async_view_is_not_taken_for_async(
        self, decorator: Callable[..., Any]
    ) -> None:
        assert not iscoroutinefunction(legacy_login_required(decorator(async_view)))

    @pytest.mark.parametrize("decorator", DECORATORS)
    @pytest.mark.parametrize("view", ["name", 5, None])
    def test_decorating_what_is_no_view_raises(
        self, decorator: Callable[..., Any], view: object
    ) -> None:
        with pytest.raises(TypeError, match="takes a view, or options by name"):
            decorator()(view)
        if view is not None:
            with pytest.raises(TypeError, match="takes a view, or options by name"):
                decorator(view)

    @pytest.mark.parametrize("decorator", DECORATORS)
    @pytest.mark.parametrize(
        ("options", "kind", "message"),
        [
            ({"subprotocol": ["chat"]}, TypeError, "subprotocol"),
            ({"subprotocols": "chat"}, TypeError, "subprotocols must be a list of strings"),
            ({"subprotocols": async_choosing}, TypeError, "must not be an async def"),
            ({"subprotocols": 5}, TypeError, "subprotocols must be a list of strings"),
            ({"origins": "https://a.example"}, TypeError, "origins must be a list of strings"),
            ({"origins": 5}, TypeError, "origins must be a list of strings"),
            ({"accept": "never"}, ValueError, '"auto" or "manual", not \'never\''),
            ({"max_message_size": 0}, ValueError, "positive number of bytes, not 0"),
            ({"max_message_size": -1}, ValueError, "positive number of bytes, not -1"),
            ({"max_message_size": "1"}, ValueError, "positive number of bytes, not '1'"),
            ({"rate_limit": 0}, ValueError, "positive number of messages, not 0"),
            ({"rate_limit": -1.5}, ValueError, "positive number of messages, not -1.5"),
            ({"rate_limit": "5"}, ValueError, "positive number of messages, not '5'"),
            ({"rate_limit": float("nan")}, ValueError, "positive number of messages, not nan"),
        ],
    )
    def test_wrong_option_raises_where_it_is_written(
        self,
        decorator: Callable[..., Any],
        options: dict[str, Any],
        kind: type[Exception],
        message: str,
    ) -> None:
        with pytest.raises(kind, match=message):
            decorator(**options)


class TestPlainHttp:
    @pytest.mark.parametrize("address", ACCEPTING)
    def test_accepting_view_is_reached_and_knows_that_it_is_no_websocket(
        self, address: str
    ) -> None:
        assert Client().get(address).content == b"plain, websocket is None"

        @on_event_loop
        async def ask() -> None:
            response = await AsyncClient().get(address)
            assert response.content == b"plain, websocket is None"

        ask()

    @pytest.mark.parametrize("address", REQUIRING)
    def test_requiring_view_is_not_reached(self, address: str) -> None:
        @on_event_loop
        async def ask() -> None:
            check(await AsyncClient().get(address))

        def check(response: Any) -> None:
            assert response.status_code == 400
            assert response.content == (
                b"This URL speaks WebSocket only; open it with a WebSocket client.\n"
            )
            assert response["Content-Type"] == "text/plain; charset=utf-8"

        check(Client().get(address))
        ask()

    @pytest.mark.parametrize("address", REQUIRING)
    def test_handshake_without_its_headers_is_told_of_the_proxy(
        self, address: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        headers = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        answer = Client().get(address, headers=headers)
        assert answer.status_code == 400
        assert b"without its headers Upgrade and Connection: the proxy" in answer.content
        (message,) = caplog.messages
        assert message.startswith(f"Refused a WebSocket to '{address}': This handshake came")

    def test_requiring_view_refuses_a_post_as_well(self) -> None:
        assert Client().post("/require/sync/", {"a": 1}).status_code == 400


class TestWebSocket:
    @pytest.mark.parametrize("address", [*ACCEPTING, *REQUIRING])
    @on_event_loop
    async def test_decorated_view_is_served(self, address: str) -> None:
        await check_echo(address)

    @on_event_loop
    async def test_view_decorated_twice_shakes_hands_once(self) -> None:
        await check_echo("/twice/")

    @pytest.mark.parametrize(
        ("address", "greeting"),
        [
            ("/callable/", "from an instance"),
            ("/static/sync/", "static"),
            ("/static/async/", "static"),
            ("/describe/sync/", WebSocket.__name__),
            ("/describe/async/", AsyncWebSocket.__name__),
            ("/arguments/7/lobby/", '{"number":7,"name":"lobby","extra":"given"}'),
        ],
    )
    @on_event_loop
    async def test_view_that_says_something_and_returns_is_closed_with_1000(
        self, address: str, greeting: str
    ) -> None:
        async with connect(address) as peer:
            await peer.accepted()
            assert await peer.message() == greeting
            assert await peer.closed() == (1000, "")

    @pytest.mark.parametrize("colour", ["sync", "async"])
    @on_event_loop
    async def test_decorator_without_functools_wraps_hides_the_mark(self, colour: str) -> None:
        async with connect(f"/hidden/{colour}/") as peer:
            response = await peer.refused()
            assert response.status == 400
            assert "functools.wraps" in response.text
            assert "accept_websocket" in response.text


class TestOuterDecorator:
    @pytest.mark.parametrize("colour", ["sync", "async"])
    @on_event_loop
    async def test_login_required_redirects_a_stranger(self, colour: str) -> None:
        async with connect(f"/login/{colour}/") as peer:
            response = await peer.refused()
            assert response.status == 302
            assert response.header("location") == f"/login/?next=/login/{colour}/"

    @pytest.mark.parametrize("colour", ["sync", "async"])
    @on_event_loop
    async def test_login_required_lets_a_user_in(self, colour: str, logged_in: Client) -> None:
        cookie = f"sessionid={logged_in.cookies['sessionid'].value}"
        await check_echo(f"/login/{colour}/", headers={"Cookie": cookie})

    @pytest.mark.parametrize("colour", ["sync", "async"])
    @on_event_loop
    async def test_decorator_of_old_refuses_outside_of_the_event_loop(self, colour: str) -> None:
        async with connect(f"/legacy/{colour}/") as peer:
            response = await peer.refused()
            assert (response.status, response.header("location")) == (302, "/login/")

    @pytest.mark.parametrize("colour", ["sync", "async"])
    @on_event_loop
    async def test_decorator_of_old_lets_pass(self, colour: str) -> None:
        await check_echo(f"/legacy/{colour}/", query_string=b"user=1")

    @on_event_loop
    async def test_decorator_inside_comes_too_late_to_refuse_and_ends_the_connection(
        self,
    ) -> None:
        async with connect("/inner/sync/") as peer:
            await peer.accepted()
            assert await peer.closed() == (1000, "")


async def end_of(peer: WebSocketConversation) -> tuple[int, str]:
    """Return how the application closes, whatever it sends before."""
    while (event := await peer.next_event())["type"] != "websocket.close":
        pass
    return event["code"], event["reason"]


class TestOptions:
    @pytest.mark.parametrize(
        ("offered", "chosen"),
        [
            (["first", "second"], "first"),
            (["second", "first"], "first"),
            (["other", "second"], "second"),
            (["other"], None),
            ([], None),
        ],
    )
    @on_event_loop
    async def test_first_offered_subprotocol_of_the_list_is_chosen(
        self, offered: list[str], chosen: str | None
    ) -> None:
        async with connect("/subprotocols/", subprotocols=offered) as peer:
            assert (await peer.accepted())["subprotocol"] == chosen
            assert await peer.message() == str(chosen)
            await peer.closed()

    @on_event_loop
    async def test_view_without_the_option_chooses_no_subprotocol(self) -> None:
        async with connect("/describe/sync/", subprotocols=["chat"]) as peer:
            assert (await peer.accepted())["subprotocol"] is None
            await peer.message()
            await peer.closed()

    @pytest.mark.parametrize("colour", ["sync", "async"])
    @pytest.mark.parametrize(
        ("query", "offered", "chosen"),
        [
            ("last", ["a", "b", "c"], "c"),
            ("last", [], None),
            ("none", ["a"], None),
        ],
    )
    @on_event_loop
    async def test_function_chooses_the_subprotocol(
        self, query: str, offered: list[str], chosen: str | None, colour: str
    ) -> None:
        path = f"/choosing/{colour}/"
        async with connect(path, subprotocols=offered, query_string=query.encode()) as peer:
            assert (await peer.accepted())["subprotocol"] == chosen
            assert await peer.message() == str(chosen)
            await peer.closed()

    @on_event_loop
    async def test_function_that_chooses_what_was_not_offered_is_a_500(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with connect("/choosing/sync/", subprotocols=["a"], query_string=b"mine") as peer:
            assert (await peer.refused()).status == 500
        assert "chose 'mine', but the client offered ['a']" in caplog.text

    @on_event_loop
    async def test_server_that_tells_no_subprotocols_is_fine(self) -> None:
        async with connect("/subprotocols/", subprotocols=...) as peer:
            assert (await peer.accepted())["subprotocol"] is None
            await peer.message()
            await peer.closed()

    @on_event_loop
    async def test_options_work_through_method_decorator(self) -> None:
        async with connect("/options/dispatch/", subprotocols=["chat"]) as peer:
            assert (await peer.accepted())["subprotocol"] == "chat"

    @on_event_loop
    async def test_message_above_the_size_of_the_view_closes_with_1009(self) -> None:
        async with connect("/small/") as peer:
            await peer.accepted()
            peer.send("12345")
            assert await peer.message() == "12345"
            peer.send("123456")
            assert (await peer.closed())[0] == 1009

    @on_event_loop
    async def test_more_messages_than_the_rate_of_the_view_close_with_1008(self) -> None:
        with override_settings(WEBSOCKET_RATE_LIMIT=1000):
            async with connect("/few/") as peer:
                await peer.accepted()
                for number in range(4):
                    peer.send(str(number))
                    assert await peer.message() == str(number)
                for _ in range(100):
                    peer.send("more")
                assert (await end_of(peer)) == (1008, "more than 3 messages a second")

    @on_event_loop
    async def test_rate_of_the_settings_is_for_views_that_have_none(self) -> None:
        with override_settings(WEBSOCKET_RATE_LIMIT=0.001):
            async with connect("/accept/async/") as peer:
                await peer.accepted()
                peer.send("one")
                peer.send("two")
                assert (await end_of(peer)) == (1008, "more than 0.001 messages a second")
            async with connect("/any/") as peer:
                await peer.accepted()
                for number in range(10):
                    peer.send(str(number))
                    assert await peer.message() == str(number)

    @on_event_loop
    async def test_origins_of_the_view_are_asked(self) -> None:
        async with connect("/origins/", headers={"Origin": "https://friend.example"}) as peer:
            await peer.accepted()
            assert await peer.message() == "let in"
            await peer.closed()
        async with connect("/origins/", headers={"Origin": "https://evil.example"}) as peer:
            response = await peer.refused()
            assert response.status == 403
            assert "'https://evil.example'" in response.text
            assert response.header("content-type") == "text/plain; charset=utf-8"

    @on_event_loop
    async def test_foreign_origin_is_refused_without_any_option(self) -> None:
        async with connect("/accept/sync/", headers={"Origin": "https://evil.example"}) as peer:
            response = await peer.refused()
            assert response.status == 403
            assert "WEBSOCKET_ALLOWED_ORIGINS" in response.text
        await check_echo("/accept/sync/", headers={"Origin": "http://testserver"})


@pytest.mark.parametrize("colour", ["sync", "async"])
class TestManualAccept:
    @on_event_loop
    async def test_view_accepts_by_itself(self, colour: str) -> None:
        async with connect(f"/manual/{colour}/", query_string=b"do=accept") as peer:
            event = await peer.accepted()
            assert event["subprotocol"] == "mine"
            assert event["headers"] == [(b"X-Mine", b"1")]
            assert await peer.message() == "accepted"
            assert await peer.closed() == (1000, "")

    @on_event_loop
    async def test_response_is_the_answer_to_the_handshake(self, colour: str) -> None:
        async with connect(f"/manual/{colour}/", query_string=b"do=answer") as peer:
            response = await peer.refused()
            assert (response.status, response.text) == (429, "come later")
            assert response.header("retry-after") == "60"

    @on_event_loop
    async def test_close_refuses_with_403(self, colour: str) -> None:
        async with connect(f"/manual/{colour}/", query_string=b"do=close") as peer:
            assert (await peer.refused()).status == 403

    @on_event_loop
    async def test_view_that_does_neither_is_a_server_error_that_says_so(
        self, colour: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with connect(f"/manual/{colour}/") as peer:
            assert (await peer.refused()).status == 500
        assert "must call request.websocket.accept() or return an HttpResponse" in caplog.text
