"""The package as others meet it: what an import brings along, its names, its wheel."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import adwebsocket
from tests.components import CHECKOUT, build_wheel
from tests.processes import run

NAMES = {
    "AsyncWebSocket",
    "ConnectionClosed",
    "WebSocket",
    "WebSocketMiddleware",
    "WebSocketProtocol",
    "accept_websocket",
    "require_websocket",
    "stats",
}


def run_code(code: str, tmp_path: Path) -> str:
    """Run code in a fresh interpreter without settings, and return what it prints."""
    result = run(["-W", "error", "-c", code], cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    return result.stdout.strip()


class TestImport:
    @pytest.mark.parametrize(
        "module",
        [
            "adwebsocket",
            "adwebsocket.exceptions",
            "adwebsocket.websocket",
            "adwebsocket.async_websocket",
            "adwebsocket.runners.threads",
            "adwebsocket.transport.asgi_channel",
        ],
    )
    def test_brings_neither_django_nor_uvicorn(self, module: str, tmp_path: Path) -> None:
        code = f"""if True:
            import sys
            import {module}
            print(sorted({{'django', 'asgiref', 'uvicorn'}} & set(sys.modules)))
        """
        assert run_code(code, tmp_path) == "[]"

    def test_protocol_class_is_found_without_django(self, tmp_path: Path) -> None:
        code = """if True:
            import sys
            from adwebsocket import WebSocketProtocol
            print(WebSocketProtocol.__name__, 'django' in sys.modules)
        """
        assert run_code(code, tmp_path) == "WebSocketProtocol False"

    @pytest.mark.parametrize(
        "name", ["accept_websocket", "require_websocket", "WebSocketMiddleware"]
    )
    def test_no_setting_is_read_by_what_settings_files_import(
        self, name: str, tmp_path: Path
    ) -> None:
        code = f"""if True:
            from adwebsocket import {name}
            from django.conf import settings
            print(settings.configured)
        """
        assert run_code(code, tmp_path) == "False"

    def test_asgi_module_needs_no_settings_before_it_is_called(self, tmp_path: Path) -> None:
        assert run_code("import adwebsocket.asgi; print('fine')", tmp_path) == "fine"


class TestNames:
    def test_all_lists_the_public_names(self) -> None:
        assert set(adwebsocket.__all__) >= NAMES
        assert len(set(adwebsocket.__all__)) == len(adwebsocket.__all__)

    @pytest.mark.parametrize("name", sorted({*adwebsocket.__all__, *NAMES}))
    def test_public_name_is_there_under_its_own_name(self, name: str) -> None:
        value = getattr(adwebsocket, name)
        assert getattr(value, "__name__", name) == name

    def test_star_import_brings_them(self) -> None:
        namespace: dict[str, object] = {}
        exec("from adwebsocket import *", namespace)
        assert set(namespace) >= NAMES

    def test_dir_lists_them_before_they_are_loaded(self, tmp_path: Path) -> None:
        code = "import adwebsocket; print(*dir(adwebsocket))"
        names = run_code(code, tmp_path).split()
        assert set(names) >= NAMES
        assert names == sorted(names)

    def test_other_name_raises_as_for_any_module(self) -> None:
        with pytest.raises(AttributeError, match=r"module 'adwebsocket' has no attribute 'nope'"):
            adwebsocket.nope  # noqa: B018
        with pytest.raises(ImportError, match="nope"):
            exec("from adwebsocket import nope")

    def test_version_is_a_release_number(self) -> None:
        assert adwebsocket.__version__.replace(".", "").isdigit()


class TestTyping:
    def test_marker_is_in_the_package(self) -> None:
        assert (Path(adwebsocket.__file__).parent / "py.typed").is_file()

    def test_wheel_has_the_marker_all_modules_and_nothing_else(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(build_wheel(tmp_path)) as archive:
            files = {name for name in archive.namelist() if ".dist-info/" not in name}
        package = CHECKOUT / "adwebsocket"
        sources = {
            str(file.relative_to(CHECKOUT))
            for file in package.rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }
        assert "adwebsocket/py.typed" in files
        assert files == sources | {"adwebsocket.pth"}
