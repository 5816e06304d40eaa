"""The servers of the runner: uvicorn's, with a socket for each worker and an end that is certain.

The command line calls ``run``; every server process that it starts loads this again. It leaves the
serving to uvicorn, and must never know what happens on a connection.
"""

from __future__ import annotations

import contextlib
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
from uvicorn.supervisors import ChangeReload, Multiprocess

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

PROTOCOL_CLASS = "adwebsocket:WebSocketProtocol"
STARTUP_FAILURE = 3  # uvicorn's exit code for a server that never came up
STRAGGLER_SECONDS = 1.0
# macOS and the older BSDs know SO_REUSEPORT too, but give all connections to one of the sockets.
SPREADING_OPTION: int | None = getattr(
    socket, "SO_REUSEPORT" if sys.platform == "linux" else "SO_REUSEPORT_LB", None
)

logger = logging.getLogger("uvicorn.error")


class RunnerConfig(Config):
    """uvicorn's configuration, loaded before the event loop runs and with a socket per worker."""

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
        super().load()
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
            # Django's LOGGING disables what is not in it, unless told otherwise.
            logging.getLogger(name).disabled = False
        if is_stock_django(self.loaded_app):
            logger.warning(
                "The application is Django's own, which refuses every WebSocket: in its module, "
                "import get_asgi_application from adwebsocket.asgi instead of django.core.asgi."
            )

    def bind_socket(self) -> socket.socket:
        if self.workers == 1 or self.uds is not None or self.fd is not None or not SPREADING_OPTION:
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
    """uvicorn's server, which does not outlive its graceful timeout by more than a moment."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if sockets is None:
            # Where a signal ends this process, nothing behind this line is sure to run.
            remove_unix_socket(self.config)
        # Views in threads cannot be cancelled, and the interpreter would wait for them to return.
        exit_within(STRAGGLER_SECONDS)


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
            RunnerServer(config).run()
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
    supervisor = Multiprocess(config, **arguments)
    supervisor.run()
    if any(worker.process.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        sys.exit(STARTUP_FAILURE)


def is_stock_django(application: Any) -> bool:
    """Tell whether this is Django's own ASGI handler, below any middleware of uvicorn's."""
    while type(application).__module__.startswith("uvicorn."):
        application = application.app
    # Looked up, not imported: an application without Django should stay without it.
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
