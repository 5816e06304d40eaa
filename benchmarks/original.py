"""The original, dwebsocket 0.5.12, in an environment of its own: its versions and how it is made.

The catalogue names its interpreter, the report has it made before a benchmark, and the tests that
compare us with the original have it made here too. It must not know who uses it.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks import BenchmarkError

ENVIRONMENT = Path(__file__).parents[1] / ".venv-dwebsocket"
INTERPRETER = ENVIRONMENT / "bin" / "python"
# Django 2.2 is the last that its users report to work with it, and Python 3.10 the last that has
# what both of them import.
REQUIREMENTS = ("dwebsocket==0.5.12", "Django==2.2.28", "gevent>=22.10")
VERSIONS = ("3.8", "3.9", "3.10")


class NoInterpreterError(BenchmarkError):
    """There is no Python that is old enough, as on most machines: nobody is to blame."""


class NotInstalledError(BenchmarkError):
    """There is one, but the original could not be installed for it."""


def make_environment() -> Path:
    """Return the interpreter of the environment, which is made where it is missing.

    Raises:
        NoInterpreterError: there is no old Python; distributions have none any more.
        NotInstalledError: what has to be installed could not be.
    """
    stamp = ENVIRONMENT / "installed"
    if stamp.exists() and stamp.read_text() == " ".join(REQUIREMENTS):
        return INTERPRETER
    python = find_python()
    if python is None:
        raise NoInterpreterError(f"the original needs Python {' or '.join(VERSIONS)}")
    try:
        call(python, "-m", "venv", "--clear", str(ENVIRONMENT))
        call(str(INTERPRETER), "-m", "pip", "install", "--quiet", *REQUIREMENTS)
    except subprocess.CalledProcessError as error:
        raise NotInstalledError(f"the original cannot be installed:\n{error.stdout}") from error
    except subprocess.TimeoutExpired as error:
        raise NotInstalledError(
            f"the original is not installed within {error.timeout} seconds"
        ) from error
    stamp.write_text(" ".join(REQUIREMENTS))
    return INTERPRETER


def describe_environment() -> str:
    """Return the versions of what is in the environment, which must have been made."""
    program = (
        "import platform, pkg_resources as installed; print(platform.python_implementation(), "
        "platform.python_version() + ':', ', '.join(name + ' ' + "
        "installed.get_distribution(name).version for name in ('dwebsocket', 'Django', 'gevent')))"
    )
    return call(str(INTERPRETER), "-W", "ignore", "-c", program).strip()


def call(*command: str) -> str:
    return subprocess.run(
        command,
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    ).stdout


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
