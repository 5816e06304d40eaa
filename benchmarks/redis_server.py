"""A Redis for the benchmarks that need one: a process of its own, which keeps nothing on disk.

They start, stop and restart it. It must not know who connects.
"""

import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.catalogue import HOST
from benchmarks.harness import pinned
from tests.processes import ServerProcess, free_port, serve

PROGRAM = "redis-server"
ANSWER_SECONDS = 5.0


class RedisServer:
    """A server that always listens on the same port; may be used with ``with``.

    Arguments:
        core: which it is pinned to, None for all.

    Attributes:
        version: what it says it is.
    """

    def __init__(self, core: int | None) -> None:
        program = shutil.which(PROGRAM)
        if program is None:
            raise BenchmarkError("there is no Redis (Debian: apt install redis-server)")
        self._program = program
        self._core = core
        self._port = free_port()
        self._running = ExitStack()
        self.version = _version_of(program)

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self._port}"

    def start(self) -> None:
        """Start it, and wait until it answers; raises ``BenchmarkError`` if it does not."""
        words = ["--bind", HOST, "--port", "{port}", "--save", "", "--appendonly", "no"]
        with ExitStack() as stack, pinned(self._core):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = serve(
                words, cwd=directory, program=self._program, port=self._port, ready=_answers
            )
            try:
                stack.enter_context(server)
            except AssertionError as error:
                raise BenchmarkError(f"Redis does not start: {error}") from error
            self._running = stack.pop_all()

    def stop(self) -> None:
        """End it; what it knew is gone."""
        self._running.close()

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _answers(process: ServerProcess) -> bool:
    try:
        with socket.create_connection((HOST, process.port), ANSWER_SECONDS) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(100).startswith(b"+PONG")
    except OSError:
        return False


def _version_of(program: str) -> str:
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    words = dict(word.partition("=")[::2] for word in answer.stdout.split() if "=" in word)
    return f"Redis {words.get('v', 'of an unknown version')}"
