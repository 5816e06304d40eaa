"""The servers that the legacy project runs on: our runner, and stock uvicorn."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import assert_quiet
from tests.legacy.serving import HOSTS, Database, make_database, serve_legacy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.processes import ServerProcess


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return make_database(tmp_path_factory.mktemp("legacy"))


@pytest.fixture(scope="session", params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def noisy_server(host: str, database: Database) -> Iterator[ServerProcess]:
    """A server that may log errors, for tests that look at them or make them."""
    with serve_legacy(host, database) as server:
        yield server


@pytest.fixture
def server(noisy_server: ServerProcess) -> Iterator[ServerProcess]:
    """The same server, which must not log an error or a traceback during the test."""
    before = len(noisy_server.output())
    yield noisy_server
    assert_quiet(noisy_server.output()[before:])


@pytest.fixture
def name() -> str:
    """A name for the notes and the gate of one test."""
    return uuid.uuid4().hex
