"""Addresses of views for the tests of this folder, and a look at what they leave behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.db import connections
from django.test import override_settings

from adwebsocket import live
from adwebsocket.testing import AsyncWebSocketClient, WebSocketClient
from tests.database.conftest import cluster, database, name
from tests.processes import wait_until

from . import views

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cluster", "database", "name"]


@pytest.fixture(params=["sync in a thread", "sync in a greenlet", "async"])
def colour(request: pytest.FixtureRequest) -> Iterator[str]:
    """The kind of view, as the first part of its address."""
    kind, _, runner = request.param.partition(" in a ")
    with override_settings(WEBSOCKET_SYNC_RUNNER=runner or "thread"):
        yield kind


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Serve the views of this folder, and see to it that a test leaves nothing of them behind."""
    views.released.clear()
    views.passed.clear()
    with override_settings(MIDDLEWARE=[], ROOT_URLCONF=views.__name__):
        # Starts the background, which stays.
        with WebSocketClient().websocket("/sync/echo/"):
            pass
        descriptors, storage = count_descriptors(), vars(connections)["_connections"]
        yield
        views.released.set()
        assert live.count_live() == 0
        assert vars(connections)["_connections"] is storage
        wait_until(lambda: count_descriptors() <= descriptors, "closed descriptors")


def count_descriptors() -> int:
    return sum(1 for _ in Path(f"/proc/{os.getpid()}/fd").iterdir())


@pytest.fixture
def client(nothing_left: None) -> WebSocketClient:
    """A client for blocking tests."""
    return WebSocketClient()


@pytest.fixture
def async_client(nothing_left: None) -> AsyncWebSocketClient:
    """A client for ``async def`` tests."""
    return AsyncWebSocketClient()
