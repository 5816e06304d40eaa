"""Memory of an idle WebSocket connection: async views beside their peers, in one run.

``python -m benchmarks.memory`` runs it by hand, ``--short`` in CI; it fails for a refused or lost
connection or a dead server, never for a large figure. It must not know how a server is started or
how connections are opened: that are the harness and the clients.

What is measured is the growth of the server's anonymous resident memory (RssAnon) from the first
hundred connections, which pay for imports and caches, to all of them. The server is taken as it
is: asking it for a garbage collection first changed nothing (0.01 KB). The kernel's part is the
growth of its slab caches, for the whole machine and so for both ends of each connection.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks import BenchmarkError
from benchmarks.catalogue import HOST, Server, pick
from benchmarks.generator import Load
from benchmarks.harness import Cores, pinned, run_server
from benchmarks.idle import Clients, allow_files
from benchmarks.report import choose_servers, complain, describe_machine, format_table, say

# In async code; those of sync views mostly cost the stack of a thread.
IDLE_SERVERS = pick(
    ("uvicorn-raw", "channels-async", "adwebsocket-async", "adwebsocket-middleware")
)
FIRST_CONNECTIONS = 100
MOST_CONNECTIONS = 15_000
SETTLING_SECONDS = 0.3
# By server and compression, in KB a connection: what they must not exceed.
EXPECTED = {("adwebsocket-async", False): 12, ("adwebsocket-async", True): 13}


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one idle connection takes, in bytes; ``kernel`` is for both ends of it."""

    server: str
    compression: bool
    user: float
    kernel: float


def main(words: Sequence[str] | None = None) -> int:
    options = parse_options(words)
    # The default action would leave the servers behind; an exception runs their ``finally``.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    cores = Cores.choose()
    try:
        allow_files(FIRST_CONNECTIONS + options.connections)
        servers = choose_servers(IDLE_SERVERS, options.only)
        say(*describe_machine(cores), *describe_flags(options), "")
        measurements = [
            measure(server, compression, options, cores)
            for server in servers
            for compression in options.compression
        ]
    except BenchmarkError as error:
        complain(f"error: {error}")
        return 1
    say(format_figures(measurements), "", describe_kernel(measurements))
    if options.json:
        write_json(options.json, options.connections, measurements)
    return 0


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument(
        "--connections", type=number_of_connections, help="idle connections to a server (2000)"
    )
    parser.add_argument(
        "--compression",
        choices=("off", "on", "both"),
        default="both",
        help="whether the clients offer permessage-deflate, without context takeover (both)",
    )
    parser.add_argument(
        "--browser", action="store_true", help="handshakes with the headers and cookies of one"
    )
    parser.add_argument(
        "--only", nargs="+", choices=IDLE_SERVERS, metavar="NAME", help=" ".join(IDLE_SERVERS)
    )
    parser.add_argument("--short", action="store_true", help="500 connections, for CI")
    parser.add_argument("--json", type=Path, help="also write every figure into this file")
    options = parser.parse_args(words)
    if options.connections is None:
        options.connections = 500 if options.short else 2000
    options.compression = {"off": [False], "on": [True], "both": [False, True]}[options.compression]
    return options


def number_of_connections(word: str) -> int:
    number = int(word)
    if not 1 <= number <= MOST_CONNECTIONS:
        raise argparse.ArgumentTypeError(f"expected 1 to {MOST_CONNECTIONS}, got {number}")
    return number


def describe_flags(options: argparse.Namespace) -> list[str]:
    headers = "those of a browser with a cookie" if options.browser else "the five that must be"
    return [
        f"load      {options.connections} idle connections, after {FIRST_CONNECTIONS} that are not "
        "counted; one echo of 5 bytes each",
        f"headers   {headers}; compression without context takeover",
        "measured  growth of RssAnon of the server, without a garbage collection; kernel: growth "
        "of Slab of the machine, both ends",
        "servers   1 process each; uvloop, httptools, no access log; uvicorn websockets-sansio",
    ]


def measure(
    server: Server, compression: bool, options: argparse.Namespace, cores: Cores
) -> Measurement:
    """Start a server, open the connections, and return what each of them takes."""
    with run_server(server, Load(), cores) as running, pinned(cores.client):
        clients = Clients(HOST, running.port, server.path, compression, options.browser)
        try:
            with clients.connected(FIRST_CONNECTIONS):
                user, kernel = settled_user_memory(running.pid), kernel_memory()
                with clients.connected(options.connections):
                    user = settled_user_memory(running.pid) - user
                    kernel = kernel_memory() - kernel
        except BenchmarkError as error:
            raise running.error(str(error)) from None
    count = options.connections
    return Measurement(server.name, compression, user / count, kernel / count)


def settled_user_memory(pid: int) -> int:
    """Return the server's own memory in bytes, when it has stopped changing."""
    before = -1
    for _ in range(20):
        memory = user_memory(pid)
        if memory == before:
            break
        before = memory
        time.sleep(SETTLING_SECONDS)
    return memory


def user_memory(pid: int) -> int:
    return read_kilobytes(Path(f"/proc/{pid}/status"), "RssAnon") * 1024


def kernel_memory() -> int:
    """Return the size of the kernel's slab caches, where sockets and files have their place."""
    return read_kilobytes(Path("/proc/meminfo"), "Slab") * 1024


def read_kilobytes(path: Path, name: str) -> int:
    try:
        for line in path.read_text().splitlines():
            label, _, value = line.partition(":")
            if label == name:
                return int(value.split()[0])
    except OSError as error:
        raise BenchmarkError(f"the memory cannot be read: {error}") from error
    raise BenchmarkError(f"{path} has no line {name}: the memory benchmark needs Linux")


def format_figures(measurements: Sequence[Measurement]) -> str:
    head = ("server", "compression", "KB/connection", "expected")
    rows = []
    for one in measurements:
        expected = EXPECTED.get((one.server, one.compression))
        rows.append(
            (
                one.server,
                "on" if one.compression else "off",
                f"{one.user / 1024:.1f}",
                "" if expected is None else f"<= {expected}",
            )
        )
    return format_table(head, rows)


def describe_kernel(measurements: Sequence[Measurement]) -> str:
    """Say what the kernel takes, whoever serves: the median, since other programs disturb it."""
    size = median(one.kernel for one in measurements)
    return f"kernel: {size / 1024:.1f} KB for both ends of a connection (median of all servers)"


def write_json(path: Path, connections: int, measurements: Sequence[Measurement]) -> None:
    figures = [asdict(one) for one in measurements]
    path.write_text(json.dumps({"connections": connections, "servers": figures}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
