"""The system checks, as ``manage.py check`` reports them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.processes import run, write_project

if TYPE_CHECKING:
    from pathlib import Path


def check(directory: Path, settings: str) -> tuple[int, str]:
    """Return the exit code and the words of ``manage.py check``, in one line."""
    write_project(directory, {"mysite/urls.py": "urlpatterns = []\n"}, settings=settings)
    result = run(["manage.py", "check"], cwd=directory)
    assert "Traceback" not in result.stdout
    return result.returncode, " ".join(result.stdout.split())


@pytest.mark.parametrize(
    "apps",
    [
        ["adwebsocket"],
        ["adwebsocket", "django.contrib.staticfiles"],
        ["adwebsocket.apps.AdwebsocketConfig", "django.contrib.staticfiles"],
    ],
)
def test_project_in_order_has_no_issues(tmp_path: Path, apps: list[str]) -> None:
    code, text = check(tmp_path, f"INSTALLED_APPS = {apps}")
    assert code == 0
    assert "System check identified no issues (0 silenced)." in text


def test_app_after_staticfiles_is_e001(tmp_path: Path) -> None:
    code, text = check(tmp_path, "INSTALLED_APPS = ['django.contrib.staticfiles', 'adwebsocket']")
    assert code == 1
    assert "(adwebsocket.E001) 'adwebsocket' stands after 'django.contrib.staticfiles'" in text
    assert "HINT: Put 'adwebsocket' before 'django.contrib.staticfiles'" in text


def test_middleware_classes_are_w001(tmp_path: Path) -> None:
    code, text = check(tmp_path, "MIDDLEWARE_CLASSES = ['mysite.Middleware']")
    assert code == 0
    assert "(adwebsocket.W001) The setting MIDDLEWARE_CLASSES has no effect" in text
    assert "HINT: Move its entries to MIDDLEWARE" in text


def test_number_can_be_silenced(tmp_path: Path) -> None:
    code, text = check(
        tmp_path, "MIDDLEWARE_CLASSES = []\nSILENCED_SYSTEM_CHECKS = ['adwebsocket.W001']"
    )
    assert code == 0
    assert "System check identified no issues (1 silenced)." in text
