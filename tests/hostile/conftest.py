"""The servers that the tests of this folder attack, and the colours of the views on them."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.hostile.asking import assert_quiet, assert_serving, make_database, serve_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import Certificate
    from tests.processes import ServerProcess


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="session")
def direct_server(database: Path) -> Iterator[ServerProcess]:
    """The way it is meant to be: our protocol class talks to our application directly."""
    with serve_project(database) as server:
        yield server


@pytest.fixture(scope="session")
def asyncio_server(database: Path) -> Iterator[ServerProcess]:
    """The same on asyncio's own event loop, whose transports differ from uvloop's in details."""
    with serve_project(database, "--loop", "asyncio") as server:
        yield server


@pytest.fixture(scope="session")
def plain_server(database: Path) -> Iterator[ServerProcess]:
    """Something stands in between, so that the two talk plain ASGI."""
    with serve_project(database, application="plain_application") as server:
        yield server


@pytest.fixture(scope="session")
def tls_server(database: Path, certificate: Certificate) -> Iterator[ServerProcess]:
    """The same over TLS, which has no half-closed connections."""
    with serve_project(database, certificate=certificate) as server:
        yield server


@pytest.fixture(scope="session")
def tls_asyncio_server(database: Path, certificate: Certificate) -> Iterator[ServerProcess]:
    """The same on asyncio's own event loop, which has a TLS of its own."""
    with serve_project(database, "--loop", "asyncio", certificate=certificate) as server:
        yield server


@pytest.fixture(params=["direct", "asyncio", "plain", "tls"])
def any_server(request: pytest.FixtureRequest) -> ServerProcess:
    server: ServerProcess = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture
def server(any_server: ServerProcess) -> Iterator[ServerProcess]:
    """Any of the servers, which must serve on and have no error logged when the test is over."""
    before = len(any_server.output())
    yield any_server
    assert_serving(any_server, "async")
    assert_quiet(any_server.output()[before:])


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def name() -> str:
    """A name for the notes and the gate of one test."""
    return uuid.uuid4().hex
