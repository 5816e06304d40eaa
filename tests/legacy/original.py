"""The original, dwebsocket 0.5.12, in an environment of its own, and the servers it ran on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.components import skip_or_fail
from tests.legacy.serving import PROJECT
from tests.processes import serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.processes import ServerProcess

ENVIRONMENT = Path(__file__).parents[2] / ".venv-dwebsocket"
# Django 2.2 is the last that its users report to work with it, and Python 3.10 the last that has
# what both of them import.
REQUIREMENTS = ("dwebsocket==0.5.12", "Django==2.2.28", "gevent>=22.10")
VERSIONS = ("3.8", "3.9", "3.10")
HOSTS = {
    "gevent": ("serve_gevent.py", "{port}"),
    "runserver": ("manage.py", "runserver", "--noreload", "{port}"),
}


def make_environment() -> Path:
    """Return the interpreter of the environment, which is made where it is missing.

    Without an old Python this skips, in CI too: distributions have none any more. What cannot be
    installed skips as well, but in CI, where the package index is expected to be there, it fails.
    """
    interpreter = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "installed"
    if stamp.exists() and stamp.read_text() == " ".join(REQUIREMENTS):
        return interpreter
    python = find_python()
    if python is None:
        pytest.skip(f"the original needs Python {' or '.join(VERSIONS)}")
    try:
        call(python, "-m", "venv", "--clear", str(ENVIRONMENT))
        call(str(interpreter), "-m", "pip", "install", "--quiet", *REQUIREMENTS)
    except subprocess.CalledProcessError as error:
        skip_or_fail(f"the original cannot be installed:\n{error.stdout}")
    except subprocess.TimeoutExpired as error:
        skip_or_fail(f"the original is not installed within {error.timeout} seconds")
    stamp.write_text(" ".join(REQUIREMENTS))
    return interpreter


def call(*command: str) -> None:
    subprocess.run(
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )


def find_python() -> str | None:
    """Find the oldest interpreter that will do, on PATH or in pyenv."""
    for version in VERSIONS:
        for candidate in candidates(version):
            if is_version(candidate, version):
                return candidate
    return None


def candidates(version: str) -> Iterator[str]:
    on_path = shutil.which(f"python{version}")
    if on_path is not None:
        yield on_path
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(root.glob(f"versions/{version}.*/bin/python")))


def is_version(python: str, version: str) -> bool:
    """Tell whether this is what its name says; pyenv's may be a shim with nothing behind it."""
    program = 'import sys; print("%d.%d" % sys.version_info[:2])'
    try:
        told = subprocess.run(
            [python, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )
    except OSError:
        return False
    return told.stdout.strip() == version


def serve_original(host: str) -> AbstractContextManager[ServerProcess]:
    """Serve the legacy project with the original, by a host of ``HOSTS``."""
    return serve(HOSTS[host], cwd=PROJECT, program=str(make_environment()), env={"PYTHONPATH": ""})
