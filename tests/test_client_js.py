"""The JavaScript client in a real browser, with a server that goes away and a network that fails.

A page of the project below has the module and a notebook of what happened to it; tests drive the
page, pull the cable between it and the server, and read the notebook.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

import adwebsocket
from tests.browsers import start_browser
from tests.cables import Cable
from tests.documentation.pages import DOCS, blocks
from tests.groups.redis_servers import Servers
from tests.processes import ServerProcess, run, serve, wait_until, write_project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium import webdriver

pytestmark = pytest.mark.browser

MODULE = Path(adwebsocket.__file__).parent / "static/adwebsocket/client.js"
MOST_BYTES = 3000

URLS = """\
import json

from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.http import HttpResponse
from django.template import engines
from django.urls import path

from adwebsocket import groups, require_websocket
from mysite import documented


@require_websocket
async def rooms(request):
    websocket = request.websocket
    for room in request.GET.getlist("room"):
        since = 0 if "all" in request.GET else request.GET.get(f"since.{room}")
        await websocket.join(room, since=since, positions=True)
    async for message in websocket:
        await websocket.send(message)


@require_websocket
async def leave(request, code):
    await request.websocket.close(code, "enough")


@require_websocket(subprotocols=["v2"])
async def speak(request):
    await request.websocket.send(request.websocket.subprotocol or "")
    for text in request.GET.getlist("text"):
        await request.websocket.send(text)
    await request.websocket.send(b"\\0\\xff")
    await request.websocket.wait()


def publish(request, room, first, last):
    for number in range(first, last):
        groups.send(room, number)
    return HttpResponse("published")


def say(request, room):
    for message in json.loads(request.GET["messages"]):
        groups.send(room, message)
    groups.send(room, b"\\0\\xff")
    return HttpResponse("said")


def set_price(request, price):
    documented.set_price("tea", price)
    return HttpResponse("set")


def page(request, name):
    template = engines["django"].from_string((documented.FOLDER / name).read_text())
    return HttpResponse(template.render())


urlpatterns = [
    path("rooms/", rooms),
    path("leave/<int:code>/", leave),
    path("speak/", speak),
    path("publish/<room>/<int:first>/<int:last>/", publish),
    path("say/<room>/", say),
    path("page/<name>", page),
    path("ws/prices/", documented.ticker),
    path("prices/", documented.all_prices),
    path("price/<price>/", set_price),
    *staticfiles_urlpatterns(),
]
"""

SETTINGS = """\
WEBSOCKET_RUNTIME_DIR = os.environ.get("RUNTIME_DIR")
WEBSOCKET_GROUPS = {
    "BACKEND": os.environ.get("GROUPS_BACKEND", "memory"),
    "LOCATION": os.environ.get("GROUPS_LOCATION"),
    "GROUPS": {
        "kept.*": {"history": 10_000},
        "short.*": {"history": 1},
        "prices": {"history": 100},
    },
}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
"""

NOTEBOOK = """\
{% load static %}
<title>Notebook</title>
<script>
  const notes = { messages: [], opened: 0, closed: [], joined: [], gaps: [] };
  const timers = new Set();
  const sockets = [];
  const [start, stop] = [setTimeout, clearTimeout];
  setTimeout = (call, delay) => {
    const timer = start(() => { timers.delete(timer); call(); }, delay);
    timers.add(timer);
    return timer;
  };
  clearTimeout = (timer) => { timers.delete(timer); stop(timer); };
  WebSocket = class extends WebSocket {
    constructor(...all) { super(...all); sockets.push(this); }
  };
  const note = (message, group) => notes.messages.push(
    [group ?? null, typeof message === "string" ? message : [...message]]);
  function open(address, options = {}) {
    window.connection = client.connect(address, {
      base: 50, cap: 200, onmessage: note,
      onopen: () => notes.opened++,
      onclose: (event, delay) => notes.closed.push([event.code, delay]),
      onjoin: (group) => notes.joined.push(group),
      ongap: (group) => notes.gaps.push(group),
      ...options,
    });
  }
</script>
<script type="module">
  window.client = await import("{% static 'adwebsocket/client.js' %}");
  document.title = "Ready";
</script>
"""


TASK = """\
import signal
import time

import django

django.setup()

from adwebsocket import groups

is_over = False


def end(*_):
    global is_over
    is_over = True


signal.signal(signal.SIGTERM, end)
number = 0
while not is_over:
    groups.send("kept.task", number)
    print(number, flush=True)
    number += 1
    time.sleep(0.02)
"""


class Page:
    """A page of the project in a browser, and the cable between it and the server."""

    def __init__(self, browser: webdriver.Chrome, cable: Cable) -> None:
        self.browser = browser
        self.cable = cable
        browser.get(cable.url("http", "/page/notebook.html"))
        wait_until(lambda: browser.title == "Ready", "the module")

    def run(self, script: str, *arguments: Any) -> Any:
        """Run statements in the page, and give what they return."""
        return self.browser.execute_script(script, *arguments)

    def open(self, address: str, options: str = "{}") -> None:
        """Connect; the options are JavaScript."""
        self.run(f"open(arguments[0], {options})", address)

    def note(self, name: str) -> Any:
        """Read what the page has noted."""
        return self.run("return notes[arguments[0]]", name)

    def wait_for(self, name: str, value: Any) -> None:
        """Wait until the page has noted exactly this."""
        try:
            wait_until(lambda: self.note(name) == value, name)
        except AssertionError as error:
            error.add_note(f"{name}: {self.note(name)}, not {value}")
            raise

    def wait_for_last(self, number: int) -> None:
        """Wait until this number has come, or a later one."""
        script = "return Number(notes.messages.at(-1)?.[1] ?? -1)"
        wait_until(lambda: self.run(script) >= number, f"the message {number}")

    def wait_open(self) -> None:
        """Wait until the connection stands that was opened last."""
        wait_until(lambda: self.run("return sockets.at(-1).readyState === 1"), "an open socket")

    def wait_closed(self) -> None:
        """Wait until no connection stands."""
        wait_until(lambda: self.run("return sockets.at(-1).readyState === 3"), "a closed socket")

    def numbers(self) -> list[int]:
        """Read the numbers that have come, in their order."""
        return [int(text) for _, text in self.note("messages")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a project with the views above, and what the page of the documentation shows."""
    _, view, _ = blocks(DOCS / "javascript.md", "python")
    (example,) = blocks(DOCS / "javascript.md", "html")
    given = "from pathlib import Path\nfrom adwebsocket import require_websocket\n"
    directory = tmp_path_factory.mktemp("client")
    files = {
        "mysite/urls.py": URLS,
        "mysite/documented.py": f"{given}FOLDER = Path(__file__).parent\n{view}",
        "mysite/documented.html": example,
        "mysite/notebook.html": NOTEBOOK,
    }
    return write_project(directory, files, settings=SETTINGS)


def serve_project(project: Path, **env: str) -> contextlib.AbstractContextManager[ServerProcess]:
    """Serve it with the runner."""
    command = ["-m", "adwebsocket", "--settings", "mysite.settings", "--port", "{port}"]
    return serve(command, cwd=project, env=env)


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[ServerProcess]:
    with serve_project(project) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    browser = start_browser()
    yield browser
    browser.quit()


@pytest.fixture
def open_page(browser: webdriver.Chrome) -> Iterator[Callable[[ServerProcess], Page]]:
    """Give what opens the page from a server."""
    with contextlib.ExitStack() as stack:
        stack.callback(browser.get, "about:blank")

        def open_page(server: ServerProcess) -> Page:
            cable = Cable(server.port)
            stack.callback(cable.server_close)
            return Page(browser, cable)

        yield open_page


@pytest.fixture
def page(server: ServerProcess, open_page: Callable[[ServerProcess], Page]) -> Page:
    return open_page(server)


class TestFile:
    def test_is_small(self) -> None:
        assert len(gzip.compress(MODULE.read_bytes(), mtime=0)) < MOST_BYTES

    def test_has_no_other_module_and_no_address(self) -> None:
        text = MODULE.read_text()
        assert "://" not in text
        assert [line for line in text.splitlines() if line.startswith("import")] == []

    def test_is_collected_under_a_name_of_its_content(self, project: Path) -> None:
        storage = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
        code = f"""if True:
            import json
            from django.conf import settings
            from mysite import settings as own
            names = {{name: getattr(own, name) for name in dir(own) if name.isupper()}}
            storages = {{"staticfiles": {{"BACKEND": "{storage}"}}}}
            settings.configure(**names, STORAGES=storages, STATIC_ROOT="collected")
            import django
            django.setup()
            from django.core.management import call_command
            from django.templatetags.static import static
            call_command("collectstatic", interactive=False, verbosity=0)
            print(static("adwebsocket/client.js"))
        """
        result = run(["-c", code], cwd=project)
        assert result.returncode == 0, result.stdout
        name = result.stdout.strip().removeprefix("/static/")
        assert name.startswith("adwebsocket/client.")
        assert (project / "collected" / name).read_bytes() == MODULE.read_bytes()


@contextlib.contextmanager
def local_history() -> Iterator[dict[str, str]]:
    """Give the environment in which servers share a history on this machine."""
    # Not one of pytest's directories, whose paths are too long for a socket.
    with tempfile.TemporaryDirectory() as directory:
        yield {"GROUPS_BACKEND": "local", "RUNTIME_DIR": directory}


@contextlib.contextmanager
def redis_history() -> Iterator[dict[str, str]]:
    """Give the environment in which servers share a history in a Redis of their own."""
    with contextlib.closing(Servers()) as servers:
        yield {"GROUPS_BACKEND": "redis", "GROUPS_LOCATION": servers.open().url}


HISTORIES_THAT_LAST = {"local": local_history, "redis": redis_history}


class Publisher:
    """Somebody who sends numbers to a group without a pause, from the view of a page.

    Attributes:
        sent: how many numbers have been sent.
    """

    def __init__(self, server: ServerProcess, group: str) -> None:
        self.sent = 0
        self._server = server
        self._group = group
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._publish)

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _publish(self) -> None:
        while not self._is_over.is_set():
            path = f"/publish/{self._group}/{self.sent}/{self.sent + 3}/"
            assert self._server.get(path).text == "published"
            self.sent += 3


def publish(server: ServerProcess, group: str, first: int, last: int) -> None:
    assert server.get(f"/publish/{group}/{first}/{last}/").text == "published"


class TestConnectionsThatAreCut:
    def test_lose_nothing_and_bring_nothing_twice(self, server: ServerProcess, page: Page) -> None:
        page.open("/rooms/?room=kept.cut", "{timeout: 200}")
        page.wait_for("joined", ["kept.cut"])
        with Publisher(server, "kept.cut") as publisher:
            for failure in ["pull", "stall", "pull", "stall while connecting", "pull"]:
                page.wait_for_last(publisher.sent)
                if failure.startswith("stall"):
                    page.cable.stall()
                    missed = publisher.sent + 10
                    wait_until(lambda: publisher.sent > missed, "messages that go nowhere")  # noqa: B023
                page.cable.pull()
                page.wait_closed()
                if failure.endswith("connecting"):
                    tries = len(page.note("closed"))
                    page.cable.stall()
                    page.cable.far_port = server.port
                    wait_until(lambda: len(page.note("closed")) > tries + 1, "failures")  # noqa: B023
                page.cable.plug(server.port)
        page.wait_for_last(publisher.sent - 1)
        assert page.numbers() == list(range(publisher.sent))
        assert publisher.sent > 30
        assert page.note("joined") == ["kept.cut"]
        assert page.note("gaps") == []

    def test_tell_of_a_gap_behind_which_they_go_on(self, server: ServerProcess, page: Page) -> None:
        page.open("/rooms/?room=short.a&room=bare.a")
        page.wait_for("joined", ["short.a", "bare.a"])
        publish(server, "short.a", 0, 2)
        page.wait_for_last(1)
        page.cable.pull()
        page.wait_closed()
        publish(server, "short.a", 2, 4)
        page.cable.plug(server.port)
        # One history is too short, the other group has none.
        page.wait_for("gaps", ["short.a", "bare.a"])
        publish(server, "short.a", 4, 6)
        page.wait_for_last(5)
        assert page.numbers() == [0, 1, 4, 5]
        assert page.note("joined") == ["short.a", "bare.a"]

    def test_drop_what_a_view_brings_once_more(self, server: ServerProcess, page: Page) -> None:
        publish(server, "kept.all", 0, 12)
        page.open("/rooms/?room=kept.all&all=yes")
        page.wait_for_last(11)
        page.cable.pull()
        page.wait_closed()
        page.cable.plug(server.port)
        page.wait_open()
        publish(server, "kept.all", 12, 13)
        page.wait_for_last(12)
        assert page.numbers() == list(range(13))

    def test_go_on_from_positions_that_the_page_has_kept(
        self, server: ServerProcess, page: Page
    ) -> None:
        page.open("/rooms/?room=kept.reload")
        page.wait_for("joined", ["kept.reload"])
        publish(server, "kept.reload", 0, 2)
        page.wait_for_last(1)
        positions = page.run("connection.close(); return Object.fromEntries(connection.positions)")
        publish(server, "kept.reload", 2, 4)
        page.open("/rooms/?room=kept.reload", f"{{positions: {json.dumps(positions)}}}")
        page.wait_for_last(3)
        assert page.numbers() == [0, 1, 2, 3]
        nonsense = json.dumps({"kept.reload": "no-1", "short.reload": "", "other": "&=#1"})
        page.open("/rooms/?room=kept.reload", f"{{positions: {nonsense}}}")
        page.wait_for("gaps", ["kept.reload"])

    def test_come_back_at_once_when_the_system_or_the_reader_does(
        self, server: ServerProcess, page: Page
    ) -> None:
        page.run("Math.random = () => 1")
        page.open("/rooms/", "{base: 1e8, cap: 1e8}")
        for count, event in enumerate(
            ["window, 'online'", "document, 'visibilitychange'"], start=1
        ):
            page.wait_open()
            page.cable.pull()
            page.wait_for("closed", [[1006, 1e8]] * count)
            page.cable.plug(server.port)
            page.run(
                "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
                "document.dispatchEvent(new Event('visibilitychange'));"
                "delete document.hidden"
            )
            assert page.run("return sockets.length") == count
            target, name = event.split(", ")
            page.run(f"{target}.dispatchEvent(new Event({name}))")
            page.wait_open()
        assert page.run("return sockets.length") == 3
        assert page.run("return timers.size") == 0

    def test_leave_with_the_page_and_come_back_with_it(
        self, server: ServerProcess, page: Page
    ) -> None:
        page.open("/rooms/?room=kept.hidden")
        page.wait_for("joined", ["kept.hidden"])
        page.run("window.dispatchEvent(new Event('pagehide'))")
        wait_until(lambda: page.note("closed"), "the end")
        publish(server, "kept.hidden", 0, 2)
        page.wait_for_last(1)
        assert page.numbers() == [0, 1]


def task_that_publishes(
    project: Path, **env: str
) -> contextlib.AbstractContextManager[ServerProcess]:
    """Send numbers to a group from a process that serves nothing."""
    return serve(
        ["-c", TASK],
        cwd=project,
        env={**env, "DJANGO_SETTINGS_MODULE": "mysite.settings"},
        ready=lambda task: bool(task.output()),
    )


def sent_by(task: ServerProcess) -> int:
    """Tell how many numbers it has sent."""
    return task.output().count("\n")


class TestRestartOfTheServer:
    def test_is_told_as_a_gap_where_the_history_is_in_its_memory(
        self, project: Path, open_page: Callable[[ServerProcess], Page]
    ) -> None:
        with serve_project(project) as server:
            page = open_page(server)
            page.open("/rooms/?room=kept.a")
            page.wait_for("joined", ["kept.a"])
            publish(server, "kept.a", 0, 3)
            page.wait_for_last(2)
            server.stop()
        page.wait_closed()
        assert page.note("closed")[0][0] == 1012
        with serve_project(project) as server:
            publish(server, "kept.a", 3, 6)
            page.cable.plug(server.port)
            page.wait_for("gaps", ["kept.a"])
            publish(server, "kept.a", 6, 9)
            page.wait_for_last(8)
        assert page.numbers() == [0, 1, 2, 6, 7, 8]
        assert page.note("joined") == ["kept.a"]

    @pytest.mark.parametrize("backend", HISTORIES_THAT_LAST)
    def test_loses_nothing_where_the_history_outlives_it(
        self, project: Path, open_page: Callable[[ServerProcess], Page], backend: str
    ) -> None:
        with contextlib.ExitStack() as stack:
            env = stack.enter_context(HISTORIES_THAT_LAST[backend]())
            server = stack.enter_context(serve_project(project, **env))
            page = open_page(server)
            page.open("/rooms/?room=kept.task")
            page.wait_for("joined", ["kept.task"])
            task = stack.enter_context(task_that_publishes(project, **env))
            for signal_of_end in [signal.SIGTERM, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]:
                page.wait_for_last(sent_by(task))
                server.send_signal(signal_of_end)
                server.stop()
                page.wait_closed()
                missed = sent_by(task) + 3
                wait_until(lambda: sent_by(task) > missed, "messages without a server")  # noqa: B023
                server = stack.enter_context(serve_project(project, **env))
                page.cable.plug(server.port)
            task.send_signal(signal.SIGTERM)
            assert task.wait_for_exit() == 0
            page.wait_for_last(sent_by(task) - 1)
            assert page.numbers() == list(range(sent_by(task)))
        assert page.note("joined") == ["kept.task"]
        assert page.note("gaps") == []


class TestDelays:
    def test_are_random_below_a_limit_that_doubles(self, page: Page) -> None:
        page.run("Math.random = () => 0.5")
        delays = "return [0, 1, 2, 6, 7, 5000].map((failures) => client.backoff(failures))"
        assert page.run(delays) == [250, 500, 1000, 15_000, 15_000, 15_000]
        page.run("Math.random = () => 0")
        assert page.run(delays) == [0] * 6

    def test_grow_until_a_connection_was_stable(self, server: ServerProcess, page: Page) -> None:
        page.run("Math.random = () => 1")
        page.cable.pull()
        page.open("/rooms/", "{base: 10, cap: 50, stable: 0}")
        wait_until(lambda: len(page.note("closed")) > 4, "failures")
        page.cable.plug(server.port)
        page.wait_open()
        failed = page.note("closed")
        assert failed[:5] == [[1006, 10], [1006, 20], [1006, 40], [1006, 50], [1006, 50]]
        page.cable.pull()
        wait_until(lambda: len(page.note("closed")) > len(failed), "the end")
        assert page.note("closed")[len(failed)] == [1006, 10]

    def test_grow_where_the_server_lets_in_and_throws_out(self, page: Page) -> None:
        page.run("Math.random = () => 1")
        page.open("/leave/1012/", "{base: 10, cap: 50}")
        wait_until(lambda: len(page.note("closed")) > 3, "failures")
        assert page.note("closed")[:4] == [[1012, 10], [1012, 20], [1012, 40], [1012, 50]]
        assert page.note("opened") >= 4


class TestEnd:
    @pytest.mark.parametrize("code", [1000, 1008, 4401])
    def test_comes_with_a_code_that_says_so(self, page: Page, code: int) -> None:
        page.open(f"/leave/{code}/")
        page.wait_for("closed", [[code, None]])
        page.run("window.dispatchEvent(new Event('online'))")
        assert page.run("return [sockets.length, timers.size]") == [1, 0]
        assert page.run("return connection.send('late')") is False

    def test_comes_with_the_codes_of_the_page_in_place_of_ours(self, page: Page) -> None:
        page.open("/leave/4999/", "{final: [4999]}")
        page.wait_for("closed", [[4999, None]])
        page.open("/leave/4401/", "{final: [4999], base: 1e8, cap: 1e8}")
        wait_until(lambda: len(page.note("closed")) == 2, "the end")
        code, delay = page.note("closed")[1]
        assert code == 4401
        assert delay is not None

    @pytest.mark.parametrize("state", ["connecting", "open", "waiting"])
    def test_leaves_no_timer_and_no_listener(self, page: Page, state: str) -> None:
        if state == "connecting":
            page.cable.stall()
        elif state == "waiting":
            page.cable.pull()
        page.open("/rooms/?room=kept.end", "{base: 1e8, cap: 1e8}")
        if state == "open":
            page.wait_for("joined", ["kept.end"])
        elif state == "waiting":
            page.wait_closed()
            assert page.run("return timers.size") == 1
        page.run("connection.send('x'); connection.close(); connection.close()")
        page.run("window.dispatchEvent(new Event('online'))")
        page.cable.pull()
        page.wait_closed()
        assert page.run("return [sockets.length, timers.size]") == [1, 0]
        assert page.run("return connection.send('late')") is False
        assert page.note("messages") == []

    def test_has_the_code_that_the_page_gives(self, page: Page) -> None:
        page.open("/rooms/")
        page.wait_open()
        page.run("connection.close(4000, 'bye')")
        page.wait_for("closed", [[4000, None]])

    def test_stays_away_for_a_code_that_must_not_be_sent(self, page: Page) -> None:
        page.open("/rooms/")
        page.wait_open()
        script = "try { connection.close(1001) } catch (error) { return error.name }"
        assert page.run(script) == "InvalidAccessError"
        assert page.run("return connection.send('still here')") is True
        page.wait_for("messages", [[None, "still here"]])


class TestSending:
    def test_waits_for_a_connection_up_to_a_bound(self, server: ServerProcess, page: Page) -> None:
        page.cable.pull()
        hello = "onopen: () => { connection.send('hello'); throw new Error('on purpose') }"
        page.open("/rooms/", f"{{queue: 3, {hello}}}")
        script = "return [1, 2, 3, 4, 5].map((number) => connection.sendJSON({ number }))"
        assert page.run(script) == [True, True, True, False, False]
        page.cable.plug(server.port)
        sent = ["hello", *(f'{{"number":{number}}}' for number in [1, 2, 3])]
        page.wait_for("messages", [[None, text] for text in sent])
        assert page.run("return connection.send(new Uint8Array([0, 255]))") is True
        page.wait_for("messages", [[None, message] for message in [*sent, [0, 255]]])
        page.cable.pull()
        page.wait_closed()
        page.cable.plug(server.port)
        page.wait_open()
        page.run("connection.send('last')")
        come = [*sent, [0, 255], "hello", "last"]
        page.wait_for("messages", [[None, message] for message in come])

    def test_lets_a_hundred_wait(self, page: Page) -> None:
        page.cable.pull()
        page.open("/rooms/")
        script = "return Array.from({ length: 102 }, () => connection.send('')).lastIndexOf(true)"
        assert page.run(script) == 99


class TestMessages:
    def test_of_groups_come_unwrapped_to_who_wants_them(
        self, server: ServerProcess, page: Page
    ) -> None:
        page.run("window.lobby = []")
        own = "groups: {'kept.own': (...all) => window.lobby.push(all)}"
        page.open("/rooms/?room=kept.own&room=constructor", f"{{{own}}}")
        page.wait_for("joined", ["kept.own", "constructor"])
        said = ["plain", '{"group":"x"}', {"price": "2.50"}, '\u2603 "quoted"']
        for room in ("kept.own", "constructor"):
            assert server.get(f"/say/{room}/?messages={quote(json.dumps(said))}").text == "said"
        texts = ["plain", '{"group":"x"}', '{"price":"2.50"}', '\u2603 "quoted"']
        page.wait_for("messages", [["constructor", message] for message in [*texts, [0, 255]]])
        script = "return window.lobby.map(([message, group]) => [group, message.constructor.name])"
        assert page.run(script) == [["kept.own", "String"]] * 4 + [["kept.own", "Uint8Array"]]
        assert page.run("return window.lobby.slice(0, 4).map(([message]) => message)") == texts
        last = page.run("return window.lobby.at(-1)[2]")
        assert last == page.run("return connection.positions.get('kept.own')")
        assert last.endswith("-5")

    @pytest.mark.parametrize(
        "text",
        [
            "plain",
            "",
            '{"group":"a","position":7,"message":"a game"}',
            '{"group":"a","position":"7"}',
            '{"group":"a","position":"left","message"',
            '{"position":"1-1","group":"a","message":"x"}',
        ],
    )
    def test_of_views_come_as_they_are(self, page: Page, text: str) -> None:
        page.open(f"/speak/?text={quote(text)}", "{protocols: ['v1', 'v2']}")
        page.wait_for("messages", [[None, "v2"], [None, text], [None, [0, 255]]])
        assert page.run("return [...connection.positions]") == []

    def test_are_compared_within_one_history_and_gaps_are_told(self, page: Page) -> None:
        def text(position: str, **fields: object) -> str:
            text = json.dumps({"group": "a", "position": position, **fields}, separators=(",", ":"))
            return f"text={quote(text)}"

        texts = [
            text("e-1-9", recovered=None),
            text("e-1-10", message="first"),
            text("e-1-10", message="again"),
            text("e-1-9", message="before"),
            text("e-2-3", message="another history"),
            text("e-2-3", gap=True),
            text("e-2-5", message="behind a gap"),
            text("f-5", message="of a shorter name"),
        ]
        page.open(f"/speak/?{'&'.join(texts)}")
        come = ["first", "another history", "behind a gap", "of a shorter name"]
        page.wait_for("messages", [[None, ""], *(["a", text] for text in come), [None, [0, 255]]])
        assert page.note("joined") == ["a"]
        assert page.note("gaps") == ["a"]

    def test_stop_when_a_handler_closes(self, page: Page) -> None:
        close = "onmessage: (text) => { note(text); connection.close(4000) }"
        page.open("/speak/?text=one&text=two", f"{{{close}}}")
        page.wait_for("closed", [[4000, None]])
        assert page.note("messages") == [[None, ""]]

    def test_reach_handlers_that_fail_once(self, server: ServerProcess, page: Page) -> None:
        fail = "onmessage: (text) => { note(text); throw new Error('on purpose') }"
        page.open("/rooms/?room=kept.fail", f"{{{fail}}}")
        page.wait_for("joined", ["kept.fail"])
        publish(server, "kept.fail", 0, 2)
        page.wait_for_last(1)
        page.cable.pull()
        page.wait_closed()
        publish(server, "kept.fail", 2, 4)
        page.cable.plug(server.port)
        page.wait_for_last(3)
        assert page.numbers() == [0, 1, 2, 3]


def test_nothing_comes_from_elsewhere(page: Page) -> None:
    page.open("/rooms/")
    page.wait_open()
    names = page.run("return performance.getEntriesByType('resource').map((each) => each.name)")
    assert page.cable.url("http", "/static/adwebsocket/client.js") in names
    assert [name for name in names if not name.startswith(page.cable.url("http"))] == []


def test_page_of_the_documentation_shows_what_it_missed(
    server: ServerProcess, browser: webdriver.Chrome
) -> None:
    script = "return [...document.querySelectorAll('td')].map((cell) => cell.textContent)"

    def wait_for(*texts: str) -> None:
        wait_until(lambda: browser.execute_script(script) == list(texts), " ".join(texts))

    with Cable(server.port) as cable:
        browser.get(cable.url("http", "/page/documented.html"))
        wait_for("tea", "2.50")
        assert server.get("/price/2.60/").text == "set"
        wait_for("tea", "2.60")
        cable.pull()
        assert server.get("/price/2.70/").text == "set"
        cable.plug(server.port)
        wait_for("tea", "2.70")
        browser.get("about:blank")
