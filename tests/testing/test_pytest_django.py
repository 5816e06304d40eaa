"""The clients as fixtures of pytest-django, in a process whose pytest has that plugin."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING

from tests.components import skip_or_fail
from tests.documentation.pages import DOCS, blocks
from tests.processes import run

from .running import MEMORY, ROOT, SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

CASES = """
import pytest
from tests.testing.project.models import Note


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/sync/", "/async/"])
def test_transaction_is_shared(ws_client, path):
    Note.objects.create(text="from the test")
    with ws_client.websocket(path) as ws:
        ws.send("from the view")
        assert ws.receive_json() == ["from the test", "from the view"]
    assert Note.objects.count() == 2


@pytest.mark.django_db
def test_who_logs_in_is_known(ws_client, django_user_model):
    ws_client.force_login(django_user_model.objects.create_user("anna"))
    with ws_client.websocket("/whoami/") as ws:
        assert ws.receive() == "anna"


@pytest.mark.django_db(transaction=True)
def test_transactions_are_real(ws_client):
    with ws_client.websocket("/sync/") as ws:
        ws.send("committed")
        ws.receive()
    assert Note.objects.count() == 1


def test_database_is_closed_to_tests_that_do_not_ask_for_it(ws_client):
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        with ws_client.websocket("/silent/") as ws:
            ws.send("hello")
            ws.receive()


def test_settings_hold_in_the_view(ws_client, settings):
    settings.WEBSOCKET_MAX_MESSAGE_SIZE = 3
    with ws_client.websocket("/silent/") as ws:
        ws.send("hello")
        ws.assert_closed(1009)
"""


def test_fixtures_of_the_documentation_work(tmp_path: Path) -> None:
    if importlib.util.find_spec("pytest_django") is None:
        skip_or_fail("needs pytest-django")
    fixtures = [block for block in blocks(DOCS / "testing.md", "python") if "fixture" in block]
    (tmp_path / "conftest.py").write_text("\n".join(fixtures))
    (tmp_path / "test_project.py").write_text(CASES)
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\nDJANGO_SETTINGS_MODULE = {SETTINGS}\npythonpath = {ROOT}\n"
        "filterwarnings = error\n"
    )
    result = run(
        ["-m", "pytest", "-p", "no:cacheprovider", "-v"],
        cwd=tmp_path,
        env={"PROJECT_DATABASE": json.dumps(MEMORY)},
    )
    assert result.returncode == 0, result.stdout
    assert "6 passed" in result.stdout
