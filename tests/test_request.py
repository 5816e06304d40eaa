"""The handshake as Django's request: it is what an HTTP GET of the same URL would be."""

from __future__ import annotations

import asyncio
import copy
from io import BytesIO
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.test import override_settings

from adwebsocket import AsyncWebSocket, WebSocket
from adwebsocket.request import WebSocketRequest, is_websocket_request, mark_plain_request
from adwebsocket.view_runners import ViewRunners
from tests.connections import RecordingChannel, http_scope, on_event_loop, websocket_scope

CASES: dict[str, dict[str, Any]] = {
    "plain": {"path": "/chat/7/"},
    "query": {"path": "/chat/", "query_string": b"room=1&room=2&name=J%C3%BCrgen&empty="},
    "raw UTF-8 in the query": {"path": "/", "query_string": "n=Jürgen".encode()},
    "path beyond ASCII": {"path": "/räume/größe/"},
    "mounted below a path": {"path": "/mounted/chat/", "root_path": "/mounted"},
    "headers": {
        "path": "/",
        "headers": {
            "Cookie": 'sessionid=abc; other="quoted"',
            "User-Agent": "browser",
            "X-Custom": "Größe",
            "Accept-Language": "de",
            "Authorization": "Basic eHk=",
        },
    },
    "host with a port": {"path": "/", "headers": {"Host": "www.example.com:8000"}},
    "UNIX socket": {"path": "/", "client": None, "server": None},
}
SCHEMES = {"ws": "http", "wss": "https"}


async def make_request(scope: dict[str, Any]) -> WebSocketRequest:
    channel = RecordingChannel(asyncio.get_running_loop())
    return WebSocketRequest(scope, channel, ViewRunners())


def describe(request: HttpRequest) -> dict[str, Any]:
    """Return everything that a view may ask of a request."""
    return {
        "META": request.META,
        "headers": dict(request.headers),
        "GET": dict(request.GET.lists()),
        "POST": dict(request.POST),
        "COOKIES": request.COOKIES,
        "method": request.method,
        "path": request.path,
        "path_info": request.path_info,
        "scheme": request.scheme,
        "is_secure": request.is_secure(),
        "host": request.get_host(),
        "port": request.get_port(),
        "full_path": request.get_full_path(),
        "absolute": request.build_absolute_uri(),
        "absolute_other": request.build_absolute_uri("/other?a=1"),
        "content_type": request.content_type,
        "encoding": request.encoding,
        "body": request.body,
        "accepts_html": request.accepts("text/html"),
    }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scheme", SCHEMES)
@on_event_loop
async def test_everything_is_as_for_an_http_get(scheme: str, case: str) -> None:
    arguments = CASES[case]
    expected = ASGIRequest(http_scope(**{"scheme": SCHEMES[scheme], **arguments}), BytesIO())
    request = await make_request(websocket_scope(**{"scheme": scheme, **arguments}))
    assert describe(request) == describe(expected)


@on_event_loop
async def test_scope_without_a_scheme_is_not_secure() -> None:
    request = await make_request(websocket_scope("/", scheme=...))
    assert request.build_absolute_uri("/") == "http://testserver/"


@on_event_loop
async def test_proxy_that_ends_tls_is_believed_as_the_settings_say() -> None:
    scope = websocket_scope("/", headers={"X-Forwarded-Proto": "https"})
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        request = await make_request(scope)
        assert request.is_secure()
        assert request.build_absolute_uri("/") == "https://testserver/"


@on_event_loop
async def test_scope_of_the_server_stays_as_it_was() -> None:
    scope = websocket_scope("/chat/", scheme="wss")
    before = copy.deepcopy(scope)
    await make_request(scope)
    assert scope == before


@on_event_loop
async def test_requests_share_texts_but_no_dictionary_and_no_secret() -> None:
    headers = {"User-Agent": "browser", "Cookie": "sessionid=abc", "X-Long": "a" * 300}
    first, second = [await make_request(websocket_scope("/", headers=headers)) for _ in range(2)]

    assert first.META == second.META
    assert first.META["HTTP_USER_AGENT"] is second.META["HTTP_USER_AGENT"]
    assert first.META["HTTP_COOKIE"] is not second.META["HTTP_COOKIE"]
    assert first.META["HTTP_X_LONG"] is not second.META["HTTP_X_LONG"]
    first.META["HTTP_USER_AGENT"] = "changed"
    assert second.META["HTTP_USER_AGENT"] == second.headers["User-Agent"] == "browser"


@on_event_loop
async def test_request_that_is_closed_leaves_the_others_their_empty_body() -> None:
    first, second, third = [await make_request(websocket_scope("/")) for _ in range(3)]
    first.close()
    assert (second.body, second.POST) == (b"", {})
    assert (third.read(), list(third)) == (b"", [])


@on_event_loop
async def test_query_string_that_is_not_utf_8_raises() -> None:
    with pytest.raises(UnicodeDecodeError):
        await make_request(websocket_scope("/", query_string=b"name=\xff"))


@on_event_loop
async def test_socket_has_the_colour_that_was_asked_for() -> None:
    class Dialect(WebSocket):
        pass

    request = await make_request(websocket_scope("/"))
    classes: list[type] = []
    for is_async in (True, False):
        request.use_socket(is_async=is_async)
        classes.append(type(request.websocket))
    request.use_socket(is_async=False, blocking_class=Dialect)
    classes.append(type(request.websocket))
    assert classes == [AsyncWebSocket, WebSocket, Dialect]


@on_event_loop
async def test_request_knows_that_it_is_a_websocket() -> None:
    request = await make_request(websocket_scope("/"))
    request.use_socket(is_async=True)
    assert request.is_websocket() is True
    assert bool(request.is_websocket) is True
    assert is_websocket_request(request)


def test_plain_request_gets_the_same_two_names() -> None:
    request: Any = HttpRequest()
    assert not is_websocket_request(request)
    mark_plain_request(request)
    assert request.is_websocket() is False
    assert request.websocket is None
    assert not is_websocket_request(request)


def test_websocket_of_another_library_is_none_of_ours() -> None:
    request: Any = HttpRequest()
    request.websocket = object()
    assert not is_websocket_request(request)


@on_event_loop
async def test_path_below_a_mount_is_resolved_without_it() -> None:
    request = await make_request(websocket_scope("/mounted/chat/", root_path="/mounted"))
    assert (request.path, request.path_info) == ("/mounted/chat/", "/chat/")
