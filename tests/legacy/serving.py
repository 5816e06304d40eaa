"""How the legacy project is served, and what the tests of this folder ask it over HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.processes import Response, ServerProcess, run, serve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

PROJECT = Path(__file__).parent / "project"

HOSTS = {
    "adwebsocket": ("-m", "adwebsocket", "--settings", "mysite.settings", "--port", "{port}"),
    "uvicorn": ("-m", "uvicorn", "mysite.asgi:application", "--port", "{port}"),
}


@dataclass(frozen=True)
class Database:
    """The database of the project, with one user in it, and how to be that user."""

    file: Path
    cookie: str


def make_database(directory: Path) -> Database:
    """Make the database in a process of its own, since Django can be set up but once."""
    file = directory / "db.sqlite3"
    done = run(["prepare.py"], cwd=PROJECT, env={"LEGACY_DATABASE": str(file)})
    assert done.returncode == 0, done.stdout
    return Database(file, f"sessionid={done.stdout.split()[-1]}")


def serve_legacy(
    host: str, database: Database, *options: str, **env: str
) -> AbstractContextManager[ServerProcess]:
    """Serve the project by a host of ``HOSTS``; other keywords go into the environment."""
    return serve(
        [*HOSTS[host], *options],
        cwd=PROJECT,
        env={"LEGACY_DATABASE": str(database.file), **env},
    )


def post(
    server: ServerProcess, path: str, form: Mapping[str, str], headers: Mapping[str, str]
) -> Response:
    """Send a form on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    with contextlib.closing(connection):
        connection.sock = server.connect()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", path, urlencode(form), {**kind, **headers})
        answer = connection.getresponse()
        return Response(answer.status, dict(answer.getheaders()), answer.read().decode())


def ask(server: ServerProcess, path: str) -> Any:
    """Get a page of JSON."""
    answer = server.get(path)
    assert answer.status == 200, answer
    return json.loads(answer.text)
