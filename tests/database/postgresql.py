"""A PostgreSQL for the tests of this folder: a cluster of its own, in a directory that is deleted.

It listens at a UNIX domain socket only, and forgets what it is told when it stops.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tests.processes import DEADLINE, serve, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CONNECTIONS = 120
"""Enough for 100 queries at once and for who watches, by far not enough for 1,000 views."""

USER = "tester"


class Cluster:
    """A running server, and what it says about its clients.

    Attributes:
        directory: where its socket is.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def database(self, name: str, **settings: Any) -> dict[str, Any]:
        """Give an entry for Django's ``DATABASES``; the name is what ``count`` knows it by."""
        options = {"application_name": name, **settings.pop("OPTIONS", {})}
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": USER,
            "HOST": str(self.directory),
            "OPTIONS": options,
            **settings,
        }

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect as who watches, without Django."""
        return psycopg.connect(
            host=str(self.directory), user=USER, dbname="postgres", autocommit=True
        )

    def fetch(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run a query on a connection of its own."""
        with self.connect() as connection:
            cursor = connection.execute(query, arguments)
            return cursor.fetchall() if cursor.description else []

    def count(self, name: str, state: str = "%") -> int:
        """Count the connections of an application, or those in a state, such as "active"."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND state LIKE %s"
        )
        return int(self.fetch(query, name, state)[0][0])

    def wait_for_count(self, name: str, count: int, state: str = "%") -> None:
        """Wait until an application has exactly so many connections."""
        what = f"{count} connections of {name!r} in state {state!r}"
        wait_until(lambda: self.count(name, state) == count, what)

    def cut(self, name: str) -> None:
        """End all connections of an application from the server's side, and wait for their end."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        self.fetch(query, name)
        self.wait_for_count(name, 0)


def find_programs() -> Path | None:
    """Find the folder of the newest PostgreSQL that is installed."""
    if program := shutil.which("postgres"):
        return Path(program).resolve().parent
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


@contextlib.contextmanager
def run_cluster(programs: Path, max_connections: int = MAX_CONNECTIONS) -> Iterator[Cluster]:
    """Make a cluster and run it for the length of a ``with`` block."""
    # Not below pytest's directory, into which no other user may look; and a short path, since
    # sockets have no room for a long one.
    directory = Path(tempfile.mkdtemp(prefix="adwebsocket-postgresql-"))
    try:
        become = unprivileged_user(directory)
        data = str(directory / "data")
        make = [programs / "initdb", "--pgdata", data, "--username", USER, "--auth", "trust"]
        subprocess.run(
            [*become, *make, "--no-sync", "--locale", "C", "--encoding", "UTF8"],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=2 * DEADLINE,
            check=True,
        )
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(directory),
            "max_connections": str(max_connections),
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "16MB",
            "log_min_messages": "fatal",
        }
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        command = [*become, str(programs / "postgres"), "-D", data, *options]
        cluster = Cluster(directory)
        with serve(
            command[1:],
            program=command[0],
            cwd=directory,
            unix_socket=directory / ".s.PGSQL.5432",
            ready=lambda server: is_ready(cluster),
        ) as server:
            yield cluster
            # Fast shutdown; with SIGTERM it would wait for its clients.
            server.send_signal(signal.SIGINT)
    finally:
        shutil.rmtree(directory)


def unprivileged_user(directory: Path) -> list[str]:
    """Give a directory to a user as whom PostgreSQL runs, and the command to become that user."""
    if os.geteuid() != 0:
        return []
    names = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(directory, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def is_ready(cluster: Cluster) -> bool:
    try:
        return cluster.fetch("SELECT 1") == [(1,)]
    except psycopg.OperationalError:
        return False
