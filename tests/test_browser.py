"""examples/chat in a real browser: two people, two sessions, one server in a process of its own.

What the chat promises is asked of Debian's Chromium, whose WebSocket is nobody's client library:
messages both ways, a connection that comes back, history after a reload.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.browsers import start_browser
from tests.cables import Cable
from tests.processes import DEADLINE, ServerProcess, run, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from selenium import webdriver

    ServeChat = Callable[[], AbstractContextManager[ServerProcess]]
    SitDown = Callable[[ServerProcess, str], "Person"]

pytestmark = pytest.mark.browser

CHAT = Path(__file__).parent.parent / "examples" / "chat"

PASSWORD = "a good password"


class Person:
    """Somebody in front of a browser, as the tests see them: what they do, what they read."""

    def __init__(self, browser: webdriver.Chrome, cable: Cable, name: str) -> None:
        self.browser = browser
        self.cable = cable
        self.name = name

    def open(self, path: str) -> None:
        self.browser.get(self.cable.url("http", path))

    def sign_up(self, path: str) -> None:
        """Make an account, on the way to a page that wants one."""
        self.open(path)
        self.browser.find_element(By.CSS_SELECTOR, ".other a").click()
        self.type("[name=password1]", PASSWORD)
        self.type("[name=password2]", PASSWORD)
        self.type("[name=username]", self.name + Keys.ENTER)
        self.wait(lambda: self.browser.current_url.endswith(path), path)

    def type(self, selector: str, text: str) -> None:
        self.browser.find_element(By.CSS_SELECTOR, selector).send_keys(text)

    def say(self, text: str) -> None:
        self.wait_for_status("open")
        self.type("#say textarea", text + Keys.ENTER)

    def read(self, selector: str) -> list[str]:
        """Return the texts of all such elements, in one step: the page may change between two."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        texts: list[str] = self.browser.execute_script(script, selector)
        return texts

    def wait_for_messages(self, *expected: tuple[str, str]) -> None:
        """Wait until the room shows exactly these messages: pairs of author and text."""
        flat = [part for message in expected for part in message]
        self.wait(lambda: self.read(".message .author, .message .text") == flat, str(expected))

    def wait_for_status(self, status: str) -> None:
        self.wait(
            lambda: self.browser.find_elements(By.CSS_SELECTOR, f"[data-status={status}]"),
            f"the status {status!r}",
        )

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        WebDriverWait(self.browser, DEADLINE, poll_frequency=0.05).until(
            lambda _: condition(), f"{self.name} waited in vain for {what}"
        )


@pytest.fixture(scope="module")
def browsers() -> Iterator[list[webdriver.Chrome]]:
    """Two browsers, each with a profile of its own."""
    with contextlib.ExitStack() as stack:
        browsers = []
        for _ in range(2):
            browsers.append(start_browser())
            stack.callback(browsers[-1].quit)
        yield browsers


@pytest.fixture
def chat(tmp_path: Path) -> ServeChat:
    """A new database, and a function that serves the chat with it."""
    env = {"CHAT_DATABASE": str(tmp_path / "chat.sqlite3")}
    migration = run(["manage.py", "migrate", "--verbosity", "0"], cwd=CHAT, env=env)
    assert migration.returncode == 0, migration.stdout
    command = ["-m", "adwebsocket", "chatsite.asgi:application", "--port", "{port}"]
    return lambda: serve(command, cwd=CHAT, env=env)


@pytest.fixture
def sit_down(browsers: list[webdriver.Chrome]) -> Iterator[SitDown]:
    """A function that gives a new person a browser, with a cable to a server."""
    free = list(browsers)
    with contextlib.ExitStack() as stack:

        def sit_down(server: ServerProcess, name: str) -> Person:
            browser = free.pop()
            browser.delete_all_cookies()
            # What the person leaves open must not go on connecting during the next test.
            stack.callback(browser.get, "about:blank")
            cable = Cable(server.port)
            stack.callback(cable.server_close)
            return Person(browser, cable, name)

        yield sit_down


def test_two_people_talk_and_a_reload_shows_what_was_said(
    chat: ServeChat, sit_down: SitDown
) -> None:
    with chat() as server:
        ada, bob = sit_down(server, "ada"), sit_down(server, "bob")
        ada.sign_up("/room/lobby/")
        bob.sign_up("/room/lobby/")
        bob.wait_for_status("open")
        ada.say("Hello Bob")
        bob.wait_for_messages(("ada", "Hello Bob"))
        bob.say("Hello Ada")
        for person in (ada, bob):
            person.wait_for_messages(("ada", "Hello Bob"), ("bob", "Hello Ada"))
            person.wait(lambda person=person: person.read("#people li") == ["ada", "bob"], "both")
        ada.browser.refresh()
        ada.wait_for_messages(("ada", "Hello Bob"), ("bob", "Hello Ada"))


def test_what_people_write_is_shown_as_text(chat: ServeChat, sit_down: SitDown) -> None:
    hostile = "<img src=x onerror=alert(1)> & <b>bold</b>"
    with chat() as server:
        ada = sit_down(server, "ada")
        ada.sign_up("/room/lobby/")
        ada.say(hostile)
        ada.wait_for_messages(("ada", hostile))
        assert ada.read(".message img, .message .text b") == []


def test_a_page_that_lost_its_connection_gets_what_it_missed(
    chat: ServeChat, sit_down: SitDown
) -> None:
    with chat() as server:
        ada, bob = sit_down(server, "ada"), sit_down(server, "bob")
        ada.sign_up("/room/lobby/")
        bob.sign_up("/room/lobby/")
        ada.say("one")
        bob.wait_for_messages(("ada", "one"))
        bob.cable.pull()
        bob.wait_for_status("closed")
        ada.say("two")
        ada.wait_for_messages(("ada", "one"), ("ada", "two"))
        bob.cable.plug(server.port)
        bob.wait_for_messages(("ada", "one"), ("ada", "two"))
        ada.say("three")
        bob.wait_for_messages(("ada", "one"), ("ada", "two"), ("ada", "three"))
        bob.say("four")
        ada.wait_for_messages(("ada", "one"), ("ada", "two"), ("ada", "three"), ("bob", "four"))


def test_pages_survive_a_restart_of_the_server(chat: ServeChat, sit_down: SitDown) -> None:
    with chat() as server:
        ada, bob = sit_down(server, "ada"), sit_down(server, "bob")
        ada.sign_up("/room/lobby/")
        bob.sign_up("/room/lobby/")
        ada.say("before")
        bob.wait_for_messages(("ada", "before"))
        server.stop()
        for person in (ada, bob):
            person.wait_for_status("closed")
    with chat() as server:
        for person in (ada, bob):
            person.cable.plug(server.port)
            person.wait_for_status("open")
        bob.say("after")
        for person in (ada, bob):
            person.wait_for_messages(("ada", "before"), ("bob", "after"))


def test_the_back_button_leads_to_a_room_that_is_up_to_date(
    chat: ServeChat, sit_down: SitDown
) -> None:
    with chat() as server:
        ada, bob = sit_down(server, "ada"), sit_down(server, "bob")
        ada.sign_up("/room/lobby/")
        bob.sign_up("/room/lobby/")
        bob.wait_for_status("open")
        bob.open("/")
        ada.wait(lambda: ada.read(".online") == ["1 online"], "bob to leave")
        ada.say("Where are you?")
        ada.wait_for_messages(("ada", "Where are you?"))
        bob.browser.back()
        bob.wait_for_messages(("ada", "Where are you?"))
        bob.say("Here")
        ada.wait_for_messages(("ada", "Where are you?"), ("bob", "Here"))


def test_a_page_whose_session_has_ended_leads_to_the_log_in(
    chat: ServeChat, sit_down: SitDown
) -> None:
    with chat() as server:
        ada = sit_down(server, "ada")
        ada.sign_up("/room/lobby/")
        ada.wait_for_status("open")
        ada.browser.delete_all_cookies()
        ada.cable.pull()
        ada.cable.plug(server.port)
        ada.wait(lambda: "/accounts/login/" in ada.browser.current_url, "the log-in page")


def test_the_ticker_counts_people_for_a_stranger_too(chat: ServeChat, sit_down: SitDown) -> None:
    with chat() as server:
        ada, stranger = sit_down(server, "ada"), sit_down(server, "stranger")
        stranger.open("/")
        stranger.wait(lambda: stranger.read(".online") == ["0 online"], "an empty house")
        ada.sign_up("/room/lobby/")
        stranger.wait(lambda: stranger.read(".online") == ["1 online"], "ada")
        first = stranger.read("#ticker time")
        stranger.wait(lambda: stranger.read("#ticker time") != first, "the clock")
        ada.open("/")
        stranger.wait(lambda: stranger.read(".online") == ["0 online"], "ada's leave")


def test_one_address_answers_over_http_and_through_a_socket(
    chat: ServeChat, sit_down: SitDown
) -> None:
    with chat() as server:
        ada = sit_down(server, "ada")
        ada.open("/")
        ada.wait_for_status("open")
        ada.type("#lower-case input", "SHOUTED")
        ada.wait(lambda: ada.read("#lower-case dd") == ["shouted", "shouted"], "both answers")
