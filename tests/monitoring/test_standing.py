"""Where sync views stand: found for both runners, while they wait and while they do not."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import weakref
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from django.urls import path

from adwebsocket import require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.live import live_requests
from adwebsocket.monitoring.standing import standing_views
from adwebsocket.monitoring.statistics import stats
from tests.connections import DEADLINE, WebSocketConversation, on_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEYS = ("threads", "greenlets")

let_go = threading.Event()


@require_websocket
def waiting(request: Any) -> None:
    request.websocket.wait()  # waits


@require_websocket
def blocked(request: Any) -> None:
    request.websocket.send("blocked")
    let_go.wait(DEADLINE)  # blocks


urlpatterns = [path("waiting/", waiting), path("blocked/", blocked, name="blocked")]


def line_of(view: Callable[..., Any], comment: str) -> str:
    lines, first = inspect.getsourcelines(inspect.unwrap(view))
    (number,) = [first + n for n, line in enumerate(lines) if line.rstrip().endswith(comment)]
    return f"{__file__}:{number}"


@pytest.fixture(params=["thread", "greenlet"])
def application(request: pytest.FixtureRequest) -> Iterator[ASGIApplication]:
    let_go.clear()
    with override_settings(
        ROOT_URLCONF=__name__, WEBSOCKET_SYNC_RUNNER=request.param, WEBSOCKET_GREENLET_WORKERS=2
    ):
        yield ASGIApplication()


def test_parked_and_blocked_views_are_found_with_their_lines(application: ASGIApplication) -> None:
    @on_event_loop
    async def look() -> None:
        async with AsyncExitStack() as stack:
            # The last first, which has a worker of its own then.
            for name in ("waiting", "blocked"):
                client = WebSocketConversation(application, f"/{name}/")
                await stack.enter_async_context(client)
                await client.accepted()
                if name == "blocked":
                    stack.callback(let_go.set)
                    assert await client.message() == "blocked"
            while not any(stats()[key]["parked"] for key in KEYS):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            found = await asyncio.to_thread(standing_views, 10)
            first = await asyncio.to_thread(standing_views, 1)
            let_go.set()

        assert found["total"] == first["total"] == 2
        busy, parked = found["views"]
        assert (busy["path"], busy["view"]) == ("/blocked/", "blocked")
        assert busy["line"] == line_of(blocked, "# blocks")
        assert busy["waiting"] is None
        assert parked["line"] == line_of(waiting, "# waits")
        assert parked["line"] in parked["calls"]
        assert 0 <= parked["waiting"] <= DEADLINE
        assert busy["runner"] == parked["runner"]
        assert [view["path"] for view in first["views"]] == ["/blocked/"]

    look()


def test_view_that_has_ended_leaves_no_work_to_the_garbage_collector(
    application: ASGIApplication,
) -> None:
    requests: list[weakref.ref[Any]] = []

    @on_event_loop
    async def serve() -> None:
        async with WebSocketConversation(application, "/waiting/") as client:
            await client.accepted()
            requests.extend(weakref.ref(request) for request in live_requests())
            client.disconnect()
            await client.finished()
        del client
        while any(request() for request in requests):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    gc.collect()
    gc.disable()
    try:
        serve()
        assert len(requests) == 1
    finally:
        gc.enable()


def test_views_that_share_a_thread_with_a_blocked_one_are_found_with_their_lines() -> None:
    let_go.clear()

    @on_event_loop
    async def look() -> None:
        async with AsyncExitStack() as stack:
            for name in ("waiting", "blocked"):
                client = WebSocketConversation(application, f"/{name}/")
                await stack.enter_async_context(client)
                await client.accepted()
                if name == "blocked":
                    stack.callback(let_go.set)
                    assert await client.message() == "blocked"
            found = await asyncio.to_thread(standing_views, 10)
            let_go.set()

        assert [(view["path"], view["line"]) for view in found["views"]] == [
            ("/blocked/", line_of(blocked, "# blocks")),
            ("/waiting/", line_of(waiting, "# waits")),
        ]

    with override_settings(
        ROOT_URLCONF=__name__, WEBSOCKET_SYNC_RUNNER="greenlet", WEBSOCKET_GREENLET_WORKERS=1
    ):
        application = ASGIApplication()
        look()
