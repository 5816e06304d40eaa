"""Run the test cases of the project in a process of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.processes import run

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
MEMORY = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
SETTINGS = "tests.testing.project.settings"


def run_project_tests(
    module: str, database: Mapping[str, Any] = MEMORY, runner: str = "thread"
) -> str:
    """Run ``manage.py test`` for a module of the project; give what it has written."""
    result = run(
        ["-W", "error", "-m", "django", "test", f"tests.testing.project.{module}"],
        cwd=ROOT,
        env={
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "PROJECT_DATABASE": json.dumps(database),
            "PROJECT_RUNNER": runner,
        },
    )
    assert result.returncode == 0, result.stdout
    return result.stdout
