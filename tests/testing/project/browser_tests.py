"""A live server and a browser, as in a user's project; ``tests/testing/test_live.py`` runs it."""

# ruff: noqa: PT009 (as under Django's test runner, where assertEqual shows what differs)

from __future__ import annotations

from typing import TYPE_CHECKING

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from websockets.sync.client import connect

from adwebsocket.testing import WebSocketLiveServerTestCase
from tests.processes import DEADLINE
from tests.test_browser import start_browser

from .models import Note

if TYPE_CHECKING:
    from selenium import webdriver


class InBrowser(WebSocketLiveServerTestCase):
    browser: webdriver.Chrome

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.browser = start_browser()
        cls.addClassCleanup(cls.browser.quit)

    def converse(self, path: str) -> None:
        """Let the page say something to a view, and wait until it shows the answer."""
        Note.objects.create(text="from the test")
        self.browser.get(f"{self.live_server_url}/static/project/page.html?{path}")
        output = self.browser.find_element(By.TAG_NAME, "output")
        WebDriverWait(self.browser, DEADLINE, poll_frequency=0.05).until(lambda _: output.text)
        self.assertEqual(output.text, '["from the page","from the test"]')
        self.assertEqual(Note.objects.count(), 2)

    def test_sync_view(self) -> None:
        self.converse("/sync/")

    def test_async_view_whose_page_stays_open_at_the_end(self) -> None:
        self.converse("/async/")


class WithViewThatHangs(WebSocketLiveServerTestCase):
    """Its end must not wait for the view: the process that runs it has a deadline."""

    def test_server_ends_while_a_view_hangs(self) -> None:
        with connect(f"{self.live_server_ws_url}/hanging/", proxy=None) as client:
            client.recv(10)
