"""The runner, as a process of its own with real sockets, and its answers to wrong arguments."""

from __future__ import annotations

import os
import signal
import socket
from collections import Counter
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect, unix_connect

from adwebsocket._version import __version__
from adwebsocket.cli import main
from tests.processes import (
    DEADLINE,
    ServerProcess,
    free_port,
    run,
    serve,
    wait_until,
    write_files,
    write_project,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.certificates import Certificate

APPLICATION = """\
import os


async def application(scope, receive, send):
    if scope["type"] == "http":
        text = " ".join(map(str, (os.getpid(), scope["client"][0], scope["scheme"])))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
    else:
        raise RuntimeError("no lifespan")
"""

URLS = """\
import threading

from django.http import HttpResponse
from django.urls import path

from adwebsocket import require_websocket

entered = threading.Event()


@require_websocket
def sync_echo(request):
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket
async def async_echo(request):
    async for message in request.websocket:
        await request.websocket.send(message)


def block(request):
    print("blocked in a view")
    threading.Event().wait()


urlpatterns = [
    path("", lambda request: HttpResponse("hello")),
    path("sync", sync_echo),
    path("async", async_echo),
    path("block", block),
]
"""


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Return a directory with an ASGI application that needs no Django."""
    return write_files(tmp_path, {"plain.py": APPLICATION})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with a Django project that has views of each kind."""
    return write_project(tmp_path, {"mysite/urls.py": URLS})


def adwebsocket(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> AbstractContextManager[ServerProcess]:
    return serve(["-m", "adwebsocket", "--port", "{port}", *arguments], cwd=cwd, env=env)


def refusal(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Return what the runner says about arguments that it does not accept."""
    result = run(["-m", "adwebsocket", *arguments], cwd=cwd, env=env)
    assert result.returncode == 2, result.stdout
    assert "Traceback" not in result.stdout
    return " ".join(result.stdout.split())


def echo(url: str) -> None:
    with connect(url, proxy=None) as client:
        client.send("hello")
        assert client.recv(timeout=DEADLINE) == "hello"


def process_id(server: ServerProcess) -> int:
    return int(server.get("/").text.split()[0])


def meet_workers(server: ServerProcess, count: int) -> set[int]:
    """Send requests until so many processes have answered, and return their numbers."""
    found: set[int] = set()

    def all_met() -> bool:
        found.add(process_id(server))
        return len(found) == count

    wait_until(all_met, f"an answer from each of {count} workers")
    return found


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


class TestWords:
    """What the runner says without serving anything."""

    def test_help_offers_uvicorns_options_without_those_of_its_websockets(
        self, tmp_path: Path
    ) -> None:
        text = run(["-m", "adwebsocket", "--help"], cwd=tmp_path).stdout
        offered = "--settings --host --port --uds --fd --workers --reload --ssl-certfile --header"
        assert [option for option in offered.split() if f"  {option}" not in text] == []
        assert "--ws" not in text
        assert "--interface" not in text

    def test_version_names_the_parts(self, tmp_path: Path) -> None:
        text = run(["-m", "adwebsocket", "--version"], cwd=tmp_path).stdout
        assert text.startswith(f"adwebsocket {__version__}, uvicorn ")
        assert "Django " in text

    def test_console_script_is_the_same_command(self) -> None:
        (script,) = entry_points(group="console_scripts", name="adwebsocket")
        assert script.load() is main

    def test_nothing_to_serve_is_explained(self, tmp_path: Path) -> None:
        text = refusal(cwd=tmp_path)
        assert "Nothing to serve." in text
        assert "--settings mysite.settings" in text
        assert "DJANGO_SETTINGS_MODULE" in text
        assert "mysite.asgi:application" in text

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["nosuch:application"], "There is no module 'nosuch' in "),
            (["nosuch.asgi:application"], "There is no module 'nosuch.asgi' in "),
            (["plain.asgi:application"], "There is no module 'plain.asgi' in "),
            (["plain"], "APP must be MODULE:ATTRIBUTE, as in mysite.asgi:application, but it is"),
            (["--settings", "nosuch.settings"], "There is no module 'nosuch.settings' in "),
            (["plain:application", "--header", "X-Y"], "--header expects NAME:VALUE, but it is"),
        ],
    )
    def test_wrong_argument_gets_one_sentence(
        self, plain: Path, arguments: list[str], sentence: str
    ) -> None:
        assert sentence in refusal(*arguments, cwd=plain)

    def test_settings_of_the_environment_that_do_not_exist_get_one_sentence(
        self, tmp_path: Path
    ) -> None:
        text = refusal(cwd=tmp_path, env={"DJANGO_SETTINGS_MODULE": "nosuch"})
        assert "There is no module 'nosuch' in " in text

    def test_missing_attribute_gets_one_line(self, plain: Path) -> None:
        result = run(["-m", "adwebsocket", "plain:nosuch", "--port", "0"], cwd=plain)
        assert result.returncode in {1, 3}  # 1 in uvicorn 0.36
        assert 'Attribute "nosuch" not found in module "plain"' in result.stdout
        assert len(result.stdout.splitlines()) == 1

    def test_import_that_fails_inside_the_application_keeps_its_traceback(
        self, tmp_path: Path
    ) -> None:
        write_files(
            tmp_path, {"site.ini": "", "broken/__init__.py": "", "broken/asgi.py": "import nosuch"}
        )
        result = run(["-m", "adwebsocket", "broken.asgi:application", "--port", "0"], cwd=tmp_path)
        assert result.returncode != 0
        assert "Traceback" in result.stdout
        assert "No module named 'nosuch'" in result.stdout


class TestOneProcess:
    """Serving without workers and without reload."""

    def test_application_gets_http_and_websockets_and_an_access_log(self, plain: Path) -> None:
        with adwebsocket("plain:application", cwd=plain) as server:
            assert server.get("/page?a=b").status == 200
            echo(server.url("ws", "/socket"))
            server.wait_for_output('"GET /page?a=b HTTP/1.1" 200')
            server.wait_for_output('"GET /socket HTTP/1.1" 101')

    @pytest.mark.parametrize("path", ["/sync", "/async"])
    def test_settings_serve_the_project(self, project: Path, path: str) -> None:
        with adwebsocket("--settings", "mysite.settings", cwd=project) as server:
            assert server.get("/").text == "hello"
            echo(server.url("ws", path))

    def test_settings_of_the_environment_serve_the_project(self, project: Path) -> None:
        env = {"DJANGO_SETTINGS_MODULE": "mysite.settings"}
        with adwebsocket(cwd=project, env=env) as server:
            echo(server.url("ws", "/sync"))

    def test_app_dir_is_importable(
        self, project: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        arguments = ["--app-dir", str(project), "--settings", "mysite.settings"]
        with adwebsocket(*arguments, cwd=elsewhere) as server:
            assert server.get("/").text == "hello"

    def test_options_are_read_from_the_environment(self, plain: Path) -> None:
        port = free_port()
        env = {"ADWEBSOCKET_PORT": str(port), "ADWEBSOCKET_APP": "plain:application"}
        line = f"http://127.0.0.1:{port} "
        arguments = ["-m", "adwebsocket"]
        with serve(arguments, cwd=plain, env=env, ready=lambda server: line in server.output()):
            pass

    def test_django_logging_does_not_silence_the_access_log(self, tmp_path: Path) -> None:
        write_project(tmp_path, {"mysite/urls.py": URLS}, settings="LOGGING = {'version': 1}")
        with adwebsocket("--settings", "mysite.settings", cwd=tmp_path) as server:
            server.get("/")
            server.wait_for_output('"GET / HTTP/1.1" 200')

    def test_headers_are_added_and_proxies_are_believed(self, plain: Path) -> None:
        with adwebsocket(
            "plain:application", "--header", "X-Greeting:hello: you", cwd=plain
        ) as server:
            request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.1.2.3\r\n"
            with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as client:
                client.sendall(request + b"Connection: close\r\n\r\n")
                answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert b"x-greeting: hello: you\r\n" in answer
        assert b" 10.1.2.3 http" in answer

    def test_unix_socket_is_served_and_removed(self, plain: Path, short_path: Path) -> None:
        arguments = ["-m", "adwebsocket", "plain:application", "--uds", str(short_path)]
        with serve(arguments, cwd=plain, ready=lambda server: short_path.exists()) as server:
            with unix_connect(str(short_path), "ws://localhost/") as client:
                client.send("hello")
                assert client.recv(timeout=DEADLINE) == "hello"
            server.stop()
            assert not short_path.exists()

    def test_inherited_socket_is_served(self, plain: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            number, port = listening.fileno(), listening.getsockname()[1]
            arguments = ["-m", "adwebsocket", "plain:application", "--fd", str(number)]
            with serve(
                arguments,
                cwd=plain,
                pass_fds=[number],
                ready=lambda server: "running on socket" in server.output(),
            ):
                echo(f"ws://127.0.0.1:{port}/")

    def test_tls_serves_https_and_wss(self, plain: Path, certificate: Certificate) -> None:
        with serve(
            ["-m", "adwebsocket", "plain:application", "--port", "{port}", *certificate.options],
            cwd=plain,
            tls=certificate.trust,
        ) as server:
            assert server.get("/").text.endswith(" https")
            with connect(server.url("wss"), ssl=certificate.trust, proxy=None) as client:
                client.send("hello")
                assert client.recv(timeout=DEADLINE) == "hello"

    def test_port_in_use_is_an_error(self, plain: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            result = run(["-m", "adwebsocket", "plain:application", "--port", port], cwd=plain)
        assert result.returncode in {1, 3}
        assert "address already in use" in result.stdout.lower()
        assert "Traceback" not in result.stdout

    def test_stock_django_application_is_warned_about(self, project: Path) -> None:
        write_files(project, {"mysite/asgi.py": STOCK_ASGI})
        with adwebsocket("mysite.asgi:application", cwd=project) as server:
            server.get("/")
            text = server.wait_for_output("import get_asgi_application from adwebsocket.asgi")
            assert text.count("refuses every WebSocket") == 1

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_wsgi_application_is_an_error(self, project: Path, workers: str) -> None:
        write_files(project, {"mysite/wsgi.py": WSGI})
        arguments = ["mysite.wsgi:application", "--workers", workers, "--port", "0"]
        result = run(["-m", "adwebsocket", *arguments], cwd=project)
        assert result.returncode == 3
        assert "The application speaks WSGI" in result.stdout
        assert "Traceback" not in result.stdout

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_settings_without_meaning_are_an_error(self, project: Path, workers: str) -> None:
        settings = project / "mysite" / "settings.py"
        settings.write_text(f"{settings.read_text()}\nWEBSOCKET_PING_INTERVAL = 'often'\n")
        arguments = ["--settings", "mysite.settings", "--workers", workers, "--port", "0"]
        result = run(["-m", "adwebsocket", *arguments], cwd=project)
        assert result.returncode == 3
        assert "WEBSOCKET_PING_INTERVAL must be" in result.stdout
        assert "Traceback" not in result.stdout

    def test_own_django_application_is_not_warned_about(self, project: Path) -> None:
        write_files(project, {"mysite/asgi.py": OWN_ASGI})
        with adwebsocket("mysite.asgi:application", cwd=project) as server:
            echo(server.url("ws", "/sync"))
            assert "refuses every WebSocket" not in server.output()

    @pytest.mark.parametrize("path", ["/sync", "/async"])
    def test_sigterm_closes_open_sockets_with_1012(self, project: Path, path: str) -> None:
        with (
            adwebsocket("--settings", "mysite.settings", cwd=project) as server,
            connect(server.url("ws", path), proxy=None) as client,
        ):
            server.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=DEADLINE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            server.wait_for_exit()

    def test_ctrl_c_ends_the_process_while_a_view_hangs(self, project: Path) -> None:
        arguments = ["--settings", "mysite.settings", "--timeout-graceful-shutdown", "1"]
        with (
            adwebsocket(*arguments, cwd=project) as server,
            socket.create_connection(("127.0.0.1", server.port), DEADLINE) as client,
        ):
            client.sendall(b"GET /block HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server.wait_for_output("blocked in a view")
            server.send_signal(signal.SIGINT)
            assert server.wait_for_exit() == 0


STOCK_ASGI = """\
import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_asgi_application()
"""

WSGI = """\
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_wsgi_application()
"""

OWN_ASGI = STOCK_ASGI.replace("django.core.asgi", "adwebsocket.asgi")


class TestWorkers:
    """Serving with --workers."""

    def test_connections_are_spread_and_sigterm_ends_all(self, plain: Path) -> None:
        with adwebsocket("plain:application", "--workers", "4", cwd=plain) as server:
            found = meet_workers(server, 4)
            shares = Counter(process_id(server) for _ in range(400))
            assert shares.keys() == found
            if hasattr(socket, "SO_REUSEPORT"):
                # 40 is seven standard deviations below the expected 100.
                assert min(shares.values()) >= 40, shares
            echo(server.url("ws"))
            assert server.output().count("Uvicorn running on") == 1
            assert server.stop() == 0
            wait_until(lambda: not any(map(is_alive, found)), "the end of the workers")

    @pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
    def test_ipv6_address_is_served(self, plain: Path) -> None:
        arguments = ["plain:application", "--host", "::1", "--workers", "2"]
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            pytest.skip(f"no IPv6 on this machine: {error}")
        with serve(
            ["-m", "adwebsocket", "--port", "{port}", *arguments],
            cwd=plain,
            ready=lambda server: "Application startup complete" in server.output(),
        ) as server:
            server.wait_for_output(f"http://[::1]:{server.port} ")
            wait_until(lambda: can_connect("::1", server.port), "the IPv6 port")
            echo(f"ws://[::1]:{server.port}/")

    def test_free_port_is_the_same_for_all(self, plain: Path) -> None:
        arguments = ["-m", "adwebsocket", "plain:application", "--port", "0", "--workers", "2"]
        with serve(
            arguments, cwd=plain, ready=lambda server: "Uvicorn running on" in server.output()
        ) as server:
            address = server.output().partition("http://127.0.0.1:")[2]
            server.port = int(address.split()[0])
            wait_until(lambda: can_connect("127.0.0.1", server.port), "the port")
            meet_workers(server, 2)

    def test_unix_socket_is_shared(self, plain: Path, short_path: Path) -> None:
        arguments = ["-m", "adwebsocket", "plain:application", "--workers", "2"]
        with (
            serve(
                [*arguments, "--uds", str(short_path)],
                cwd=plain,
                ready=lambda server: server.output().count("Application startup complete") == 2,
            ),
            unix_connect(str(short_path), "ws://localhost/") as client,
        ):
            client.send("hello")
            assert client.recv(timeout=DEADLINE) == "hello"

    def test_second_runner_does_not_share_the_port(self, plain: Path) -> None:
        with adwebsocket("plain:application", "--workers", "2", cwd=plain) as server:
            arguments = ["-m", "adwebsocket", "plain:application", "--workers", "2"]
            result = run([*arguments, "--port", str(server.port)], cwd=plain)
        assert result.returncode == 3
        assert f"Cannot listen at 127.0.0.1, port {server.port}: " in result.stdout
        assert "Address already in use" in result.stdout

    def test_application_that_cannot_be_loaded_ends_the_runner(self, plain: Path) -> None:
        arguments = ["plain:nosuch", "--workers", "2", "--port", "0"]
        result = run(["-m", "adwebsocket", *arguments], cwd=plain)
        assert result.returncode == 3
        assert 'Attribute "nosuch" not found in module "plain"' in result.stdout
        assert "never awaited" not in result.stdout

    @pytest.mark.parametrize("arguments", [[], ["--workers", "2"], ["--reload"]])
    def test_apps_may_query_the_database_while_they_start(
        self, project: Path, arguments: list[str]
    ) -> None:
        write_files(project, {"shop/__init__.py": "", "shop/apps.py": QUERYING_APP})
        with (project / "mysite/settings.py").open("a") as settings:
            settings.write("INSTALLED_APPS.append('shop.apps.ShopConfig')\n")
        with adwebsocket("--settings", "mysite.settings", *arguments, cwd=project) as server:
            assert server.get("/").text == "hello"
            assert "Traceback" not in server.output()


QUERYING_APP = """\
from django.apps import AppConfig
from django.db import connection


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.close()
"""


class TestReload:
    """Serving with --reload."""

    def test_reload_does_not_wait_for_a_client_that_stays(self, project: Path) -> None:
        settings = ["--settings", "mysite.settings", "--reload", "--reload-delay", "0.05"]
        with adwebsocket(*settings, cwd=project) as server:
            assert server.get("/").text == "hello"
            with silent_websocket(server.port, "/sync"):
                urls = project / "mysite/urls.py"
                urls.write_text(URLS.replace('HttpResponse("hello")', 'HttpResponse("changed")'))
                wait_until(lambda: server.answers("changed"), "the changed view")
            echo(server.url("ws", "/sync"))


def silent_websocket(port: int, path: str) -> socket.socket:
    """Open a WebSocket whose client never answers, not even a close frame."""
    client = socket.create_connection(("127.0.0.1", port), DEADLINE)
    client.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
    return client


def can_connect(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), DEADLINE).close()
    except OSError:
        return False
    return True


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a path that is short enough for a UNIX domain socket."""
    return tmp_path_factory.mktemp("uds") / "socket"
