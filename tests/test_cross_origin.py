"""Which pages may open a socket, asked of a real browser, which writes the Origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browsers import start_browser
from tests.processes import DEADLINE, ServerProcess, serve, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium import webdriver

pytestmark = pytest.mark.browser

URLS = """\
from django.http import HttpResponse
from django.urls import path

from adwebsocket import require_websocket


def page(request):
    response = HttpResponse("<title>page</title>")
    response.set_cookie("known", "yes", samesite="Lax")
    return response


def say_who(request):
    request.websocket.send(f"cookie {request.COOKIES.get('known')}")


urlpatterns = [
    path("", page),
    path("sync/", require_websocket(say_who)),
    path("friendly/", require_websocket(origins=["*"])(say_who)),
]
"""

# Gives what came: the first message, or how the socket was closed.
OPEN = """
const done = arguments[arguments.length - 1];
const socket = new WebSocket(arguments[0]);
socket.onmessage = (event) => done(event.data);
socket.onclose = (event) => done(`closed ${event.code}`);
"""
# The same from a frame without an origin of its own.
OPEN_IN_SANDBOX = """
const done = arguments[arguments.length - 1];
addEventListener("message", (event) => done(event.data), {once: true});
const frame = document.createElement("iframe");
frame.sandbox = "allow-scripts";
frame.srcdoc = `<script>
    const socket = new WebSocket("${arguments[0]}");
    socket.onmessage = (event) => parent.postMessage(event.data, "*");
    socket.onclose = (event) => parent.postMessage("closed " + event.code, "*");
</script>`;
document.body.append(frame);
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    browser = start_browser()
    try:
        browser.set_script_timeout(DEADLINE)
        yield browser
    finally:
        browser.quit()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    project = write_project(tmp_path_factory.mktemp("project"), {"mysite/urls.py": URLS})
    command = ["-m", "adwebsocket", "--settings", "mysite.settings", "--port", "{port}"]
    with serve(command, cwd=project) as server:
        yield server


def test_page_of_the_same_origin_opens_a_socket(
    browser: webdriver.Chrome, server: ServerProcess
) -> None:
    browser.get(server.url("http"))
    assert ask(browser, server.url("ws", "/sync/")) == "cookie yes"


def test_page_of_another_origin_is_refused_and_the_log_says_why(
    browser: webdriver.Chrome, server: ServerProcess
) -> None:
    # To a browser the name is another origin than the address, and the site is the same.
    browser.get(f"http://localhost:{server.port}/")
    assert ask(browser, server.url("ws", "/sync/")) == "closed 1006"
    assert f"The origin 'http://localhost:{server.port}' may not" in server.output()
    assert ask(browser, server.url("ws", "/friendly/")).startswith("cookie")


def test_page_in_a_sandbox_has_no_origin_and_is_refused(
    browser: webdriver.Chrome, server: ServerProcess
) -> None:
    browser.get(server.url("http"))
    assert ask(browser, server.url("ws", "/sync/"), OPEN_IN_SANDBOX) == "closed 1006"
    assert "The origin 'null' may not" in server.output()


def test_page_under_an_allowed_name_with_another_case_opens_a_socket(
    browser: webdriver.Chrome, server: ServerProcess
) -> None:
    browser.get(f"http://LocalHost:{server.port}/")
    assert ask(browser, f"ws://LOCALHOST:{server.port}/sync/") == "cookie yes"


def ask(browser: webdriver.Chrome, address: str, script: str = OPEN) -> str:
    """Let the page that the browser shows open a socket, and return what comes of it."""
    answer: Any = browser.execute_async_script(script, address)
    return str(answer)
