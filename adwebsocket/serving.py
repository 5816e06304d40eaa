"""The servers of the runner: uvicorn's, with a socket for each worker and an end that is certain.

The command line calls ``run``; every server process that it starts loads this again. It leaves the
serving to uvicorn, and must never know what happens on a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import socket
import sys
import threading
import warnings
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uvicorn.config import Config
from uvicorn.server import Server
from uvicorn.supervisors import ChangeReload, Multiprocess, multiprocess

from . import alias
from .descriptors import DescriptorGauge
from .transport.uvicorn_front import FrontProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .transport.limits import Limits

PROTOCOL_CLASS = "adwebsocket:WebSocketProtocol"
STARTUP_FAILURE = 3  # uvicorn's exit code for a server that never came up
STRAGGLER_SECONDS = 1.0
M_ARENA_MAX = -8  # of glibc's malloc.h
TICKS_BETWEEN_COUNTS = 10  # of a tenth of a second each
# macOS and the older BSDs know SO_REUSEPORT too, but give all connections to one of the sockets.
SPREADING_OPTION: int | None = getattr(
    socket, "SO_REUSEPORT" if sys.platform == "linux" else "SO_REUSEPORT_LB", None
)

logger = logging.getLogger("uvicorn.error")

# Every server process comes by here before it imports the project's settings.
alias.install()


class RunnerConfig(Config):
    """uvicorn's configuration, loaded before the event loop runs and with a socket per worker.

    Attributes:
        limits: the bounds of a Django project's connections, for what comes before the
            application; None without Django, where uvicorn's own options count.
        on_connection: called for each new connection, if set.
    """

    limits: Limits | None = None
    on_connection: Callable[[], None] | None = None

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        # Every server process asks for its loop once, just before the loop runs. That is the last
        # moment at which AppConfig.ready() may query the database: Django refuses it in a loop.
        try:
            if not self.loaded:
                self.load()
        except BaseException:
            # The coroutine that uvicorn has made by now must not add a complaint of its own.
            warnings.filterwarnings("ignore", "coroutine 'Server.serve' was never awaited")
            raise
        return super().get_loop_factory()

    def load(self) -> None:
        if self.http in ("auto", "httptools"):
            self.http = FrontProtocol
        super().load()
        self.limits = project_limits()
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
            # Django's LOGGING disables what is not in it, unless told otherwise.
            logging.getLogger(name).disabled = False
        if is_stock_django(self.loaded_app):
            logger.warning(
                "The application is Django's own, which refuses every WebSocket: in its module, "
                "import get_asgi_application from adwebsocket.asgi instead of django.core.asgi."
            )

    def bind_socket(self) -> socket.socket:
        if self.uds is not None:
            return self.bind_unix_socket(Path(self.uds))
        if self.workers == 1 or self.fd is not None or not SPREADING_OPTION:
            return super().bind_socket()
        try:
            bound = PortReservation.reserve(self.host, self.port)
        except OSError as error:
            logger.error(error)
            sys.exit(STARTUP_FAILURE)
        scheme = "https" if self.is_ssl else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = bound.getsockname()[1]
        logger.info("Uvicorn running on %s://%s:%d (Press CTRL+C to quit)", scheme, host, port)
        return bound

    def bind_unix_socket(self, path: Path) -> socket.socket:
        """Listen at a path, in place of what a server that was killed may have left there."""
        bound = socket.socket(socket.AF_UNIX)
        mode = 0o666
        try:
            if path.is_socket() and not is_listening(path):
                mode = path.stat().st_mode
                path.unlink()
            bound.bind(str(path))
            path.chmod(mode)
            bound.listen(self.backlog)
        except OSError as error:
            logger.error("Cannot listen on the unix socket %s: %s", path, error)
            sys.exit(STARTUP_FAILURE)
        logger.info("Uvicorn running on unix socket %s (Press CTRL+C to quit)", path)
        return bound


def share_one_heap() -> None:
    """Let all threads take memory from one heap, where the C library gives each its own.

    Each keeps what is freed in it: a process that had 200 views in threads stays 15 % larger than
    before, and with one heap 9 to 10 %. The interpreter's lock lets only one thread ask at a time,
    so they do not wait for each other there.
    """
    if not os.environ.get("MALLOC_ARENA_MAX"):
        # Only glibc has it, and not every system a library by that way.
        with contextlib.suppress(OSError, AttributeError, TypeError):
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def is_listening(path: Path) -> bool:
    """Tell whether a server accepts connections at a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class PortReservation(socket.socket):
    """A bound socket that never listens, and that reaches another process as a new one.

    The kernel spreads connections over the listening sockets of a port, so each worker needs its
    own. The parent's socket keeps the port, and gets no connection because it does not listen.
    """

    @classmethod
    def reserve(cls, host: str, port: int) -> PortReservation:
        """Bind the port for the workers, and fail like any server if another one listens there."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            # Without this, a second runner would quietly share the port of the first.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        return cls.bind_shared(family, (host, port))

    @classmethod
    def bind_shared(cls, family: int, address: tuple[Any, ...]) -> PortReservation:
        """Bind a socket which lets other sockets of this user listen on the same port."""
        assert SPREADING_OPTION is not None
        bound = cls(family)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.SOL_SOCKET, SPREADING_OPTION, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound

    def __reduce__(self) -> tuple[Any, ...]:
        return PortReservation.bind_shared, (self.family, self.getsockname())


class RunnerServer(Server):
    """uvicorn's server, which does not outlive its graceful timeout by more than a moment.

    It stops accepting connections while the process is about to run out of file descriptors.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.descriptors = DescriptorGauge()
        self.is_paused = False
        self.uncounted = 0
        self.listeners: list[socket.socket] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        share_one_heap()
        backlog = self.config.backlog
        self.config.backlog = self.descriptors.batch(backlog)
        try:
            await super().startup(sockets)
        finally:
            self.config.backlog = backlog
        if self.started:
            self.config.on_connection = self.count_connection  # type: ignore[attr-defined]
            self.keep_listeners()

    def keep_listeners(self) -> None:
        """Duplicate the listening sockets, while there are descriptors for it.

        Closing a server is the only way in which every event loop stops to accept; a duplicate
        keeps its socket, and the queue in front of it, alive. That gets its whole length here:
        asyncio would accept as many at a time as the length it is given.
        """
        if self.descriptors.limit is None:
            return
        self.listeners = [
            socket.socket(fileno=os.dup(listening.fileno()))
            for server in self.servers
            for listening in server.sockets
        ]
        for listener in self.listeners:
            listener.listen(self.config.backlog)

    def count_connection(self) -> None:
        """Look at the descriptors each time that an eighth of the reserve may have gone."""
        self.uncounted += 1
        if self.uncounted * 8 >= self.descriptors.reserve:
            self.check_descriptors()

    def check_descriptors(self) -> None:
        """Stop accepting if too few descriptors are left."""
        self.uncounted = 0
        if not self.is_paused and self.descriptors.is_low():
            self.pause_accepting()

    async def on_tick(self, counter: int) -> bool:
        self.check_descriptors()
        if self.is_paused and counter % TICKS_BETWEEN_COUNTS == 0 and self.descriptors.has_room():
            await self.resume_accepting()
        return await super().on_tick(counter)

    def pause_accepting(self) -> None:
        """Leave new connections to the system's queue, and say so."""
        logger.warning(
            "Stopped accepting connections: fewer than %d of %s file descriptors are free. "
            "Allow more (ulimit -n, LimitNOFILE= of systemd) or set WEBSOCKET_MAX_CONNECTIONS.",
            self.descriptors.reserve,
            self.descriptors.limit,
        )
        self.is_paused = True
        # Not within the call that accepts a connection: its server must be there for that one.
        asyncio.get_running_loop().call_soon(self.close_servers)

    def close_servers(self) -> None:
        for server in self.servers:
            server.close()
        self.servers = []

    async def resume_accepting(self) -> None:
        """Accept again what has been waiting."""
        logger.info("Accepting connections again")
        self.is_paused = False
        config = self.config
        for listener in self.listeners:
            self.servers.append(
                await asyncio.get_running_loop().create_server(
                    lambda: config.http_protocol_class(  # type: ignore[call-arg]
                        config=config,
                        server_state=self.server_state,
                        app_state=self.lifespan.state,
                    ),
                    sock=listener,
                    ssl=config.ssl,
                    backlog=self.descriptors.batch(config.backlog),
                )
            )
        self.keep_listeners()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in self.listeners:
            listener.close()
        await super().shutdown(sockets)
        if self.config.workers == 1 and not self.config.should_reload:
            # Where a signal ends this process, nothing behind this line is sure to run.
            remove_unix_socket(self.config)
        # Views in threads cannot be cancelled, and the interpreter would wait for them to return.
        exit_within(STRAGGLER_SECONDS)


class RunnerProcess(multiprocess.Process):
    """uvicorn's worker process, with our server in it."""

    @property
    def server(self) -> Server:
        if self._server is None:
            self._server = RunnerServer(self.config)
        return self._server


def run(config: Config) -> None:
    """Serve until a signal ends it, in one process or under one of uvicorn's supervisors."""
    try:
        if config.should_reload:
            server = RunnerServer(config)
            ChangeReload(config, target=server.run, sockets=[config.bind_socket()]).run()
        elif config.workers > 1:
            run_workers(config)
        else:
            config.load()
            # uvicorn's own socket at a path would be gone with the first server that is closed.
            sockets = None if config.uds is None else [config.bind_socket()]
            RunnerServer(config).run(sockets)
    except KeyboardInterrupt:
        pass
    finally:
        remove_unix_socket(config)


def remove_unix_socket(config: Config) -> None:
    if config.uds is not None:
        Path(config.uds).unlink(missing_ok=True)


def run_workers(config: Config) -> None:
    arguments: dict[str, Any] = {"sockets": [config.bind_socket()]}
    if "target" in signature(Multiprocess).parameters:  # as in uvicorn 0.36
        arguments["target"] = RunnerServer(config).run
    else:
        # The supervisor looks it up there, and has no other way to be told which server to run.
        multiprocess.Process = RunnerProcess  # type: ignore[misc]
    supervisor = Multiprocess(config, **arguments)
    supervisor.run()
    if any(worker.process.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        sys.exit(STARTUP_FAILURE)


def project_limits() -> Limits | None:
    """Give the limits of the Django project that is being served, None if it is none."""
    # Looked up, not imported: an application without Django should stay without it.
    conf = sys.modules.get("django.conf")
    if conf is None or not conf.settings.configured:
        return None
    from .conf import get_limits

    return get_limits()


def is_stock_django(application: Any) -> bool:
    """Tell whether this is Django's own ASGI handler, below any middleware of uvicorn's."""
    while type(application).__module__.startswith("uvicorn."):
        application = application.app
    handlers = sys.modules.get("django.core.handlers.asgi")
    return handlers is not None and type(application) is handlers.ASGIHandler


def exit_within(seconds: float, code: int = 0) -> None:
    """End the process after this time, unless it has ended by itself.

    Called when the process is on its way out and its threads have had their chance: the interpreter
    joins threads of executors without a limit.
    """
    timer = threading.Timer(seconds, end_process, [code])
    timer.daemon = True
    timer.start()


def end_process(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
