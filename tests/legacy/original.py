"""The original, dwebsocket 0.5.12, in an environment of its own, and the servers it ran on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import original
from tests.components import skip_or_fail
from tests.legacy.serving import PROJECT
from tests.processes import serve

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.processes import ServerProcess

HOSTS = {
    "gevent": ("serve_gevent.py", "{port}"),
    "runserver": ("manage.py", "runserver", "--noreload", "{port}"),
}


def make_environment() -> Path:
    """Return the interpreter of the environment, which is made where it is missing.

    Without an old Python this skips, in CI too: distributions have none any more. What cannot be
    installed skips as well, but in CI, where the package index is expected to be there, it fails.
    """
    try:
        return original.make_environment()
    except original.NoInterpreterError as error:
        pytest.skip(str(error))
    except original.NotInstalledError as error:
        skip_or_fail(str(error))


def serve_original(host: str) -> AbstractContextManager[ServerProcess]:
    """Serve the legacy project with the original, by a host of ``HOSTS``."""
    return serve(HOSTS[host], cwd=PROJECT, program=str(make_environment()), env={"PYTHONPATH": ""})
