"""Who hears of what goes wrong in a view, once: the log, the admins by mail, Django's signal."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any

import django
import pytest
from django.core import mail
from django.core.signals import got_request_exception
from django.http import Http404
from django.test import override_settings
from django.urls import path
from django.utils.decorators import sync_only_middleware
from django.utils.log import AdminEmailHandler

from adwebsocket import ConnectionClosed, require_websocket
from adwebsocket.asgi import ASGIApplication
from tests.connections import WebSocketConversation, on_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase


class Fault(Exception):
    """What only these views raise."""


def fail(request: HttpRequest) -> None:
    match request.GET.get("with"):
        case "fault":
            raise Fault("in the view")
        case "404":
            raise Http404
        case "foreign end":
            raise ConnectionClosed(1001)


@require_websocket(accept="manual")
def sync_early(request: Any) -> None:
    fail(request)


@require_websocket(accept="manual")
async def async_early(request: Any) -> None:
    fail(request)


@require_websocket
def sync_late(request: Any) -> None:
    request.websocket.wait()
    fail(request)
    while True:
        request.websocket.wait()


@require_websocket
async def async_late(request: Any) -> None:
    await request.websocket.wait()
    fail(request)
    while True:
        await request.websocket.wait()


urlpatterns = [
    path("sync/early", sync_early),
    path("async/early", async_early),
    path("sync/late", sync_late),
    path("async/late", async_late),
]


@sync_only_middleware
def sync_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    return get_response


@sync_only_middleware
def failing_middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    def fail(_: HttpRequest) -> HttpResponseBase:
        raise Fault("in the middleware")

    return fail


def mail_settings() -> dict[str, Any]:
    """Give what this version of Django wants to hear of mails and who gets them."""
    admin = "admin@example.com"
    backend = "django.core.mail.backends.locmem.EmailBackend"
    return {
        "ADMINS": [admin if django.VERSION >= (6, 0) else ("Admin", admin)],
        **(
            {"MAILERS": {"default": {"BACKEND": backend}}}
            if django.VERSION >= (6, 1)
            else {"EMAIL_BACKEND": backend}
        ),
    }


class Reports:
    """What has been heard of faults.

    Attributes:
        signals: the exceptions that Django's signal told of.
        records: what the logger of requests has written at the level of errors.
    """

    def __init__(self) -> None:
        self.signals: list[BaseException | None] = []
        self.records: list[logging.LogRecord] = []

    def take_signal(self, **_: Any) -> None:
        self.signals.append(sys.exc_info()[1])

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            self.records.append(record)
        return True


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reports]:
    """Report as in production: errors go to the admins by mail."""
    reports = Reports()
    monkeypatch.setattr(mail, "outbox", [], raising=False)
    logger = logging.getLogger("django.request")
    handler = AdminEmailHandler()
    handler.setLevel(logging.ERROR)
    logger.addHandler(handler)
    logger.addFilter(reports)
    got_request_exception.connect(reports.take_signal)
    with override_settings(ROOT_URLCONF=__name__, **mail_settings()):
        yield reports
    got_request_exception.disconnect(reports.take_signal)
    logger.removeFilter(reports)
    logger.removeHandler(handler)


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[[], ["sync_middleware"]], ids=["bare", "behind sync middleware"])
def middleware(request: pytest.FixtureRequest) -> list[str]:
    """Middleware of both kinds: a view of the other colour is called in a way of its own."""
    return [f"{__name__}.{name}" for name in request.param]


def connect(path: str, middleware: list[str], fault: str = "") -> WebSocketConversation:
    with override_settings(MIDDLEWARE=middleware):
        application = ASGIApplication()
    return WebSocketConversation(
        application, path, query_string=f"with={fault.replace(' ', '+')}".encode()
    )


def assert_reported_once(reports: Reports, path: str, kind: type[Exception]) -> None:
    assert [type(signal) for signal in reports.signals] == [kind]
    (record,) = reports.records
    assert record.getMessage() == f"Internal Server Error: {path}"
    (message,) = mail.outbox
    assert message.to == ["admin@example.com"]
    assert f"Internal Server Error: {path}" in message.subject
    assert f"{kind.__name__} at {path}\n" in str(message.body)
    assert f"http://testserver{path}" in str(message.body)


def assert_silent(reports: Reports, caplog: pytest.LogCaptureFixture) -> None:
    assert reports.signals == []
    assert mail.outbox == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@on_event_loop
async def test_fault_before_the_handshake_is_reported_once(
    reports: Reports, colour: str, middleware: list[str]
) -> None:
    async with connect(f"/{colour}/early", middleware, "fault") as peer:
        assert (await peer.refused()).status == 500
    assert_reported_once(reports, f"/{colour}/early", Fault)


@on_event_loop
async def test_fault_on_an_open_socket_is_reported_once(
    reports: Reports, colour: str, middleware: list[str]
) -> None:
    async with connect(f"/{colour}/late", middleware, "fault") as peer:
        await peer.accepted()
        peer.send("go on")
        assert await peer.closed() == (1011, "")
    assert_reported_once(reports, f"/{colour}/late", Fault)


@on_event_loop
async def test_fault_behind_the_end_of_the_connection_is_reported_once(
    reports: Reports, colour: str, middleware: list[str]
) -> None:
    async with connect(f"/{colour}/late", middleware, "fault") as peer:
        await peer.accepted()
        peer.disconnect(1001)
        await peer.finished()
    assert_reported_once(reports, f"/{colour}/late", Fault)


@on_event_loop
async def test_end_of_another_connection_is_reported_once(
    reports: Reports, colour: str, middleware: list[str]
) -> None:
    async with connect(f"/{colour}/late", middleware, "foreign end") as peer:
        await peer.accepted()
        peer.send("go on")
        assert await peer.closed() == (1011, "")
    assert_reported_once(reports, f"/{colour}/late", ConnectionClosed)


@on_event_loop
async def test_fault_in_middleware_is_reported_once(reports: Reports, colour: str) -> None:
    async with connect(f"/{colour}/late", [f"{__name__}.failing_middleware"]) as peer:
        assert (await peer.refused()).status == 500
    assert_reported_once(reports, f"/{colour}/late", Fault)


@on_event_loop
async def test_end_of_the_own_connection_is_not_reported(
    reports: Reports, colour: str, middleware: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(f"/{colour}/late", middleware) as peer:
        await peer.accepted()
        peer.send("go on")
        peer.disconnect(1001)
        await peer.finished()
    assert_silent(reports, caplog)


@on_event_loop
async def test_refusal_by_an_exception_is_not_reported(
    reports: Reports, colour: str, middleware: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(f"/{colour}/early", middleware, "404") as peer:
        assert (await peer.refused()).status == 404
    assert_silent(reports, caplog)


@on_event_loop
async def test_view_that_the_server_cancels_is_not_reported(
    reports: Reports, colour: str, middleware: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    peer = connect(f"/{colour}/late", middleware)
    await peer.__aenter__()
    await peer.accepted()
    await peer.cancel()
    # What is cancelled with it ends in the turns behind.
    while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert_silent(reports, caplog)
