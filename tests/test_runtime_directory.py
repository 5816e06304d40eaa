"""The project's meeting place on a machine: private, the same for its processes, no other's."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from adwebsocket.runtime_directory import runtime_directory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


class TestRuntimeDirectory:
    def test_is_made_for_its_user_alone(self, parent: Path) -> None:
        directory = runtime_directory()
        assert directory.parent == parent
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert runtime_directory() == directory

    def test_projects_of_one_user_do_not_meet(self, parent: Path) -> None:
        directory = runtime_directory()
        with override_settings(SECRET_KEY="that of another project"):
            assert runtime_directory() != directory

    def test_setting_names_it(self, tmp_path: Path) -> None:
        with override_settings(WEBSOCKET_RUNTIME_DIR=str(tmp_path / "run" / "sockets")):
            assert runtime_directory() == tmp_path / "run" / "sockets"

    def test_directory_that_others_may_write_to_is_refused(self, parent: Path) -> None:
        runtime_directory().chmod(0o777)
        with pytest.raises(ImproperlyConfigured, match="nobody else may write to"):
            runtime_directory()

    def test_link_is_refused(self, parent: Path) -> None:
        directory = runtime_directory()
        directory.rmdir()
        (parent / "elsewhere").mkdir(mode=0o700)
        directory.symlink_to(parent / "elsewhere")
        with pytest.raises(ImproperlyConfigured, match="must be a directory"):
            runtime_directory()
