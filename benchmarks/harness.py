"""Starts servers on a core of their own, puts load on them from another core, ends them again.

Every benchmark uses it with servers of the catalogue. It must not know what is being compared,
nor print: figures and errors go to the caller.
"""

import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks import BenchmarkError
from benchmarks.catalogue import HOST, Server
from benchmarks.generator import Load, Measurement, Target, run_generator
from benchmarks.idle_clients import Clients
from benchmarks.proc import count_listeners

ROOT = Path(__file__).parent.parent
START_SECONDS = 30.0
STOP_SECONDS = 10.0
WORKERS_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the servers share and which one the clients have; None where not pinned."""

    server: int | None
    client: int | None

    @classmethod
    def choose(cls) -> "Cores":
        """Take the first two cores that this process may use."""
        if not hasattr(os, "sched_setaffinity"):
            return cls(None, None)
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[1]) if len(allowed) > 1 else cls(None, None)


def exit_on_sigterm() -> None:
    """End by an exception on SIGTERM, so that each ``finally`` runs: else servers would stay."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Let what is started inside run on one core only.

    A child inherits it before its first instruction, so no thread of it can escape.
    """
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def missing_modules(server: Server) -> list[str]:
    """Return the modules that must be installed before this server can run."""
    return [module for module in server.modules if not _is_importable(module)]


def _is_importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


class RunningServer:
    """One server process that listens; made by ``run_server``, which also ends it."""

    def __init__(self, server: Server, load: Load, cores: Cores, log: IO[bytes]) -> None:
        self.server = server
        self.load = load
        self.cores = cores
        self.cookie = ""
        self.publisher: RunningServer | None = None
        self._log = log
        self._port = _free_port()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        environment |= server.environment
        with pinned(cores.server):
            self._process = subprocess.Popen(
                server.command(self._port, load),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A group of their own, so that none of its workers can be left behind.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """The process and all that it has started: granian serves from a child."""
        return _family(self._process.pid)

    @property
    def port(self) -> int:
        return self._port

    def wait_until_it_answers(self) -> None:
        """Return when the port accepts connections, logged in where that is needed.

        Raises:
            BenchmarkError: the process died or is too slow.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.check_alive()
            try:
                socket.create_connection((HOST, self._port), timeout=1).close()
            except OSError:
                if time.monotonic() > deadline:
                    raise self.error(f"did not listen within {START_SECONDS:.0f} s") from None
                time.sleep(0.05)
            else:
                break
        if self.server.workers > 1:
            self.wait_for_workers(self.server.workers)
        if self.server.login:
            self.cookie = self._log_in(self.server.login)

    def wait_for_workers(self, count: int) -> None:
        """Return when every worker listens: the first ones would get more than their share."""
        deadline = time.monotonic() + WORKERS_START_SECONDS
        while (listening := count_listeners(self.port)) < count:
            self.check_alive()
            if time.monotonic() > deadline:
                raise self.error(f"{listening} of {count} workers listen")
            time.sleep(0.1)

    def _log_in(self, path: str) -> str:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=START_SECONDS)
        try:
            connection.request("GET", path)
            cookie = connection.getresponse().getheader("Set-Cookie")
        except (OSError, http.client.HTTPException) as error:
            raise self.error(f"nobody could log in: {error!r}") from error
        finally:
            connection.close()
        if not cookie:
            raise self.error("logging in gave no cookie")
        return cookie.partition(";")[0]

    def measure(self) -> Measurement:
        """Put its load on the server once.

        Raises:
            BenchmarkError: anything went wrong; being slow is nothing wrong.
        """
        try:
            with pinned(self.cores.client), self._ignored_member():
                measurement = run_generator(self.load, self._target())
        except BenchmarkError as error:
            raise self.error(str(error)) from None
        self.check_alive()
        if measurement.count == 0:
            raise self.error("answered nothing while it was measured")
        return measurement

    @contextmanager
    def _ignored_member(self) -> Iterator[None]:
        """Hold a connection that nobody reads from, where the server is to have one."""
        path = self.server.ignored
        clients = Clients(HOST, self._port, path or "", False, False, echo=False)
        with clients.connected(0 if path is None else 1):
            yield

    def _target(self) -> Target:
        path, echoes = self.server.path, self.server.echoes
        publisher_port = self.publisher.port if self.publisher else 0
        return Target(HOST, self._port, path, self.cookie, self.pids, echoes, publisher_port)

    def stop(self) -> None:
        """End the process, kindly first; never raises for one that is gone."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def check_alive(self) -> None:
        """Raise where the process has ended."""
        if self._process.poll() is not None:
            raise self.error(f"ended by itself with exit code {self._process.returncode}")

    def output(self) -> str:
        """Return what the server has written."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip()

    def error(self, what: str) -> BenchmarkError:
        """Return an error that names the server and ends with what it wrote."""
        tail = "\n".join(self.output().splitlines()[-30:])
        return BenchmarkError(f"{self.server.name}: {what}" + (f"\n{tail}" if tail else ""))


@contextmanager
def run_server(server: Server, load: Load, cores: Cores) -> Iterator[RunningServer]:
    """Start one server, give it to the block when it answers, and end it afterwards."""
    with ExitStack() as stack:
        running = stack.enter_context(_run_process(server, load, cores))
        if server.elsewhere:
            other = Cores(cores.client, cores.client)
            running.publisher = stack.enter_context(_run_process(server, load, other))
        yield running


@contextmanager
def _run_process(server: Server, load: Load, cores: Cores) -> Iterator[RunningServer]:
    with tempfile.TemporaryFile() as log:
        running = RunningServer(server, load, cores, log)
        try:
            running.wait_until_it_answers()
            yield running
        finally:
            running.stop()


def _family(pid: int) -> list[int]:
    family = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        # A thread may have ended since it was listed.
        with suppress(OSError):
            for child in children.read_text().split():
                family += _family(int(child))
    return family


def _free_port() -> int:
    # Somebody else may take it before the server does; that server then ends with an error,
    # which is reported. Handing over an open socket instead is not something all of them can do.
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port
