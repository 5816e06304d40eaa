"""Compiles the load generators (``benchmarks/load``), runs one and gives its figures types.

The harness calls it for every measurement. It must not know what kind of server listens on the
port, nor which figures will be compared.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks import BenchmarkError

SOURCE = Path(__file__).parent / "load"
COMPILER_FLAGS = ("-O2", "-Wall", "-Wextra")
# Loopback addresses that clients connect from where they do it again and again, or are thousands:
# each has some 28,000 ports.
SOURCE_ADDRESSES = 8


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients do.

    ``mode`` is "echo", where each connection sends its next message when its echo came; "connect",
    where each client connects, has one message echoed, closes and begins again; or "burst", where
    all connections are silent until each one is sent a message at once; or "fan", where the first
    connection sends messages that all of them must get in order, at most ``window`` ahead of the
    slowest. ``size`` is in bytes; ``warmup`` and ``seconds`` are the times before and while it
    counts; a burst takes as long as it takes.
    """

    connections: int = 100
    size: int = 32
    binary: bool = False
    warmup: float = 0.5
    seconds: float = 2.0
    mode: str = "echo"
    window: int = 1


@dataclass(frozen=True, slots=True)
class Target:
    """Where a load goes: the address, the cookie or "", and the processes that serve there.

    ``publisher_port`` is where the first connection goes instead, 0 for the same as all.
    """

    host: str
    port: int
    path: str
    cookie: str
    pids: Sequence[int]
    echoes: bool
    publisher_port: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run of the generator counted between the end of its warm-up and its end.

    ``count`` is of messages that were sent, echoed and verified, or in the mode "connect" of
    connections that were opened, used and closed, or in the mode "fan" of messages that came to a
    member; ``delays`` has the median, the 99th percentile and the longest of how long these took,
    in milliseconds.
    """

    connections: int
    count: int
    seconds: float
    client_cpu_seconds: float
    server_cpu_seconds: float
    delays: Sequence[float] = ()

    @property
    def rate(self) -> float:
        """Messages, or connections, per second."""
        return self.count / self.seconds

    @property
    def microseconds(self) -> float:
        """Processor time of the server for each: other programs on its core do not change it."""
        return self.server_cpu_seconds / max(self.count, 1) * 1e6

    @property
    def server_busy(self) -> float:
        """Share of one core that the server had; 1 means that nothing else held it up."""
        return self.server_cpu_seconds / self.seconds

    @property
    def client_busy(self) -> float:
        """Share of one core that the generator had; above the server's, it measured itself."""
        return self.client_cpu_seconds / self.seconds


def find_compiler() -> str:
    """Return the C compiler, from ``CC`` or by its usual names, or raise ``BenchmarkError``."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    raise BenchmarkError(
        "No C compiler found. The load generator is a C program, because a client in Python is "
        "slower than the servers it would measure. Install one (Debian: apt install gcc "
        "libc6-dev) or name it in the environment variable CC."
    )


@cache
def compile_generator(main: str = "main.c") -> Path:
    """Return the path of a load generator, compiled now unless this source already was.

    ``main`` is the file that says what its connections are for.
    """
    if not sys.platform.startswith("linux"):
        raise BenchmarkError("The load generator needs Linux: it is built on epoll.")
    compiler = find_compiler()
    sources = [SOURCE / "connection.c", SOURCE / main]
    digest = hashlib.sha256(" ".join((compiler, *COMPILER_FLAGS, main)).encode())
    for source in sorted(SOURCE.iterdir()):
        digest.update(source.read_bytes())
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adwebsocket"
    program = caches / f"load-{digest.hexdigest()[:16]}"
    if not program.exists():
        caches.mkdir(parents=True, exist_ok=True)
        _compile(compiler, sources, program)
    return program


def _compile(compiler: str, sources: list[Path], program: Path) -> None:
    # Renamed when complete: a benchmark that runs beside this one must not start half a program.
    with tempfile.TemporaryDirectory(dir=program.parent) as directory:
        output = Path(directory) / "load"
        command = [compiler, *COMPILER_FLAGS, "-o", str(output), *map(str, sources)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise BenchmarkError(f"The load generator does not compile:\n{result.stderr}")
        output.replace(program)


def run_generator(load: Load, target: Target) -> Measurement:
    """Put the load on one server and return what was counted.

    Raise ``BenchmarkError`` with the generator's own sentence where an echo was wrong or late, or
    a connection was refused or lost.
    """
    command = [
        *(str(compile_generator()), "--host", target.host, "--port", str(target.port)),
        *("--path", target.path, *(["--cookie", target.cookie] if target.cookie else [])),
        *(word for pid in target.pids for word in ("--server-pid", str(pid))),
        *("--mode", load.mode, "--connections", str(load.connections), "--size", str(load.size)),
        *("--warmup", str(load.warmup), "--seconds", str(load.seconds)),
        *(["--sources", str(SOURCE_ADDRESSES)] if load.mode != "echo" else []),
        *(["--window", str(load.window)] if load.mode == "fan" else []),
        *(["--publisher-port", str(target.publisher_port)] if target.publisher_port else []),
        *(["--binary"] if load.binary else []),
        *([] if target.echoes else ["--same-payload"]),
    ]
    # The generator gives up by itself when nothing moves for 20 s; this is for a fault in it.
    limit = load.warmup + load.seconds + 120
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"the load generator did not end within {limit:.0f} s") from None
    if result.returncode:
        raise BenchmarkError(result.stderr.strip() or f"exit code {result.returncode}")
    return Measurement(**json.loads(result.stdout))
