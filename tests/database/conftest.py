"""The PostgreSQL that the tests of this folder share, and connections to it for this process."""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connections
from django.db.backends.signals import connection_created
from django.test import override_settings

from adwebsocket import database as parking
from tests.components import skip_or_fail

from .threads import IDLE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .postgresql import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Run a PostgreSQL, if there is one, for as long as there are tests that want it."""
    try:
        from .postgresql import find_programs, run_cluster
    except ImportError as error:
        skip_or_fail(f"needs psycopg: {error}")
    programs = find_programs()
    if programs is None:
        skip_or_fail("needs PostgreSQL")
    with run_cluster(programs) as cluster:
        yield cluster


@pytest.fixture
def name() -> str:
    """A name that the connections of one test have at the server."""
    return uuid.uuid4().hex


@pytest.fixture
def long_idle_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no idle time pass by itself, and nothing have been reported before."""
    monkeypatch.setattr(parking, "_reported", set())
    with override_settings(WEBSOCKET_DB_IDLE_SECONDS=IDLE):
        yield


class Database:
    """A database of Django's in this process, besides the default one.

    Attributes:
        alias: what it is called in ``connections``.
        is_server: whether it is PostgreSQL, which knows its connections.
    """

    def __init__(self, alias: str, cluster: Cluster | None, name: str) -> None:
        self.alias = alias
        self.is_server = cluster is not None
        self._cluster = cluster
        self._name = name

    @property
    def connection(self) -> Any:
        """What Django has for the calling thread at this moment."""
        return connections[self.alias]

    def set(self, **settings: Any) -> None:
        """Change settings, before the connection in question is opened."""
        connections.settings[self.alias].update(settings)

    def use_pool(self, **options: Any) -> None:
        """Let the database have a pool, which Django knows from 5.1 on."""
        if not hasattr(self.connection, "pool"):
            pytest.skip("needs Django 5.1")
        self.connection.settings_dict["OPTIONS"]["pool"] = {"min_size": 1, **options}

    def query(self) -> int:
        """Run a query, and give the number of the connection that it went over."""
        function = "pg_backend_pid" if self.is_server else "number_of_connection"
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}()")
            return int(cursor.fetchone()[0])

    def is_open(self) -> bool:
        """Tell whether the calling thread's connection is open."""
        return self.connection.connection is not None

    def expect(self, count: int) -> None:
        """Expect that many connections at the server, where there is one."""
        if self._cluster is not None:
            self._cluster.wait_for_count(self._name, count)

    def cut(self) -> None:
        """Let the server end all connections."""
        assert self._cluster is not None
        self._cluster.cut(self._name)


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest, name: str, tmp_path: Path) -> Iterator[Database]:
    """Add a database to those of Django, of each kind."""
    cluster = request.getfixturevalue("cluster") if request.param == "postgresql" else None
    yield from add_database(cluster, name, tmp_path)


@pytest.fixture
def postgresql(cluster: Cluster, name: str, tmp_path: Path) -> Iterator[Database]:
    """Add a database to those of Django that is at the server."""
    yield from add_database(cluster, name, tmp_path)


def add_database(cluster: Cluster | None, name: str, directory: Path) -> Iterator[Database]:
    alias = f"database_{name}"
    if cluster is None:
        file = str(directory / "db.sqlite3")
        settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": file}
    else:
        settings = cluster.database(name)
    numbers = itertools.count()

    def count(connection: Any, **_: Any) -> None:
        if connection.alias == alias and cluster is None:
            number = next(numbers)
            connection.connection.create_function("number_of_connection", 0, lambda: number)

    completed = connections.configure_settings({"default": {}, alias: settings})
    connections.settings[alias] = completed[alias]
    database = Database(alias, cluster, name)
    connection_created.connect(count)
    yield database
    connection_created.disconnect(count)
    # Each thread of a test has closed its own.
    database.expect(0)
    del connections.settings[alias]
