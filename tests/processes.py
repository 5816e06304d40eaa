"""Servers in processes of their own, and small Django projects for them to serve.

Tests call it wherever behaviour needs a real process: signals, ports, workers, reloads. It knows
nothing of adwebsocket: what it starts is named by the test, as arguments to the interpreter.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping, Sequence

DEADLINE = 30.0
"""Seconds after which anything that a test waits for counts as never going to happen."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Response:
    """The answer to one HTTP request."""

    status: int
    headers: dict[str, str]
    text: str


class ServerProcess:
    """A running server: where it is, what it has written, and how to end it.

    Attributes:
        process: the process that the test started.
        port: where it listens, unless at ``unix_socket``; URLs and Host headers name it anyway.
        log: the file that has its output.
        tls: how clients encrypt, None where they do not.
        unix_socket: the path of the socket at which it listens instead of at the port.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        port: int,
        log: Path,
        tls: ssl.SSLContext | None = None,
        unix_socket: Path | None = None,
    ) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.tls = tls
        self.unix_socket = unix_socket

    def url(self, scheme: str, path: str = "/") -> str:
        """Return the address of a path, such as ``url("ws", "/echo")``."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def connect(
        self, *, timeout: float = DEADLINE, receive_buffer: int | None = None
    ) -> socket.socket:
        """Connect to the server the way it listens, encrypted where it encrypts.

        Arguments:
            timeout: seconds for this and for every later operation.
            receive_buffer: bytes of the kernel's buffer, where the default is too much.
        """
        client = socket.socket(socket.AF_INET if self.unix_socket is None else socket.AF_UNIX)
        try:
            client.settimeout(timeout)
            if receive_buffer is not None:
                # Before connecting, for the window that the kernel offers depends on it.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            address = ("127.0.0.1", self.port)
            client.connect(address if self.unix_socket is None else str(self.unix_socket))
            if self.tls is not None:
                return self.tls.wrap_socket(client, server_hostname="127.0.0.1")
        except BaseException:
            client.close()
            raise
        return client

    def output(self) -> str:
        """Return what the server has written so far, standard output and errors together."""
        return self.log.read_text(errors="replace")

    def wait_for_output(self, text: str, *, count: int = 1) -> str:
        """Wait until the text has appeared that often, and return the output."""
        wait_until(lambda: self.output().count(text) >= count, f"{text!r} in the output")
        return self.output()

    def get(self, path: str = "/") -> Response:
        """Send one HTTP request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        with contextlib.closing(connection):
            connection.sock = self.connect()
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Response(answer.status, headers, answer.read().decode())

    def answers(self, text: str, path: str = "/") -> bool:
        """Tell whether the path is answered with this text; no, while the server restarts."""
        try:
            return self.get(path).text == text
        except (OSError, http.client.HTTPException):
            return False

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that the test started, and to none of its children."""
        self.process.send_signal(number)

    def interrupt_all(self) -> None:
        """Send SIGINT to the process and its children, as Ctrl-C in a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait_for_exit(self, seconds: float = DEADLINE) -> int:
        """Wait until the process has ended by itself, and return its exit code."""
        return self.process.wait(seconds)

    def stop(self) -> int:
        """End the process with SIGTERM, after the deadline with SIGKILL; return its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(DEADLINE)
        finally:
            # The group is ours alone, and may outlive its leader.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE)


def heed_interrupts() -> None:
    """Let a new process be ended by SIGINT, whatever this one has inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def serve(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    program: str = sys.executable,
    port: int | None = None,
    tls: ssl.SSLContext | None = None,
    unix_socket: Path | None = None,
    ready: Callable[[ServerProcess], bool] | None = None,
) -> Iterator[ServerProcess]:
    """Run ``python ARGUMENTS`` as a server for the length of a ``with`` block.

    Arguments:
        arguments: what follows the interpreter; ``{port}`` in them becomes the port.
        cwd: the directory to run in.
        env: environment variables to add to those of the test run.
        pass_fds: file descriptors that the process inherits.
        program: what to run instead of the interpreter.
        port: where the server listens, by default a free port.
        tls: how clients are to encrypt, if at all.
        unix_socket: the path at which the server listens, if not at the port; ``{socket}`` in the
            arguments becomes it.
        ready: tells whether the server is up; by default, whether it accepts a connection.

    Raises:
        AssertionError: the process has ended, or was not ready within the deadline. To this and to
            any error inside the block the output of the server is added as a note.
    """
    port = port or free_port()
    places = {"{port}": str(port), "{socket}": str(unix_socket)}
    command = [program, *(fill_in(part, places) for part in arguments)]
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "output")
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environment(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
                start_new_session=True,
                # A shell without job control makes its children ignore Ctrl-C, and they theirs.
                preexec_fn=heed_interrupts,
            )
        server = ServerProcess(process, port, log, tls, unix_socket)
        try:
            wait_until_ready(server, ready or accepts_connection)
            yield server
        except BaseException as error:
            error.add_note(f"Output of {' '.join(command)}:\n{server.output()}")
            raise
        finally:
            server.stop()


def run(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS`` to its end, and return exit code and output."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    """Return the environment of a process under test, without this test run's own project."""
    inherited = {
        name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
    }
    return {**inherited, "PYTHONUNBUFFERED": "1", **(extra or {})}


def fill_in(text: str, places: Mapping[str, str]) -> str:
    """Replace each name of a place by what it stands for."""
    for name, value in places.items():
        text = text.replace(name, value)
    return text


def wait_until_ready(server: ServerProcess, ready: Callable[[ServerProcess], bool]) -> None:
    def ready_or_gone() -> bool:
        code = server.process.poll()
        assert code is None, f"the server ended with exit code {code} before it was ready"
        return ready(server)

    wait_until(ready_or_gone, "the server")


def accepts_connection(server: ServerProcess) -> bool:
    """Tell whether anybody listens where the server should."""
    try:
        server.connect(timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], Result], what: str, seconds: float = DEADLINE) -> Result:
    """Call a condition until it is true, and return its value; fail after the deadline."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.02)
    return value


def free_port() -> int:
    """Return a port that nobody listens on at this moment.

    Not one that the system would choose: it gives those to clients, too, and a test beside this one
    may open a thousand before the port is listened on.
    """
    while True:
        port = 10_240 + secrets.randbelow(20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def write_files(directory: Path, files: Mapping[str, str]) -> Path:
    """Write text files below a directory, and return the directory."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def write_project(directory: Path, files: Mapping[str, str], settings: str = "") -> Path:
    """Write a Django project named ``mysite``, and return its directory.

    Arguments:
        directory: where ``manage.py`` goes.
        files: more files, by path: at least ``mysite/urls.py``.
        settings: lines that are added to the settings.
    """
    return write_files(
        directory,
        {
            "manage.py": MANAGE,
            "mysite/__init__.py": "",
            "mysite/settings.py": f"{SETTINGS}\n{settings}\n",
            **files,
        },
    )


MANAGE = """\
import os
import sys

from django.core.management import execute_from_command_line

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
execute_from_command_line(sys.argv)
"""

SETTINGS = """\
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "for tests"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
ROOT_URLCONF = "mysite.urls"
INSTALLED_APPS = ["adwebsocket", "django.contrib.staticfiles"]
STATIC_URL = "/static/"
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"},
}
USE_TZ = True
WEBSOCKET_SYNC_RUNNER = os.environ.get("ADWEBSOCKET_TEST_RUNNER", "thread")
"""
