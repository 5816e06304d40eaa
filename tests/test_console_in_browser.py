"""The console page in a real browser, on ``manage.py runserver``: what a developer does with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.browsers import start_browser
from tests.processes import ServerProcess, serve, wait_until, write_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from selenium import webdriver

pytestmark = pytest.mark.browser

URLS = """\
import functools

from django.http import HttpResponseForbidden, HttpResponseRedirect
from django.urls import path, re_path

from adwebsocket import require_websocket


@require_websocket(subprotocols=["echo.v2", "echo.v1"])
def echo(request, rest=""):
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket
async def leave(request):
    await request.websocket.send("<img src=x onerror='window.hacked = 1'>")
    await request.websocket.close(4001, "enough <b>said</b>")


@require_websocket
def fail(request):
    raise RuntimeError("on purpose")


@require_websocket(accept="manual")
def forbid(request):
    return HttpResponseForbidden("no entry for <strangers>", content_type="text/plain")


def login_for_sockets(view):
    @functools.wraps(view)
    def ask(request):
        return HttpResponseRedirect("/login/") if request.websocket else view(request)

    return ask


@require_websocket
async def many(request):
    for number in range(1100):
        await request.websocket.send(str(number))
    await request.websocket.wait()


urlpatterns = [
    path("echo/", echo),
    path("strict/", echo),
    path("leave/", leave),
    path("fail/", fail),
    path("forbid/", forbid),
    path("many/", many),
    path("private/", login_for_sockets(echo)),
    re_path("^any/(.*)$", echo),
]
"""

MIDDLEWARE = """\
MIDDLEWARE = ["adwebsocket.middleware.WebSocketMiddleware", "mysite.middleware.Strict"]
"""
STRICT = """\
from django.utils.deprecation import MiddlewareMixin


class Strict(MiddlewareMixin):
    def process_request(self, request):
        request.csp_nonce = "bm9uY2U"

    def process_response(self, request, response):
        if request.path == "/strict/":
            response["Content-Security-Policy"] = (
                "default-src 'none'; connect-src 'self'; img-src data:; "
                "script-src 'nonce-bm9uY2U'; style-src 'nonce-bm9uY2U'"
            )
        return response
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = write_project(
        tmp_path_factory.mktemp("console"),
        {"mysite/urls.py": URLS, "mysite/middleware.py": STRICT},
        settings=MIDDLEWARE,
    )
    with serve(["manage.py", "runserver", "{port}", "--noreload"], cwd=directory) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    browser = start_browser()
    yield browser
    browser.quit()


class Console:
    """The page, as its user sees it."""

    def __init__(self, browser: webdriver.Chrome, server: ServerProcess) -> None:
        self.browser = browser
        self.server = server

    def open(self, path: str) -> None:
        # What the page before it has said is none of this one's.
        self.browser.get_log("browser")
        self.browser.get(self.server.url("http", path))

    def press(self, *keys: str) -> None:
        """Press keys together, wherever the focus is."""
        actions = ActionChains(self.browser)
        for key in keys[:-1]:
            actions.key_down(key)
        actions.send_keys(keys[-1])
        for key in keys[:-1]:
            actions.key_up(key)
        actions.perform()

    def fill(self, name: str, text: str) -> None:
        field = self.browser.find_element(By.ID, name)
        field.clear()
        field.send_keys(text)

    def click(self, name: str) -> None:
        self.browser.find_element(By.ID, name).click()

    def connect(self) -> None:
        self.click("open")
        self.wait_for_state("open")

    def send(self, kind: str, text: str) -> None:
        Select(self.browser.find_element(By.ID, "kind")).select_by_value(kind)
        self.fill("message", text)
        self.click("submit")

    def rows(self, direction: str) -> list[list[str]]:
        """Return what the log has in this direction, without the time: the texts of the cells."""
        script = """
            const rows = document.querySelectorAll(`#log tr[data-direction=${arguments[0]}]`);
            return [...rows].map((row) => [...row.cells].slice(1).map((cell) => cell.textContent));
        """
        rows: list[list[str]] = self.browser.execute_script(script, direction)
        return rows

    def wait_for_rows(self, direction: str, count: int) -> list[list[str]]:
        self.wait(lambda: len(self.rows(direction)) >= count, f"{count} rows {direction}")
        return self.rows(direction)

    def wait_for_state(self, state: str) -> None:
        self.wait(lambda: self.ask("document.body.dataset.state") == state, f"the state {state}")

    def notice(self) -> str:
        """Wait for a notice, and return it."""
        return self.wait(lambda: self.ask("document.getElementById('notice').textContent"), "it")

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        return wait_until(condition, what)

    def ask(self, expression: str) -> Any:
        return self.browser.execute_script(f"return {expression}")

    def complaints(self) -> list[str]:
        """Return what the browser has to say but for the page's own status."""
        messages = [entry["message"] for entry in self.browser.get_log("browser")]
        return [message for message in messages if "status of 400" not in message]


@pytest.fixture
def console(browser: webdriver.Chrome, server: ServerProcess) -> Iterator[Console]:
    yield Console(browser, server)
    browser.get("about:blank")


def test_text_json_and_binary_are_sent_and_shown_with_size_and_time(console: Console) -> None:
    console.open("/echo/")
    console.connect()
    console.send("text", "grüße")
    console.send("json", '{"a": [1, 2.50]}')
    console.send("binary", "00 ff 0x1A")
    received = console.wait_for_rows("received", 3)
    sent = console.rows("sent")
    assert [[row[0], row[1], row[3]] for row in sent] == [
        ["↑ text", "7", "grüße"],
        ["↑ text", "16", '{"a": [1, 2.50]}'],
        ["↑ binary", "3", "00 ff 1a"],
    ]
    assert [[row[0][1:], *row[1:2], row[3]] for row in received] == [
        [row[0][1:], *row[1:2], row[3]] for row in sent
    ]
    assert all(row[2].endswith(" ms") for row in received)
    totals = "sent 3 (26 bytes), received 3 (26 bytes)"
    console.wait(lambda: console.ask("document.getElementById('totals').textContent") == totals, "")
    assert console.complaints() == []


def test_what_cannot_be_sent_is_said_and_not_sent(console: Console) -> None:
    console.open("/echo/")
    console.connect()
    console.send("json", "{'a': 1}")
    assert console.notice().startswith("Not sent: ")
    console.send("binary", "0g")
    assert "expected pairs of hexadecimal digits" in console.notice()
    assert console.rows("sent") == []


def test_first_subprotocol_of_the_view_is_chosen_and_shown(console: Console) -> None:
    console.open("/echo/")
    console.connect()
    assert console.browser.find_element(By.ID, "state").text == "open, subprotocol echo.v2"
    console.open("/echo/")
    console.fill("subprotocols", "echo.v1")
    console.connect()
    assert console.browser.find_element(By.ID, "state").text == "open, subprotocol echo.v1"


def test_closing_with_a_code_gives_it_back_and_lets_connect_again(console: Console) -> None:
    console.open("/echo/")
    console.connect()
    console.fill("code", "1234")
    console.click("shut")
    assert console.notice().startswith("Not closed: ")
    console.fill("code", "4000")
    console.fill("reason", "for a test")
    console.click("shut")
    console.wait_for_state("closed")
    whats = [row[0] for row in console.rows("own")]
    assert whats == ["connecting", "open", "closing", "closed 4000"]
    console.connect()


def test_end_by_the_view_is_explained_and_what_it_says_is_text(console: Console) -> None:
    console.open("/leave/")
    console.click("open")
    console.wait(lambda: len(console.rows("own")) == 3, "the end")
    (received,) = console.rows("received")
    assert received[3] == "<img src=x onerror='window.hacked = 1'>"
    last = console.rows("own")[-1]
    assert [last[0], last[3]] == ["closed 4001", "a code of the application: enough <b>said</b>"]
    assert console.ask("document.querySelectorAll('img, b').length") == 0
    assert console.ask("window.hacked") is None


def test_exception_in_the_view_is_explained(console: Console) -> None:
    console.open("/fail/")
    console.click("open")
    console.wait(lambda: len(console.rows("own")) == 3, "the end")
    last = console.rows("own")[-1]
    assert last[0] == "closed 1011"
    assert "the view raised an exception" in last[3]


def test_refusal_of_the_view_is_shown_though_the_browser_hides_it(console: Console) -> None:
    console.open("/forbid/?a=<1>")
    console.click("open")
    assert console.notice() == (
        "The server refused the handshake with 403 Forbidden.\nno entry for <strangers>"
    )
    assert console.rows("fault")[0][0] == "closed 1006"
    # An attempt that goes well takes it away.
    console.fill("address", console.server.url("ws", "/echo/"))
    console.connect()
    assert not console.browser.find_element(By.ID, "notice").is_displayed()


def test_redirect_of_the_handshake_is_shown_with_where_to(console: Console) -> None:
    console.open("/any/private/")
    console.fill("address", console.server.url("ws", "/private/"))
    console.click("open")
    assert console.notice() == (
        "The server refused the handshake with 302 Found.\nLocation: /login/"
    )


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/nowhere/", "A plain request to this address is answered with 404 Not Found"),
        ("ftp://127.0.0.1/", "Failed to construct 'WebSocket'"),
    ],
)
def test_other_address_that_fails_is_explained(console: Console, path: str, sentence: str) -> None:
    console.open("/echo/")
    console.fill("address", path if "://" in path else console.server.url("ws", path))
    console.click("open")
    assert console.notice().startswith(sentence)


def test_server_that_is_gone_is_named(console: Console, tmp_path: Path) -> None:
    directory = write_project(tmp_path, {"mysite/urls.py": URLS})
    with serve(["manage.py", "runserver", "{port}", "--noreload"], cwd=directory) as server:
        other = Console(console.browser, server)
        other.open("/echo/")
    other.click("open")
    assert other.notice() == "The server does not answer at all. Does it still run?"


def test_keyboard_is_enough(console: Console) -> None:
    console.open("/echo/")
    console.press(Keys.ENTER)
    console.wait_for_state("open")
    console.wait(lambda: console.ask("document.activeElement.id") == "message", "the focus")
    console.press("hello")
    console.press(Keys.CONTROL, Keys.ENTER)
    console.wait_for_rows("received", 1)
    # The text is selected, so that the next one takes its place.
    console.press("again")
    console.press(Keys.CONTROL, Keys.ENTER)
    assert console.wait_for_rows("received", 2)[1][3] == "again"
    for expected in ("submit", "clear"):
        console.press(Keys.TAB)
        assert console.ask("document.activeElement.id") == expected
    console.press(Keys.ENTER)
    assert console.rows("received") == []


def test_log_keeps_the_latest_thousand_rows(console: Console) -> None:
    console.open("/many/")
    console.connect()
    console.wait(
        lambda: console.rows("received")[-1:] and console.rows("received")[-1][3] == "1099", "all"
    )
    assert console.ask("document.getElementById('log').childElementCount") == 1000


@pytest.mark.parametrize(
    "part",
    [
        "<script>window.hacked=1</script>",
        '"><img src=x onerror=window.hacked=1>',
        "</title></code><svg onload=window.hacked=1>",
        "{{ nonce }}${window.hacked=1}",
    ],
)
@pytest.mark.parametrize("where", ["any/", "any/?"])
def test_path_and_query_are_never_code(console: Console, where: str, part: str) -> None:
    console.open("/")
    # As a link on a page of somebody else would lead here.
    console.browser.execute_script(f"location.href = {json.dumps(f'/{where}{part}')}")
    console.wait(lambda: console.ask("document.body && document.body.dataset.state"), "the page")
    console.connect()
    assert console.ask("window.hacked") is None
    assert console.ask("document.querySelectorAll('img, svg').length") == 0
    assert console.ask("document.querySelectorAll('script').length") == 1


def test_page_loads_nothing_but_itself(console: Console) -> None:
    console.open("/echo/")
    console.connect()
    assert console.ask("performance.getEntriesByType('resource').map((entry) => entry.name)") == []


def test_page_works_under_a_policy_that_wants_a_nonce(console: Console) -> None:
    console.open("/strict/")
    console.connect()
    console.send("text", "hello")
    console.wait_for_rows("received", 1)
    assert console.complaints() == []


def test_colours_follow_the_system(console: Console) -> None:
    console.open("/echo/")
    colours = {}
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        console.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        colours[scheme] = console.ask("getComputedStyle(document.body).backgroundColor")
    console.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert colours == {"light": "rgb(255, 255, 255)", "dark": "rgb(23, 25, 28)"}


def test_server_without_websockets_is_named(console: Console, tmp_path: Path) -> None:
    """Django's own server, on which not even the app is installed."""
    directory = write_project(
        tmp_path, {"mysite/urls.py": URLS}, settings="INSTALLED_APPS = []\nTEMPLATES = []"
    )
    with serve(["manage.py", "runserver", "{port}", "--noreload"], cwd=directory) as server:
        other = Console(console.browser, server)
        other.open("/echo/")
        notice = other.browser.find_element(By.ID, "wsgi").text
        assert notice.startswith("This page came from a WSGI server, which cannot speak WebSocket.")
        other.click("open")
        sentence = "Plain requests reach the view, but no handshake does."
        assert other.notice().startswith(sentence)
