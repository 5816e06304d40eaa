"""Components that a test needs and a machine may not have: a browser, a package, an interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from typing import NoReturn


CHECKOUT = Path(__file__).parent.parent
SECONDS_FOR_PIP = 300


def build_wheel(directory: Path) -> Path:
    """Build the package as it is published, into a directory; skip where pip cannot."""
    arguments = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-cache-dir", "--wheel-dir"]
    result = subprocess.run(
        [sys.executable, *arguments, str(directory), str(CHECKOUT)],
        cwd=directory,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS_FOR_PIP,
        check=False,
    )
    if result.returncode:
        skip_or_fail(f"pip builds no wheel here: {result.stdout.strip()[-300:]}")
    (wheel,) = directory.glob("*.whl")
    return wheel


def skip_or_fail(reason: str, *, allow_module_level: bool = False) -> NoReturn:
    """Skip the test, because this machine lacks something; in CI, where nothing may, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=allow_module_level)
