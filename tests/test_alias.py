"""``import dwebsocket``: where it leads, how early, and that a project can do without."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from adwebsocket import alias, compat
from tests.processes import run, write_files, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    alias.uninstall()
    alias.install()
    yield
    alias.uninstall()
    alias.install()


@pytest.mark.parametrize(
    ("module", "name", "ours"),
    [
        ("dwebsocket", "accept_websocket", compat.accept_websocket),
        ("dwebsocket", "require_websocket", compat.require_websocket),
        ("dwebsocket.decorators", "accept_websocket", compat.accept_websocket),
        ("dwebsocket.decorators", "require_websocket", compat.require_websocket),
        ("dwebsocket.middleware", "WebSocketMiddleware", compat.WebSocketMiddleware),
        ("dwebsocket.websocket", "WebSocket", compat.WebSocket),
        ("dwebsocket.factory", "WebSocketFactory", compat.WebSocketFactory),
        ("dwebsocket.backends.default.factory", "WebSocketFactory", compat.WebSocketFactory),
        ("dwebsocket.backends.uwsgi.factory", "uWsgiWebSocketFactory", compat.WebSocketFactory),
    ],
)
def test_names_of_the_original_lead_here(module: str, name: str, ours: object) -> None:
    assert getattr(importlib.import_module(module), name) is ours


@pytest.mark.parametrize("module", ["dwebsocket", "dwebsocket.decorators"])
def test_star_import_gives_the_decorators_and_nothing_else(module: str) -> None:
    names: dict[str, object] = {}
    exec(f"from {module} import *", names)

    assert {name for name in names if not name.startswith("__")} == {
        "accept_websocket",
        "require_websocket",
    }


def test_module_that_the_original_does_not_have_is_an_import_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"dwebsocket\.nothing"):
        importlib.import_module("dwebsocket.nothing")


def test_installing_twice_is_installing_once() -> None:
    before = importlib.import_module("dwebsocket")
    alias.install()

    assert importlib.import_module("dwebsocket") is before
    assert sys.meta_path.count(alias._finder) == 1


def test_without_the_alias_there_is_no_dwebsocket() -> None:
    importlib.import_module("dwebsocket.decorators")
    alias.uninstall()

    assert not [name for name in sys.modules if name.partition(".")[0] == "dwebsocket"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("dwebsocket")


def test_original_that_was_imported_before_gives_way_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(
        tmp_path, {"dwebsocket/__init__.py": "", "dwebsocket/decorators.py": "is_original = True"}
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    alias.uninstall()
    assert importlib.import_module("dwebsocket.decorators").is_original

    alias.install()
    assert not hasattr(importlib.import_module("dwebsocket.decorators"), "is_original")

    alias.uninstall()
    assert importlib.import_module("dwebsocket.decorators").is_original


VIEWS = {
    "mysite/urls.py": """
from django.urls import path
from dwebsocket.decorators import accept_websocket

@accept_websocket
def page(request):
    pass

urlpatterns = [path("", page)]
""",
}
CHECK = "from django.core.management import execute_from_command_line as run; run(['', 'check'])"


@pytest.mark.parametrize("apps", [["adwebsocket", "dwebsocket"], ["dwebsocket", "adwebsocket"]])
def test_dwebsocket_may_be_an_app_and_stand_in_settings(tmp_path: Path, apps: list[str]) -> None:
    settings = f"import dwebsocket.factory\nINSTALLED_APPS = [*{apps}, *INSTALLED_APPS[1:]]"
    project = write_project(tmp_path, VIEWS, settings)

    result = run(["manage.py", "check"], cwd=project)

    assert "System check identified no issues" in result.stdout, result.stdout


def test_fallback_leaves_the_name_to_the_original_until_we_serve(tmp_path: Path) -> None:
    write_files(tmp_path, {"dwebsocket.py": "is_original = True"})
    code = (
        "import dwebsocket; assert dwebsocket.is_original; import adwebsocket.asgi; "
        "import dwebsocket; assert not hasattr(dwebsocket, 'is_original'); print('fine')"
    )

    assert run(["-c", code], cwd=tmp_path).stdout == "fine\n"


def test_name_is_known_without_an_import_of_ours(tmp_path: Path) -> None:
    code = "from dwebsocket.decorators import *; print(accept_websocket.__module__)"

    assert run(["-c", code], cwd=tmp_path).stdout == "adwebsocket.compat\n"


def test_settings_may_import_it_once_we_are_loaded(tmp_path: Path) -> None:
    project = write_project(
        tmp_path,
        VIEWS,
        "import dwebsocket\nimport dwebsocket.factory\n"
        'WEBSOCKET_FACTORY_CLASS = "dwebsocket.backends.uwsgi.factory.uWsgiWebSocketFactory"\n'
        'MIDDLEWARE_CLASSES = ["dwebsocket.middleware.WebSocketMiddleware"]\n'
        'MIDDLEWARE = ["dwebsocket.middleware.WebSocketMiddleware"]\n',
    )

    for first in ("adwebsocket.asgi", "adwebsocket.cli"):
        result = run(
            ["-c", f"import {first}; {CHECK}"],
            cwd=project,
            env={"DJANGO_SETTINGS_MODULE": "mysite.settings"},
        )
        assert "adwebsocket.W001" in result.stdout, result.stdout
        assert "adwebsocket.W002" in result.stdout
        assert result.returncode == 0


@pytest.mark.parametrize("how", ["app", "application"])
def test_setting_turns_it_off(tmp_path: Path, how: str) -> None:
    project = write_project(tmp_path, VIEWS, "WEBSOCKET_DWEBSOCKET_ALIAS = False")
    code = (
        f"import adwebsocket.cli; {CHECK}"
        if how == "app"
        else "from adwebsocket.asgi import get_asgi_application as get; get(); import mysite.urls"
    )

    result = run(["-c", code], cwd=project, env={"DJANGO_SETTINGS_MODULE": "mysite.settings"})

    assert "No module named 'dwebsocket'" in result.stdout, result.stdout
    assert result.returncode != 0
