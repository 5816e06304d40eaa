"""What the tests of this folder ask: this process, which answers for once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core import mail
from django.test import override_settings

from adwebsocket.monitoring import asking, control

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let server processes have sockets, here."""
    # Some test may have set it up as Django's runner does.
    monkeypatch.delattr(mail, "outbox", raising=False)
    with override_settings(
        WEBSOCKET_STATUS_SOCKET=True, WEBSOCKET_RUNTIME_DIR=str(tmp_path), WEBSOCKET_STATS_TOKEN="t"
    ):
        control.close_socket()
        yield tmp_path
        control.close_socket()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for what will not come."""
    monkeypatch.setattr(asking, "_PATIENCE", 0.2)
    monkeypatch.setattr(control, "_PATIENCE", 0.2)
