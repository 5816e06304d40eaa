"""Debian's Chromium, driven by Selenium: a client whose WebSocket is nobody's library."""

from __future__ import annotations

import os
import shutil

from selenium import webdriver

from tests.components import skip_or_fail


def start_browser() -> webdriver.Chrome:
    """Start a browser with a profile of its own, or skip the test where there is none."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        skip_or_fail(f"not installed here: {' and '.join(missing)}")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    options.add_argument("--headless=new")
    # Containers often have a tiny /dev/shm.
    options.add_argument("--disable-dev-shm-usage")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
