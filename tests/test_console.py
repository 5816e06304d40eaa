"""The console page without a browser: who gets it, and that nothing a client says is code in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from django.http import HttpResponse, HttpResponseForbidden, HttpResponseRedirect
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path, re_path

from adwebsocket import console, require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.decorators import PlainRequestRefusal
from tests.connections import WebSocketConversation, on_event_loop
from tests.processes import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = b"This URL speaks WebSocket only; open it with a WebSocket client.\n"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@require_websocket
def echo(request: Any) -> None:
    """Never called by a plain request."""


@require_websocket(subprotocols=["chat.v2", "<b>"])
async def async_echo(request: Any) -> None:
    """The same on the event loop."""


@require_websocket(subprotocols=lambda request, offered: None)
def choosing(request: Any) -> None:
    """Leave the choice to a function."""


@require_websocket(accept="manual")
def refusing(request: Any) -> HttpResponse:
    return HttpResponseForbidden("not <you>", content_type="text/plain")


@require_websocket(accept="manual")
def redirecting(request: Any) -> HttpResponse:
    return HttpResponseRedirect("/login/")


@require_websocket(accept="manual")
def failing(request: Any) -> HttpResponse:
    return HttpResponse("<html>", status=500)


def marked(request: Any) -> None:
    """Marked by hand, for the middleware."""


marked.require_websocket = True  # type: ignore[attr-defined]

urlpatterns = [
    path("echo/", echo),
    path("async/", async_echo),
    path("choosing/", choosing),
    path("refusing/", refusing),
    path("redirecting/", redirecting),
    path("failing/", failing),
    path("marked/", marked),
    re_path("^any/.*$", echo),
]


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(
        DEBUG=True,
        MIDDLEWARE=["adwebsocket.middleware.WebSocketMiddleware"],
        ROOT_URLCONF=__name__,
    ):
        yield


def get(address: str, accept: str | None = BROWSER, **options: Any) -> Any:
    headers = {} if accept is None else {"HTTP_ACCEPT": accept}
    return Client().get(address, **headers, **options)


def text_of(response: Any) -> str:
    text: str = response.content.decode()
    return text


class TestWhoGetsIt:
    @pytest.mark.parametrize("address", ["/echo/", "/async/", "/choosing/", "/marked/"])
    def test_browser_in_debug_gets_the_page_with_400(self, address: str) -> None:
        @on_event_loop
        async def ask() -> None:
            check(await AsyncClient().get(address, headers={"Accept": BROWSER}))

        def check(response: Any) -> None:
            assert response.status_code == 400
            assert response["Content-Type"] == "text/html; charset=utf-8"
            assert response["Vary"] == "Accept"
            assert response["Cache-Control"] == "no-store"
            assert f"<code>{address}</code>" in text_of(response)

        check(get(address))
        ask()

    @pytest.mark.parametrize(
        "accept", [None, "*/*", "text/*", "application/json, */*;q=0.5", "text/plain", ""]
    )
    def test_client_that_names_no_html_gets_the_text(self, accept: str | None) -> None:
        response = get("/echo/", accept)
        assert (response.status_code, response.content) == (400, TEXT)
        assert response["Content-Type"] == "text/plain; charset=utf-8"

    @pytest.mark.parametrize("accept", ["text/html;q=0, */*", "text/html; q=0.00, text/plain"])
    def test_client_that_refuses_html_gets_the_text(self, accept: str) -> None:
        assert get("/echo/", accept).content == TEXT

    @pytest.mark.parametrize("accept", ["TEXT/HTML", "text/plain, text/html;q=0.1;level=1"])
    def test_client_that_takes_html_gets_the_page(self, accept: str) -> None:
        assert get("/echo/", accept)["Content-Type"].startswith("text/html")

    @pytest.mark.parametrize("method", ["post", "put", "delete", "patch", "head", "options"])
    def test_other_method_gets_the_text(self, method: str) -> None:
        response = getattr(Client(), method)("/echo/", HTTP_ACCEPT=BROWSER)
        assert response.status_code == 400
        assert response["Content-Type"] == "text/plain; charset=utf-8"

    @pytest.mark.parametrize("accept", [BROWSER, console.REFUSAL_TYPE])
    def test_nobody_gets_anything_of_it_outside_debug(self, accept: str) -> None:
        with override_settings(DEBUG=False):
            response = get("/echo/", accept)
        assert (response.status_code, response.content) == (400, TEXT)
        assert response["Content-Type"] == "text/plain; charset=utf-8"
        assert not response.has_header("Vary")

    def test_module_is_loaded_in_debug_only(self, tmp_path: Path) -> None:
        code = """if True:
            import sys
            from django.conf import settings
            settings.configure(DEBUG=False, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
            import django; django.setup()
            from django.test import Client
            from django.urls import path
            from adwebsocket import require_websocket
            urlpatterns = [path("", require_websocket(lambda request: None))]
            for settings.DEBUG in (False, True):
                answer = Client().get("/", HTTP_ACCEPT="text/html")
                print(answer["Content-Type"], "adwebsocket.console" in sys.modules)
        """
        output = run(["-c", code], cwd=tmp_path).stdout
        assert "text/plain; charset=utf-8 False\n" in output
        # Neither an app nor a template engine is there.
        assert "text/html; charset=utf-8 True\n" in output


def wsgi_notice(text: str) -> bool:
    return 'id="wsgi"' in text


class TestContent:
    def test_view_is_named(self) -> None:
        assert f"<code>{__name__}.echo</code>" in text_of(get("/echo/"))

    def test_subprotocols_of_the_view_are_filled_in(self) -> None:
        assert 'value="chat.v2, &lt;b&gt;"' in text_of(get("/async/"))
        assert 'id="subprotocols" value=""' in text_of(get("/echo/"))
        assert 'id="subprotocols" value=""' in text_of(get("/choosing/"))

    def test_page_from_a_wsgi_server_says_that_it_is_one(self) -> None:
        assert wsgi_notice(text_of(get("/echo/")))

        @on_event_loop
        async def ask() -> None:
            response: Any = await AsyncClient().get("/echo/", headers={"Accept": BROWSER})
            assert not wsgi_notice(text_of(response))

        ask()

    def test_request_of_rest_framework_will_do(self) -> None:
        from rest_framework.test import APIRequestFactory
        from rest_framework.views import APIView

        request = APIView().initialize_request(APIRequestFactory().get("/a", HTTP_ACCEPT=BROWSER))
        assert "<code>/a</code>" in text_of(PlainRequestRefusal(request))

    def test_page_asks_for_nothing_from_elsewhere(self) -> None:
        text = text_of(get("/echo/"))
        assert re.findall(r"https?://", text) == []
        assert re.findall(r"""\b(?:src|href)=(?!"data:)""", text) == []
        assert re.findall(r"\son\w+=|\sstyle=|javascript:", text) == []


HOSTILE = [
    "</code><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "{{ nonce }}{% debug %}",
    "`${alert(1)}`",
    "&lt;script&gt;",
    "\u2028alert(1)",
]


class TestSafety:
    @pytest.mark.parametrize("part", HOSTILE)
    @pytest.mark.parametrize("where", ["path", "query"])
    def test_path_and_query_are_text(self, part: str, where: str) -> None:
        page = text_of(get(f"/any/{part}" if where == "path" else f"/echo/?{part}"))
        raw = text_of(get("/echo/", QUERY_STRING=part)) if where == "query" else page
        plain = text_of(get("/echo/"))
        for each in (page, raw):
            # Whatever it is, it adds no tag and changes no script.
            assert tags(each) == tags(plain)
            assert pieces(each, "script") == pieces(plain, "script")
            assert pieces(each, "style") == pieces(plain, "style")

    def test_policy_allows_the_script_and_style_of_the_page_and_no_other(self) -> None:
        response = get("/echo/")
        policy = dict(
            part.strip().split(" ", 1) for part in response["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        for name in ("script", "style"):
            (content,) = pieces(text_of(response), name)
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            assert policy[f"{name}-src"] == f"'sha256-{digest}'"
        assert response["X-Content-Type-Options"] == "nosniff"

    def test_nonce_of_a_middleware_is_on_both(self) -> None:
        with override_settings(MIDDLEWARE=[f"{__name__}.give_nonce"]):
            text = text_of(get("/echo/"))
        assert text.count(' nonce="&quot;n&quot;"') == 2
        assert " nonce=" not in text_of(get("/echo/"))

    def test_policy_of_django_is_not_put_in_its_place(self) -> None:
        pytest.importorskip("django.middleware.csp", reason="Django has had it since 6.0")
        with override_settings(
            MIDDLEWARE=["django.middleware.csp.ContentSecurityPolicyMiddleware"],
            SECURE_CSP={"default-src": ["'self'"]},
        ):
            response = get("/echo/")
        assert response["Content-Security-Policy"].startswith("default-src 'none'; script-src")
        assert text_of(response).count(' nonce="') == 2


def give_nonce(get_response: Any) -> Any:
    """Do as django-csp does."""

    def call(request: Any) -> Any:
        request.csp_nonce = '"n"'
        return get_response(request)

    return call


def tags(page: str) -> list[str]:
    return re.findall(r"<[!/a-z][^>\s]*", page)


def pieces(page: str, tag: str) -> list[str]:
    return re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", page, re.DOTALL)


def refusal_of(address: str) -> Any:
    response = get(address, console.REFUSAL_TYPE)
    assert response.status_code == 400
    assert response["Content-Type"] == console.REFUSAL_TYPE
    assert response["Cache-Control"] == "no-store"
    return json.loads(response.content)["refusal"]


def refuse(address: str, **scope: Any) -> None:
    """Try to open a WebSocket, in vain."""

    @on_event_loop
    async def attempt() -> None:
        async with WebSocketConversation(ASGIApplication(), address, **scope) as peer:
            await peer.refused()

    attempt()


class TestRefusals:
    @pytest.fixture(autouse=True)
    def forget(self) -> None:
        console._refusals.clear()

    def test_refusal_of_a_handshake_can_be_asked_for(self) -> None:
        refuse("/refusing/", query_string=b"a=1")
        refusal = refusal_of("/refusing/?a=1")
        assert 0 <= refusal.pop("age") < 60_000
        assert refusal == {
            "status": 403,
            "phrase": "Forbidden",
            "location": "",
            "text": "not <you>",
        }
        assert refusal_of("/refusing/") is None

    def test_redirect_tells_where_to(self) -> None:
        refuse("/redirecting/")
        refusal = refusal_of("/redirecting/")
        assert (refusal["status"], refusal["location"]) == (302, "/login/")

    def test_body_that_is_no_text_is_left_out(self) -> None:
        refuse("/failing/")
        refusal = refusal_of("/failing/")
        assert (refusal["status"], refusal["text"]) == (500, "")

    def test_only_the_latest_are_kept(self) -> None:
        for number in range(console._MOST_REFUSALS + 1):
            request = RequestFactory().get(f"/failing/?{number}")
            console.remember_refusal(request, HttpResponse(status=500), b"")
        assert len(console._refusals) == console._MOST_REFUSALS
        assert refusal_of("/failing/?0") is None
        assert refusal_of("/failing/?100")["status"] == 500

    def test_nothing_is_kept_outside_debug(self) -> None:
        with override_settings(DEBUG=False):
            refuse("/refusing/")
        assert console._refusals == {}
