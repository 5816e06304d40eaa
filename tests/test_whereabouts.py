"""Which views run and where they stand, and how that is put into words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import override_settings
from django.urls import path

from adwebsocket import require_websocket
from adwebsocket.asgi import ASGIApplication
from adwebsocket.whereabouts import View, describe, running_views
from tests.connections import WebSocketConversation, on_event_loop


@require_websocket
def sync_view(request: Any) -> None:
    list(request.websocket)


@require_websocket
async def async_view(request: Any) -> None:
    await read_all(request.websocket)


async def read_all(websocket: Any) -> None:
    async for _ in websocket:
        pass


urlpatterns = [path("sync", sync_view), path("async", async_view)]


def line_of(function: Any, offset: int) -> str:
    return f"{__file__}:{function.__code__.co_firstlineno + offset}"


def views_here() -> list[View]:
    """Give the views that run, without those that other tests may have left in threads."""
    views = running_views(asyncio.get_running_loop())
    return [view for view in views if __file__ in view.places]


@pytest.mark.parametrize(
    ("colour", "places"),
    [
        ("sync", [line_of(sync_view.__wrapped__, 2)]),
        ("async", [line_of(read_all, 1), line_of(async_view.__wrapped__, 2)]),
    ],
)
@on_event_loop
async def test_view_that_waits_is_there_with_its_line_until_it_ends(
    colour: str, places: list[str]
) -> None:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        async with WebSocketConversation(ASGIApplication(), f"/{colour}") as peer:
            await peer.accepted()
            while not (views := views_here()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert views == [View(f"/{colour}", ", called from ".join(places))]
            peer.disconnect()
            await peer.finished()
    assert views_here() == []


def test_views_at_one_line_share_a_line_with_some_of_their_paths() -> None:
    views = [View(f"/room/{number % 5}", "views.py:7") for number in range(100)]
    assert describe([*views, View("/other", "")]) == [
        "Still running: /room/0 (20 times), /room/1 (20 times), /room/2 (20 times) and 40 more "
        "at views.py:7",
        "Still running: /other at an unknown line",
    ]


def test_of_many_lines_the_most_crowded_are_named_and_the_others_counted() -> None:
    views = [View("/", f"views.py:{line}") for line in range(30) for _ in range(30 - line)]
    lines = describe(views)
    assert lines[0] == "Still running: / (30 times) at views.py:0"
    assert lines[19] == "Still running: / (11 times) at views.py:19"
    assert lines[20:] == ["Still running: 55 more views at 10 other places"]


def test_no_view_needs_no_word() -> None:
    assert describe([]) == []


def test_path_cannot_begin_a_line_of_its_own() -> None:
    (line,) = describe([View("/a\nERROR: b", "views.py:7")])
    assert line == "Still running: /a%0AERROR%3A%20b at views.py:7"
