"""``manage.py runserver``, as a process of its own: what it serves, says, and how it ends."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.processes import (
    DEADLINE,
    ServerProcess,
    run,
    serve,
    wait_until,
    write_files,
    write_project,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

URLS = """\
import threading

from django.http import HttpResponse
from django.urls import path

from adwebsocket import require_websocket


@require_websocket
def sync_echo(request):
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket
async def async_echo(request):
    async for message in request.websocket:
        await request.websocket.send(message)


@require_websocket
def stubborn(request):
    request.websocket.send("in the view")
    threading.Event().wait()


def block(request):
    print("blocked in a view")
    threading.Event().wait()


urlpatterns = [
    path("", lambda request: HttpResponse("hello")),
    path("sync", sync_echo),
    path("async", async_echo),
    path("stubborn", stubborn),
    path("block", block),
]
"""

ASGI = """\
import os

from {module} import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_asgi_application()
"""

NAMED_ASGI = """\
from adwebsocket.asgi import get_asgi_application

inner = get_asgi_application()


async def application(scope, receive, send):
    async def send_with_name(event):
        if event["type"] == "http.response.start":
            event = {**event, "headers": [*event["headers"], (b"x-application", b"named")]}
        await send(event)

    await inner(scope, receive, send_with_name)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with a Django project that has views of each kind and a static file."""
    files = {"mysite/urls.py": URLS, "assets/app.css": "body {}"}
    return write_project(tmp_path, files, settings="STATICFILES_DIRS = [BASE_DIR / 'assets']")


def add_settings(project: Path, *lines: str) -> None:
    with (project / "mysite/settings.py").open("a") as settings:
        settings.writelines(f"{line}\n" for line in lines)


def runserver(
    project: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> AbstractContextManager[ServerProcess]:
    return serve(["manage.py", "runserver", "{port}", *arguments], cwd=project, env=env)


def echo(server: ServerProcess, path: str) -> None:
    with connect(server.url("ws", path), proxy=None) as client:
        client.send("hello")
        assert client.recv(timeout=DEADLINE) == "hello"


class TestServing:
    def test_djangos_own_command_tells_handshakes_what_is_missing(self, project: Path) -> None:
        add_settings(project, "INSTALLED_APPS.remove('adwebsocket')")
        with runserver(project, "--noreload") as server:
            with pytest.raises(InvalidStatus) as refused:
                connect(server.url("ws", "/sync"), proxy=None)
            response = refused.value.response
            assert response.status_code == 400
            assert b"'adwebsocket' before 'django.contrib.staticfiles'" in response.body
            server.wait_for_output(
                "Refused a WebSocket to '/sync': The server that took this handshake serves no"
            )

    """What is served, and what the console shows of it."""

    def test_http_websockets_and_static_files_are_served(self, project: Path) -> None:
        with runserver(project) as server:
            assert server.get("/").text == "hello"
            assert server.get("/static/app.css").text == "body {}"
            echo(server, "/sync")
            echo(server, "/async")
            server.wait_for_output('] "GET / HTTP/1.1" 200')
            server.wait_for_output('] "GET /static/app.css HTTP/1.1" 200')
            server.wait_for_output('] "GET /sync HTTP/1.1" 101')
            server.wait_for_output('] "GET /async HTTP/1.1" 101')

    def test_banner_is_the_familiar_one(self, project: Path) -> None:
        with runserver(project) as server:
            text = server.wait_for_output("Quit the server with")
            address = re.escape(server.url("http"))
        assert "Watching for file changes with StatReloader" in text
        assert "Performing system checks..." in text
        assert "System check identified no issues" in text
        assert re.search(r"^Django version \S+, using settings 'mysite.settings'$", text, re.M)
        assert re.search(rf"^Starting \w+ development server at {address}$", text, re.M)
        assert "uvicorn" not in text.lower()

    def test_unapplied_migrations_are_reported(self, project: Path) -> None:
        add_settings(project, "INSTALLED_APPS.append('django.contrib.contenttypes')")
        with runserver(project) as server:
            server.wait_for_output("unapplied migration(s)")

    def test_free_port_is_named(self, project: Path) -> None:
        line = "development server at http://127.0.0.1:"
        arguments = ["manage.py", "runserver", "0", "--noreload"]
        with serve(arguments, cwd=project, ready=lambda server: line in server.output()) as server:
            server.port = int(server.output().partition(line)[2].partition("/")[0])
            assert server.get("/").text == "hello"

    def test_ipv6_address_is_served(self, project: Path) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            pytest.skip(f"no IPv6 on this machine: {error}")
        with serve(
            ["manage.py", "runserver", "--ipv6", "{port}"],
            cwd=project,
            ready=lambda server: "Quit the server with" in server.output(),
        ) as server:
            assert f"at http://[::1]:{server.port}/" in server.output()
            with connect(f"ws://[::1]:{server.port}/sync", proxy=None) as client:
                client.send("hello")
                assert client.recv(timeout=DEADLINE) == "hello"

    def test_nothreading_is_accepted(self, project: Path) -> None:
        with (
            runserver(project, "--nothreading", "--noreload") as server,
            connect(server.url("ws", "/sync"), proxy=None),
        ):
            assert server.get("/").text == "hello"

    def test_nostatic_serves_no_static_files(self, project: Path) -> None:
        with runserver(project, "--nostatic", "--noreload") as server:
            assert server.get("/static/app.css").status == 404

    @pytest.mark.parametrize(("option", "status"), [([], 404), (["--insecure"], 200)])
    def test_without_debug_static_files_need_insecure(
        self, project: Path, option: list[str], status: int
    ) -> None:
        add_settings(project, "DEBUG = False")
        with runserver(project, "--noreload", *option) as server:
            assert server.get("/static/app.css").status == status

    def test_project_without_staticfiles_has_no_options_for_them(self, project: Path) -> None:
        add_settings(project, "INSTALLED_APPS.remove('django.contrib.staticfiles')")
        assert "--nostatic" not in run(["manage.py", "runserver", "--help"], cwd=project).stdout
        with runserver(project, "--noreload") as server:
            echo(server, "/sync")

    def test_logging_of_the_project_takes_the_access_lines(self, project: Path) -> None:
        add_settings(
            project,
            "LOGGING = {'version': 1, 'handlers': {'own': {'class': 'logging.FileHandler',",
            "    'filename': BASE_DIR / 'own.log'}},",
            "    'loggers': {'django.server': {'handlers': ['own'], 'level': 'INFO'}}}",
        )
        with runserver(project, "--noreload") as server:
            server.get("/")
            own = project / "own.log"
            wait_until(lambda: '"GET / HTTP/1.1" 200' in own.read_text(), "the line in the file")


class TestApplication:
    """Which application is served."""

    def test_application_of_the_settings_is_served(self, project: Path) -> None:
        write_files(project, {"mysite/asgi.py": NAMED_ASGI})
        add_settings(project, "ASGI_APPLICATION = 'mysite.asgi.application'")
        with runserver(project, "--noreload") as server:
            assert server.get("/").headers["x-application"] == "named"
            assert server.get("/static/app.css").text == "body {}"
            echo(server, "/sync")

    def test_stock_application_is_replaced_and_the_console_says_so(self, project: Path) -> None:
        write_files(project, {"mysite/asgi.py": ASGI.format(module="django.core.asgi")})
        add_settings(project, "ASGI_APPLICATION = 'mysite.asgi.application'")
        with runserver(project, "--noreload") as server:
            text = server.wait_for_output("mysite.asgi.application is Django's own application")
            assert text.count("Django's own") == 1
            echo(server, "/sync")

    def test_own_application_needs_no_remark(self, project: Path) -> None:
        write_files(project, {"mysite/asgi.py": ASGI.format(module="adwebsocket.asgi")})
        add_settings(project, "ASGI_APPLICATION = 'mysite.asgi.application'")
        with runserver(project, "--noreload") as server:
            echo(server, "/sync")
            assert "Django's own" not in server.output()

    def test_application_that_cannot_be_imported_is_named(self, project: Path) -> None:
        add_settings(project, "ASGI_APPLICATION = 'mysite.nosuch.application'")
        result = run(["manage.py", "runserver", "0", "--noreload"], cwd=project)
        assert result.returncode == 1
        sentence = "ASGI application 'mysite.nosuch.application' could not be loaded"
        assert sentence in result.stdout


class TestReload:
    """A changed file restarts the server, whatever is going on in it."""

    def test_open_sockets_are_closed_with_1012(self, project: Path) -> None:
        with (
            runserver(project) as server,
            connect(server.url("ws", "/sync"), proxy=None) as client,
        ):
            assert server.get("/").text == "hello"
            change_hello(server, project, "changed")
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=DEADLINE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            echo(server, "/async")

    def test_hanging_websocket_view_is_not_waited_for(self, project: Path) -> None:
        with (
            runserver(project) as server,
            connect(server.url("ws", "/stubborn"), proxy=None) as client,
        ):
            assert client.recv(timeout=DEADLINE) == "in the view"
            change_hello(server, project, "changed")
            assert "Still running: /stubborn at " in server.output()

    def test_hanging_http_view_is_not_waited_for(self, project: Path) -> None:
        with (
            runserver(project) as server,
            socket.create_connection(("127.0.0.1", server.port), DEADLINE) as client,
        ):
            client.sendall(b"GET /block HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server.wait_for_output("blocked in a view")
            change_hello(server, project, "changed")

    def test_mistake_is_shown_and_its_correction_is_served(self, project: Path) -> None:
        with runserver(project) as server:
            error = "NameError: name 'nonsense' is not defined"
            change_urls(project, "urlpatterns = nonsense\n", lambda: error in server.output())
            change_hello(server, project, "mended")


def change_hello(server: ServerProcess, project: Path, text: str) -> None:
    """Make the first view say something else, and wait until it does."""
    urls = URLS.replace('HttpResponse("hello")', f'HttpResponse("{text}")')
    change_urls(project, urls, lambda: server.answers(text))


def change_urls(project: Path, urls: str, took_effect: Callable[[], bool]) -> None:
    for _ in range(5):
        # Django's reloader misses a change that comes before its first look at the files.
        (project / "mysite/urls.py").write_text(urls)
        with contextlib.suppress(AssertionError):
            wait_until(took_effect, "the effect of the change", DEADLINE / 5)
            return
    pytest.fail("the change has no effect")


class TestEnd:
    """How it ends, and what a start that fails says."""

    @pytest.mark.parametrize("arguments", [[], ["--noreload"]], ids=["reload", "noreload"])
    @pytest.mark.parametrize("path", ["/sync", "/async", "/stubborn"])
    def test_ctrl_c_ends_it_while_sockets_are_open(
        self, project: Path, arguments: list[str], path: str
    ) -> None:
        with (
            runserver(project, *arguments) as server,
            connect(server.url("ws", path), proxy=None),
        ):
            server.interrupt_all()
            assert server.wait_for_exit() == 0
            assert "Traceback" not in server.output()

    def test_view_that_hangs_is_named(self, project: Path) -> None:
        with (
            runserver(project, "--noreload") as server,
            connect(server.url("ws", "/stubborn"), proxy=None) as client,
        ):
            assert client.recv(timeout=DEADLINE) == "in the view"
            server.interrupt_all()
            assert server.wait_for_exit() == 0
            (line,) = [line for line in server.output().splitlines() if "/stubborn at " in line]
            assert line.startswith("Still running: /stubborn at ")
            assert f"{project / 'mysite/urls.py'}:" in line

    @pytest.mark.parametrize("arguments", [[], ["--noreload"]], ids=["reload", "noreload"])
    def test_sigterm_ends_it_while_a_view_hangs(self, project: Path, arguments: list[str]) -> None:
        with (
            runserver(project, *arguments) as server,
            connect(server.url("ws", "/stubborn"), proxy=None) as client,
        ):
            assert client.recv(timeout=DEADLINE) == "in the view"
            server.send_signal(signal.SIGTERM)
            server.wait_for_exit()

    @pytest.mark.parametrize("arguments", [[], ["--noreload"]], ids=["reload", "noreload"])
    def test_port_in_use_gets_djangos_sentence(self, project: Path, arguments: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            result = run(["manage.py", "runserver", port, *arguments], cwd=project)
        assert result.returncode == 1
        assert "Error: That port is already in use." in result.stdout
        assert "Traceback" not in result.stdout

    def test_app_after_staticfiles_is_an_error(self, project: Path) -> None:
        add_settings(project, "INSTALLED_APPS.reverse()")
        result = run(["manage.py", "runserver", "0", "--noreload"], cwd=project)
        assert result.returncode == 1
        assert "(adwebsocket.E001)" in result.stdout
