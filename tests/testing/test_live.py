"""The live server with a real browser, and a database in memory."""

from __future__ import annotations

import shutil

import pytest

from tests.components import skip_or_fail

from .running import run_project_tests


@pytest.mark.browser
def test_browser_talks_to_views_of_the_test_and_the_server_ends_with_it() -> None:
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        skip_or_fail(f"not installed here: {' and '.join(missing)}")
    assert "Found 3 test(s)" in run_project_tests("browser_tests")
