"""The database that the tests of this folder share: prepared once, served again and again."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.processes import run

from .hosts import FOLDER


@dataclass(frozen=True)
class Database:
    """The database of ``project.py``, with one user in it, and how to be that user."""

    environment: dict[str, str]
    cookie: str


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """Return a database with the user ada, who has a session."""
    path = tmp_path_factory.mktemp("database") / "db.sqlite3"
    environment = {"PROJECT_DATABASE": str(path)}
    result = run(["-c", "import project; project.prepare()"], cwd=FOLDER, env=environment)
    assert result.returncode == 0, result.stdout
    return Database(environment, f"sessionid={result.stdout.split()[-1]}")
