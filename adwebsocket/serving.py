"""The servers of the runner: uvicorn's, with a socket for each worker and an end that is certain.

``supervising`` runs it, in one process or in several; each of them loads this again. It leaves the
serving to uvicorn, and must never know what happens on a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uvicorn.config import Config

from . import alias
from .caller import is_in_package, places_of
from .descriptors import DescriptorGauge
from .draining import (
    STRAGGLER_SECONDS,
    Deadline,
    NamingServer,
    await_end,
    close_connections,
    end_process,
    exit_within,
)
from .listening import (
    SPREADING_OPTION,
    STARTUP_FAILURE,
    PortReservation,
    bind_unix_socket,
    remove_unix_socket,
)
from .transport.uvicorn_front import FrontProtocol
from .whereabouts import log_running_views

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from .transport.limits import Limits

PROTOCOL_CLASS = "adwebsocket:WebSocketProtocol"
M_ARENA_MAX = -8  # of glibc's malloc.h
TICKS_BETWEEN_COUNTS = 10  # of a tenth of a second each
# Beyond all that the end may take: for a loop that is late, and for what else is done meanwhile.
SPARE_SECONDS = 2.0

logger = logging.getLogger("uvicorn.error")

# Every server process comes by here before it imports the project's settings.
alias.install()


class RunnerConfig(Config):
    """uvicorn's configuration, loaded before the event loop runs and with a socket per worker.

    Attributes:
        limits: the bounds of a Django project's connections, for what comes before the
            application; None without Django, where uvicorn's own options count.
        drain_seconds: over how long the open sockets are closed when the server ends; not at all
            where somebody has changed a file and waits, or where there is no Django to say.
        on_connection: called for each new connection, if set.
    """

    limits: Limits | None = None
    drain_seconds: float = 0.0
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
        try:
            self.load_application()
        except Exception as error:
            if not is_own_complaint(error):
                raise
            logger.error("%s", error)
            sys.exit(STARTUP_FAILURE)

    def load_application(self) -> None:
        if self.http in ("auto", "httptools"):
            self.http = FrontProtocol
        super().load()
        if is_for_django():
            # Looked up, not imported: an application without Django should stay without it.
            from .conf import get_limits, get_settings

            self.limits = get_limits()
            if not self.should_reload:
                self.drain_seconds = get_settings().drain_seconds
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
            # Django's LOGGING disables what is not in it, unless told otherwise.
            logging.getLogger(name).disabled = False
        if is_stock_django(self.loaded_app, "WSGI"):
            logger.error(
                "The application speaks WSGI, as wsgi.py has it, and this server speaks ASGI: name "
                "one that comes from adwebsocket.asgi, or --settings and no application."
            )
            sys.exit(STARTUP_FAILURE)
        if is_stock_django(self.loaded_app):
            logger.warning(
                "The application is Django's own, which refuses every WebSocket: in its module, "
                "import get_asgi_application from adwebsocket.asgi instead of django.core.asgi."
            )

    def bind_socket(self) -> socket.socket:
        if self.uds is not None:
            return bind_unix_socket(Path(self.uds), self.backlog)
        if self.workers == 1 or self.fd is not None or not SPREADING_OPTION:
            return super().bind_socket()
        try:
            bound = PortReservation.reserve(self.host, self.port)
        except OSError as error:
            logger.error("Cannot listen at %s, port %d: %s", self.host, self.port, error)
            sys.exit(STARTUP_FAILURE)
        scheme = "https" if self.is_ssl else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = bound.getsockname()[1]
        logger.info("Uvicorn running on %s://%s:%d (Press CTRL+C to quit)", scheme, host, port)
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


class RunnerServer(NamingServer):
    """uvicorn's server, which ends bit by bit, and not later than it should.

    It stops accepting connections while the process is about to run out of file descriptors.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.descriptors = DescriptorGauge()
        self.is_paused = False
        self.uncounted = 0
        self.deadline: Deadline | None = None
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

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; at the second signal end at once."""
        if not self.should_exit:
            seconds = self.longest_end()
            if seconds is not None:
                loop = asyncio.get_running_loop()
                self.deadline = Deadline(seconds, self.end_by_force, loop, sig)
        elif self.config.workers > 1 or self.config.should_reload:
            # Ctrl-C and systemd may reach the whole group of processes, and the parent passes them
            # on: that is one wish and not two. The parent sees to the second.
            return
        else:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
            # The first process of a container is not ended by that.
            end_process(128 + sig)
        super().handle_exit(sig, frame)

    def longest_end(self) -> float | None:
        """Give the seconds in which the open sockets are closed and the server ends, None for any.

        It takes longer only where something blocks the event loop.
        """
        drain_seconds: float = getattr(self.config, "drain_seconds", 0.0)
        rest = self.longest_rest()
        return None if rest is None else drain_seconds + rest

    def longest_rest(self) -> float | None:
        """Give the seconds in which the server ends when the last socket has been closed."""
        patience = self.config.timeout_graceful_shutdown
        return None if patience is None else patience + 2 * STRAGGLER_SECONDS + SPARE_SECONDS

    def is_in_hurry(self) -> bool:
        """Tell whether to leave the rest to uvicorn; else the loop is alive and gets its time."""
        rest = self.longest_rest()
        if self.deadline is not None and rest is not None:
            self.deadline.extend(rest)
        return self.force_exit

    def end_by_force(self, loop: asyncio.AbstractEventLoop, sig: int) -> None:
        """Say what is in the way of the end, and end the process. In a thread of its own."""
        # The log may be what hangs.
        Deadline(STRAGGLER_SECONDS, os._exit, 128 + sig)
        try:
            remove_unix_socket(self.config.uds)
            stand = places_of(sys._current_frames().get(threading.main_thread().ident or 0))
            logger.error("The server does not end, and is cut off. It stands at %s", stand)
            log_running_views(loop)
        finally:
            end_process(128 + sig)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in [*self.servers, *self.listeners, *(sockets or ())]:
            listener.close()
        connections = self.server_state.connections
        seconds = getattr(self.config, "drain_seconds", 0.0)
        await close_connections(connections, seconds, self.is_in_hurry)
        await super().shutdown(sockets)
        await await_end(self.server_state.tasks)
        if self.config.workers == 1 and not self.config.should_reload:
            # Where a signal ends this process, nothing behind this line is sure to run.
            remove_unix_socket(self.config.uds)
        # Views in threads cannot be cancelled, and the interpreter would wait for them to return.
        exit_within(STRAGGLER_SECONDS)


def is_own_complaint(error: Exception) -> bool:
    """Tell whether our settings are what is wrong: then the sentence says all, and where not."""
    exceptions = sys.modules.get("django.core.exceptions")
    if exceptions is None or not isinstance(error, exceptions.ImproperlyConfigured):
        return False
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return is_in_package(frame)


def is_for_django() -> bool:
    """Tell whether a Django project is being served."""
    conf = sys.modules.get("django.conf")
    return conf is not None and conf.settings.configured


def is_stock_django(application: Any, interface: str = "ASGI") -> bool:
    """Tell whether this is Django's own handler, below any middleware of uvicorn's."""
    while type(application).__module__.startswith("uvicorn."):
        application = application.app
    handlers = sys.modules.get(f"django.core.handlers.{interface.lower()}")
    return handlers is not None and type(application) is getattr(handlers, f"{interface}Handler")
