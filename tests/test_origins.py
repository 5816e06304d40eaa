"""Which pages may open a WebSocket, and what the others are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core.exceptions import DisallowedHost
from django.test import RequestFactory, override_settings

from adwebsocket.origins import refusal_of_origin

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        ],
    )
    def test_page_of_another_host_or_port_may_not(self, origin: str) -> None:
        assert ask(origin) is not None

    def test_secure_page_may_open_a_socket_behind_a_silent_tls_proxy(self) -> None:
        assert ask("https://testserver") is None

    def test_page_without_tls_may_not_open_a_socket_behind_tls(self) -> None:
        assert ask("https://testserver", secure=True) is None
        assert ask("http://testserver", secure=True) is not None

    def test_host_that_is_not_allowed_is_djangos_matter(self) -> None:
        with pytest.raises(DisallowedHost):
            ask("http://evil", host="evil")


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
