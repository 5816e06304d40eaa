"""Which pages may open a WebSocket, and what the others are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import DisallowedHost
from django.test import RequestFactory, override_settings
from django.urls import path, re_path

from adwebsocket import compat, require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.origins import refusal_of_origin
from tests.connections import WebSocketConversation, on_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def ask(
    origin: str | None,
    origins: Sequence[str] | None = None,
    *,
    host: str = "testserver",
    secure: bool = False,
) -> str | None:
    """Return what a page is told that opens a socket, None where it may."""
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    return refusal_of_origin(RequestFactory().get("/", headers=headers, secure=secure), origins)


class TestOwnHost:
    def test_client_without_an_origin_is_no_browser_and_may(self) -> None:
        assert ask(None) is None
        assert ask(None, origins=[]) is None

    def test_page_of_the_same_host_may(self) -> None:
        assert ask("http://testserver") is None
        assert ask("http://testserver", origins=[]) is None

    def test_page_of_the_same_host_and_port_may(self) -> None:
        assert ask("http://www.example.com:8000", host="www.example.com:8000") is None

    @pytest.mark.parametrize(
        "origin",
        [
            "http://testserver:8000",
            "http://other",
            "http://testserver.evil",
            "http://evil/testserver",
            "http://evil#testserver",
            "http://testserver@evil",
            "http://xtestserver",
            "testserver",
            "",
            "://",
            "null",
            "http://[",
            "http://testserver.",
            "http://user@testserver",
            "http://user:secret@testserver",
            "http://testserver:80:80",
            "http://testserver:",
            "http://testserver/",
            "http://testserver?",
            " http://testserver",
            "http://testserver,http://evil",
            "http://evil,http://testserver",
            "ws://testserver",
            "file://testserver",
            "http:testserver",
            "http://testserver\\.evil",
            "http://test\x00server",
        ],
    )
    def test_page_of_another_host_or_port_may_not(self, origin: str) -> None:
        assert ask(origin) is not None

    @pytest.mark.parametrize(
        ("origin", "host"),
        [
            ("http://TestServer", "testserver"),
            ("http://testserver", "TESTSERVER"),
            ("HTTP://testserver", "testserver"),
        ],
    )
    def test_case_makes_no_difference(self, origin: str, host: str) -> None:
        assert ask(origin, host=host) is None

    @pytest.mark.parametrize(
        ("origin", "host"),
        [
            ("http://www.example.com", "www.example.com:80"),
            ("http://www.example.com:80", "www.example.com"),
            ("https://www.example.com", "www.example.com:443"),
            ("https://www.example.com:443", "www.example.com"),
        ],
    )
    def test_port_of_the_scheme_is_as_good_as_none(self, origin: str, host: str) -> None:
        assert ask(origin, host=host) is None

    @pytest.mark.parametrize(
        ("origin", "host"),
        [
            ("https://www.example.com", "www.example.com:80"),
            ("http://www.example.com", "www.example.com:443"),
            ("http://www.example.com:443", "www.example.com"),
            ("https://www.example.com:80", "www.example.com"),
        ],
    )
    def test_port_of_the_other_scheme_is_another_port(self, origin: str, host: str) -> None:
        assert ask(origin, host=host) is not None

    def test_page_of_the_same_ipv6_address_may(self) -> None:
        with override_settings(ALLOWED_HOSTS=["[2001:db8::1]"]):
            assert ask("http://[2001:db8::1]:8000", host="[2001:db8::1]:8000") is None
            assert ask("http://[2001:DB8::1]", host="[2001:db8::1]:80") is None
            assert ask("http://[2001:db8::2]:8000", host="[2001:db8::1]:8000") is not None
            assert ask("http://2001:db8::1", host="[2001:db8::1]") is not None

    def test_host_with_a_trailing_dot_is_another_one_as_it_is_to_browsers(self) -> None:
        assert ask("http://www.example.com.", host="www.example.com.") is None
        assert ask("http://www.example.com", host="www.example.com.") is not None

    def test_secure_page_may_open_a_socket_behind_a_silent_tls_proxy(self) -> None:
        assert ask("https://testserver") is None

    def test_page_without_tls_may_not_open_a_socket_behind_tls(self) -> None:
        assert ask("https://testserver", secure=True) is None
        assert ask("http://testserver", secure=True) is not None

    def test_host_that_is_not_allowed_is_djangos_matter(self) -> None:
        for origin in ("http://evil", "http://testserver", None):
            with pytest.raises(DisallowedHost):
                ask(origin, host="evil")


class TestSettings:
    @pytest.mark.parametrize("name", ["WEBSOCKET_ALLOWED_ORIGINS", "CSRF_TRUSTED_ORIGINS"])
    def test_listed_origin_may(self, name: str) -> None:
        with override_settings(**{name: ["https://a.example", "https://b.example:8443"]}):
            assert ask("https://a.example") is None
            assert ask("https://b.example:8443") is None
            assert ask("https://b.example") is not None
            assert ask("http://a.example") is not None
            assert ask("https://sub.a.example") is not None
        assert ask("https://a.example") is not None

    def test_both_settings_count_together(self) -> None:
        with override_settings(
            WEBSOCKET_ALLOWED_ORIGINS=["https://a.example"],
            CSRF_TRUSTED_ORIGINS=["https://b.example"],
        ):
            assert ask("https://a.example") is None
            assert ask("https://b.example") is None

    @pytest.mark.parametrize("name", ["WEBSOCKET_ALLOWED_ORIGINS", "CSRF_TRUSTED_ORIGINS"])
    def test_wildcard_stands_for_subdomains_of_its_scheme_and_port(self, name: str) -> None:
        with override_settings(**{name: ["https://*.example.org"]}):
            assert ask("https://a.example.org") is None
            assert ask("https://a.b.example.org") is None
            assert ask("http://a.example.org") is not None
            assert ask("https://a.example.org:8443") is not None
            assert ask("https://badexample.org") is not None
            assert ask("https://a.example.org.evil") is not None

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil,x.example.org",
            "https://evil\\.example.org",
            "https://evil@a.example.org",
            "https://evil/.example.org",
            "https://evil#.example.org",
            "https://[::1].example.org",
            "https://evil a.example.org",
        ],
    )
    def test_what_no_browser_sends_is_no_subdomain(self, origin: str) -> None:
        with override_settings(WEBSOCKET_ALLOWED_ORIGINS=["https://*.example.org"]):
            assert ask(origin) is not None

    def test_case_and_port_of_the_scheme_make_no_difference_to_lists(self) -> None:
        with override_settings(
            WEBSOCKET_ALLOWED_ORIGINS=["https://A.example:443", "https://*.Example.org:443"]
        ):
            assert ask("https://a.example") is None
            assert ask("https://b.example.org") is None
            assert ask("https://a.example:80") is not None

    def test_page_of_an_app_may_where_that_is_listed(self) -> None:
        with override_settings(WEBSOCKET_ALLOWED_ORIGINS=["capacitor://localhost"]):
            assert ask("capacitor://localhost") is None
            assert ask("http://localhost") is not None

    def test_star_lets_everybody_in(self) -> None:
        with override_settings(WEBSOCKET_ALLOWED_ORIGINS=["*"]):
            assert ask("https://anywhere.example") is None
            assert ask("null") is None

    def test_page_without_an_address_may_where_that_is_listed(self) -> None:
        with override_settings(WEBSOCKET_ALLOWED_ORIGINS=["null"]):
            assert ask("null") is None


class TestOriginsOfAView:
    def test_they_take_the_place_of_the_settings(self) -> None:
        with override_settings(
            WEBSOCKET_ALLOWED_ORIGINS=["https://a.example"],
            CSRF_TRUSTED_ORIGINS=["https://b.example"],
        ):
            for origin in ("https://a.example", "https://b.example"):
                assert ask(origin, origins=["https://c.example"]) is not None
                assert ask(origin, origins=[]) is not None
            assert ask("https://c.example", origins=["https://c.example"]) is None

    def test_wildcard_and_star_work_in_them(self) -> None:
        assert ask("https://a.example.org", origins=["https://*.example.org"]) is None
        assert ask("https://anywhere.example", origins=["*"]) is None


class TestMessage:
    def test_it_names_the_origin_the_host_and_the_settings(self) -> None:
        message = ask("https://evil.example")
        assert message is not None
        for word in (
            "'https://evil.example'",
            "'testserver'",
            "WEBSOCKET_ALLOWED_ORIGINS",
            "CSRF_TRUSTED_ORIGINS",
        ):
            assert word in message

    def test_it_names_the_origins_of_the_view_where_those_count(self) -> None:
        message = ask("https://evil.example", origins=["https://a.example"])
        assert message is not None
        assert "add it to the origins of the view" in message
        assert "WEBSOCKET_ALLOWED_ORIGINS" not in message

    @pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x9b", "\x00", "\u2028"])
    def test_it_is_one_line_of_printable_characters(self, character: str) -> None:
        message = ask(f"http://evil{character}2026 All is well")
        assert message is not None
        assert message.isascii()
        assert message.isprintable()

    def test_it_does_not_repeat_all_of_a_long_origin(self) -> None:
        message = ask("http://" + "x" * 60_000)
        assert message is not None
        assert len(message) < 500


# The same through the application

calls: list[str] = []


@require_websocket
def sync_view(request: Any) -> None:
    calls.append("view")


@require_websocket
async def async_view(request: Any) -> None:
    calls.append("view")


@require_websocket(accept="manual")
def manual_view(request: Any) -> None:
    calls.append("view")
    request.websocket.accept()


@compat.require_websocket
def legacy_view(request: Any) -> None:
    calls.append("view")


def by_hand(request: Any) -> None:
    calls.append("view")


by_hand.accept_websocket = True  # type: ignore[attr-defined]

VIEWS: dict[str, Callable[[Any], Any]] = {
    "sync": sync_view,
    "async": async_view,
    "manual": manual_view,
    "legacy": legacy_view,
    "by-hand": by_hand,
}
urlpatterns = [
    *(path(f"{name}/", view) for name, view in VIEWS.items()),
    re_path("^odd/(?s:.*)$", sync_view),
]


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("middleware", [[], ["django.middleware.common.CommonMiddleware"]])
class TestServed:
    @pytest.fixture
    def application(self, middleware: list[str]) -> Iterator[ASGIApplication]:
        calls.clear()
        with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=middleware):
            yield ASGIApplication()

    @pytest.mark.parametrize("origin", [{}, {"Origin": "http://evil.example"}])
    @on_event_loop
    async def test_host_that_is_not_allowed_is_400_before_the_view_runs(
        self, name: str, origin: dict[str, str], application: ASGIApplication
    ) -> None:
        headers = {"Host": "evil.example", **origin}
        async with WebSocketConversation(application, f"/{name}/", headers=headers) as peer:
            assert (await peer.refused()).status == 400
        assert calls == []

    @on_event_loop
    async def test_foreign_origin_is_403_and_in_the_log_once(
        self, name: str, application: ASGIApplication, caplog: pytest.LogCaptureFixture
    ) -> None:
        headers = {"Origin": "http://evil.example"}
        async with WebSocketConversation(application, f"/{name}/", headers=headers) as peer:
            response = await peer.refused()
        assert response.status == 403
        assert "'http://evil.example'" in response.text
        assert "WEBSOCKET_ALLOWED_ORIGINS" in response.text
        assert calls == []
        assert len(caplog.messages) == 1
        assert caplog.messages[0].startswith(f"Refused a WebSocket to '/{name}/': The origin ")

    @on_event_loop
    async def test_own_origin_is_let_in(self, name: str, application: ASGIApplication) -> None:
        headers = {"Origin": "http://testserver"}
        async with WebSocketConversation(application, f"/{name}/", headers=headers) as peer:
            await peer.accepted()
            await peer.closed()
        assert calls == ["view"]


@on_event_loop
async def test_path_of_a_refusal_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        application = ASGIApplication()
        headers = {"Origin": "http://evil.example"}
        hostile = "/odd/x\nERROR all is lost\x1b[2J"
        async with WebSocketConversation(application, hostile, headers=headers) as peer:
            assert (await peer.refused()).status == 403
    assert len(caplog.messages) == 1
    assert caplog.messages[0].isprintable()
