"""Components that a test needs and a machine may not have: a browser, a package, an interpreter."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from typing import NoReturn


def skip_or_fail(reason: str, *, allow_module_level: bool = False) -> NoReturn:
    """Skip the test, because this machine lacks something; in CI, where nothing may, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=allow_module_level)
