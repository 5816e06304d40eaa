"""The test cases of docs/testing.md, with what the page takes for granted."""

from __future__ import annotations

from typing import Any

from django.test import SimpleTestCase, override_settings
from django.urls import path

from adwebsocket.testing import WebSocketLiveServerTestCase
from tests.documentation.pages import DOCS
from tests.test_documentation import run_blocks

from .models import Note

page: dict[str, Any] = run_blocks(DOCS / "testing.md")
page["Note"] = Note

urlpatterns = [path("ws/notes/", page["notes"])]

for name, value in page.items():
    # A browser of one's own is a matter of browser_tests, and what is imported of its maker's.
    if (
        isinstance(value, type)
        and issubclass(value, SimpleTestCase)
        and not issubclass(value, WebSocketLiveServerTestCase)
        and value.__module__ == page["__name__"]
    ):
        globals()[name] = override_settings(ROOT_URLCONF=__name__)(value)
