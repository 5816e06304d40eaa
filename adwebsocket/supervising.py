"""The processes of the runner: one, several workers, or one that starts anew when a file changes.

The command line calls ``run``. The supervisors are uvicorn's; here is what they do about a worker
that does not come up or does not end. None of it knows what is served.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
from inspect import signature
from multiprocessing.connection import wait
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from uvicorn.supervisors import ChangeReload, Multiprocess, multiprocess

from .draining import Deadline
from .listening import STARTUP_FAILURE, remove_unix_socket
from .serving import SPARE_SECONDS, RunnerServer

if TYPE_CHECKING:
    from socket import socket
    from types import FrameType

    from uvicorn.config import Config
    from uvicorn.server import Server

# By which groups choose their back-end; looked up there it would take Django along.
WORKERS_VARIABLE: Final = "ADWEBSOCKET_WORKER_COUNT"
# Seconds before a worker is replaced that came to nothing; twice as many each time, up to the most.
_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 30.0
# Seconds that a worker has to answer; what comes later is heard the next time.
_ANSWER_SECONDS: Final = 0.2

logger = logging.getLogger("uvicorn.error")


def run(config: Config) -> None:
    """Serve until a signal ends it, in one process or under one of uvicorn's supervisors."""
    try:
        if config.should_reload:
            server = RunnerServer(config)
            RunnerReload(config, target=server.run, sockets=[config.bind_socket()]).run()
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
        remove_unix_socket(config.uds)


def run_workers(config: Config) -> None:
    os.environ[WORKERS_VARIABLE] = str(config.workers)
    arguments: dict[str, Any] = {"sockets": [config.bind_socket()]}
    if "target" in signature(Multiprocess).parameters:  # as in uvicorn 0.36
        arguments["target"] = RunnerServer(config).run
    # The supervisor looks it up there, and has no other way to be told which process to start.
    multiprocess.Process = RunnerProcess  # type: ignore[misc]
    supervisor = RunnerSupervisor(config, **arguments)
    supervisor.run()
    if supervisor.has_failed:
        sys.exit(STARTUP_FAILURE)


class RunnerProcess(multiprocess.Process):
    """uvicorn's worker process, with our server in it.

    Attributes:
        has_served: it has been seen to serve.
        heard_at: when it last gave a sign of life, or was told to.
        failures: how many workers, this one the last, have ended in its place and never served.
        due_at: when this one is to be replaced, None while it is not known to have ended.
        patience: seconds without an answer after which it counts as hanging.
    """

    has_served = False
    heard_at = 0.0
    failures = 0
    due_at: float | None = None

    def __init__(self, config: Config, *arguments: Any, **options: Any) -> None:
        self.patience: float = getattr(config, "timeout_worker_healthcheck", 5)
        super().__init__(config, *arguments, **options)

    @property
    def server(self) -> Server:
        target = getattr(self, "real_target", None)
        if target is not None:  # as in uvicorn 0.36
            return cast("Server", target.__self__)
        if self._server is None:
            self._server = RunnerServer(self.config)
        return self._server

    def start(self) -> None:
        """Start the worker, which counts as a sign of life."""
        self.heard_at = monotonic()
        super().start()

    def target(self, sockets: list[socket] | None = None) -> None:
        """Serve. In the worker."""
        # Made before the thread that answers the parent asks for it as well.
        assert self.server
        super().target(sockets)

    def pong(self) -> None:
        """Answer the parent. In the worker."""
        self.child_conn.recv()
        self.child_conn.send(self.server.started)

    def ping(self, timeout: float = 5) -> bool:
        """Tell whether the worker answers, and note whether it has come to serve."""
        try:
            self.parent_conn.send(b"ping")
            if not self.parent_conn.poll(timeout):
                return False
            # Late answers to earlier questions are no sign of life next time.
            while self.parent_conn.poll():
                self.has_served = self.parent_conn.recv() or self.has_served
        except (OSError, EOFError, pickle.UnpicklingError):
            return False
        self.heard_at = monotonic()
        return True

    def terminate(self) -> None:
        """Ask the worker to end. Unlike uvicorn's it can still be asked whether it is alive."""
        if os.name == "nt":
            super().terminate()
        elif self.process.exitcode is None:
            assert self.process.pid is not None
            self.heard_at = monotonic()
            os.kill(self.process.pid, signal.SIGTERM)
            logger.info("Terminated child process [%s]", self.process.pid)

    def join(self) -> None:
        """Wait for the worker's end, as long as it gives signs of life."""
        logger.info("Waiting for child process [%s]", self.process.pid)
        while self.process.is_alive():
            self.process.join(_ANSWER_SECONDS)
            self.kill_if_hanging()

    def kill_if_hanging(self) -> None:
        """Kill the worker if it has given no sign of life for too long."""
        is_well = self.ping(_ANSWER_SECONDS) or monotonic() - self.heard_at <= self.patience
        if not is_well and self.process.is_alive():
            logger.error("Child process [%s] hangs, and is killed", self.process.pid)
            self.process.kill()
            self.process.join()


class RunnerSupervisor(Multiprocess):
    """uvicorn's supervisor, which replaces workers with patience and ends them without.

    Attributes:
        has_served: a worker has been seen to serve.
        has_failed: none ever did, since what they are to serve cannot be loaded.
    """

    has_served = False
    has_failed = False
    is_in_hurry = False

    def handle_int(self) -> None:
        """End, at the second time at once."""
        self.is_in_hurry = self.should_exit.is_set()
        super().handle_int()

    def handle_term(self) -> None:
        """End, at the second time at once."""
        self.is_in_hurry = self.should_exit.is_set()
        super().handle_term()

    def handle_hup(self) -> None:
        """Replace the workers one by one, unless they are to end anyway."""
        if not self.should_exit.is_set():
            super().handle_hup()

    def join_all(self) -> None:
        """Wait until all workers have ended, but no longer than somebody has patience."""
        while alive := [worker for worker in self.processes if worker.process.is_alive()]:
            wait([worker.process.sentinel for worker in alive], _ANSWER_SECONDS)
            self.handle_signals()
            for worker in cast("list[RunnerProcess]", alive):
                if self.is_in_hurry:
                    worker.process.kill()
                else:
                    worker.kill_if_hanging()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended or hang, but not as fast as they fail.

        uvicorn would start one that fails at its start again and again, twice a second, or end
        those that serve with it.
        """
        for index, worker in enumerate(cast("list[RunnerProcess]", self.processes)):
            if worker.due_at is None:
                worker.kill_if_hanging()
                if not worker.process.is_alive():
                    self.see_to_successor(worker)
            if self.should_exit.is_set():
                return
            if worker.due_at is not None and worker.due_at <= monotonic():
                self.processes[index] = self.successor_of(worker)

    def see_to_successor(self, worker: RunnerProcess) -> None:
        """Decide when a worker is replaced that has ended; end with it if all are like it."""
        workers = cast("list[RunnerProcess]", self.processes)
        self.has_served = self.has_served or any(worker.has_served for worker in workers)
        code = worker.process.exitcode
        delay = 0.0
        if worker.has_served:
            worker.failures = 0
            logger.info("Child process [%s] died (exit code %s)", worker.pid, code)
        elif code is None or code < 0 or self.has_served:
            delay = min(_FIRST_DELAY * 2**worker.failures, _LONGEST_DELAY)
            worker.failures += 1
            logger.error(
                "Child process [%s] died before it served (exit code %s). "
                "The next one starts in %g seconds.",
                worker.pid,
                code,
                delay,
            )
        else:
            logger.error(
                "Child process [%s] failed to start (exit code %s), stopping the parent process.",
                worker.pid,
                code,
            )
            self.has_failed = True
            self.should_exit.set()
        worker.due_at = monotonic() + delay

    def successor_of(self, worker: RunnerProcess) -> RunnerProcess:
        """Start a worker in place of one that has ended."""
        target = [self.target] if hasattr(self, "target") else []  # as in uvicorn 0.36
        successor = RunnerProcess(self.config, *target, self.sockets)
        successor.failures = worker.failures
        successor.start()
        return successor


class RunnerReload(ChangeReload):  # type: ignore[misc,valid-type]
    """uvicorn's supervisor for development, which does not wait for a process that hangs."""

    def signal_handler(self, sig: int, frame: FrameType | None) -> None:
        """End, at the second time at once."""
        if self.should_exit.is_set():
            self.process.kill()
        super().signal_handler(sig, frame)

    def restart(self) -> None:
        """Put a new process in place of the old one."""
        self.limit_patience()
        super().restart()

    def shutdown(self) -> None:
        """End the process."""
        self.limit_patience()
        super().shutdown()

    def limit_patience(self) -> None:
        """Kill the process if it does not end as it should."""
        seconds = RunnerServer(self.config).longest_end()
        if seconds is not None:
            Deadline(seconds + SPARE_SECONDS, self.process.kill)
