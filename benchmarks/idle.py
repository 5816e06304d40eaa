"""Memory of an idle WebSocket connection: ours beside its peers, in one run, user and kernel.

``python -m benchmarks.idle`` runs it by hand, ``--short`` in CI; it fails for a refused or lost
connection or a dead server, never for a large figure. It must not know how a server is started or
how connections are opened: that are the harness and the clients.

What is measured is the growth from the first hundred connections, which pay for imports and caches,
to all of them. Of the server's processes it is the anonymous resident memory (RssAnon); they are
taken as they are: asking one for a garbage collection first changed nothing (0.01 KB). Of the
kernel it is slab caches, stacks of threads and page tables of the whole machine, less what the
client's end of a connection takes. That is measured first, with connections that have both ends in
this process.
"""

import argparse
import json
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.catalogue import HOST, Server, pick
from benchmarks.generator import Load
from benchmarks.harness import Cores, exit_on_sigterm, pinned, run_server
from benchmarks.idle_clients import Clients, allow_files
from benchmarks.proc import KernelMemory, settled_user_memory
from benchmarks.report import choose_servers, complain, describe_machine, format_table, say

FIRST_CONNECTIONS = 100
MOST_CONNECTIONS = 15_000
# It calls select(), which knows file descriptors below 1024 only.
MOST_OF_THE_ORIGINAL = 800
# Fewer disappear among the slabs that the kernel has half full.
LEAST_FOR_CLIENT_END = 500
BACKLOG = 16
# By server and compression, in KB a connection: what they must not exceed, the kernel not counted.
EXPECTED = {
    ("adwebsocket-async", False): 12,
    ("adwebsocket-async", True): 13,
    ("adwebsocket-greenlet", False): 18,
}
# The same where each connection has a thread, whose stack in the kernel counts.
EXPECTED_WITH_STACK = {("adwebsocket-thread", False): 48}


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Which servers are measured, and how, unless the command line tells otherwise."""

    name: str
    description: str
    servers: Mapping[str, Server]
    compression: str


IDLE = Benchmark(
    "idle",
    __doc__ or "",
    pick(
        (
            *("uvicorn-raw", "channels-async", "channels-sync", "dwebsocket-gevent"),
            *("adwebsocket-async", "adwebsocket-greenlet", "adwebsocket-thread"),
        )
    ),
    "off",
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the server's end of one idle connection takes, in bytes.

    ``kernel`` includes ``stacks``, which are those that threads have in the kernel.
    """

    server: str
    connections: int
    compression: bool
    user: float
    kernel: float
    stacks: float


def main(words: Sequence[str] | None = None, benchmark: Benchmark = IDLE) -> int:
    options = parse_options(words, benchmark)
    exit_on_sigterm()
    cores = Cores.choose()
    try:
        allow_files(2 * max(FIRST_CONNECTIONS + options.connections, LEAST_FOR_CLIENT_END))
        servers = choose_servers(benchmark.servers, options.only)
        say(*describe_machine(cores, servers), *describe_flags(options), "")
        client = measure_client_end(max(options.connections, LEAST_FOR_CLIENT_END))
        measurements = [
            measure(server, compression, options, cores, client)
            for server in servers
            for compression in options.compression
        ]
    except BenchmarkError as error:
        complain(f"error: {error}")
        return 1
    say(format_figures(measurements), "", f"the client's end in the kernel: {client / 1024:.1f} KB")
    if options.json:
        write_json(options.json, client, measurements)
    return 0


def parse_options(words: Sequence[str] | None, benchmark: Benchmark) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{benchmark.name}",
        description=benchmark.description.partition("\n\n")[0],
    )
    parser.add_argument(
        "--connections", type=number_of_connections, help="idle connections to a server (2000)"
    )
    parser.add_argument(
        "--compression",
        choices=("off", "on", "both"),
        default=benchmark.compression,
        help="whether the clients offer permessage-deflate, without context takeover "
        f"({benchmark.compression})",
    )
    parser.add_argument(
        "--browser", action="store_true", help="handshakes with the headers and cookies of one"
    )
    names = benchmark.servers
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=" ".join(names))
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
        "measured  user: growth of RssAnon of the server, without a garbage collection; kernel: "
        "of Slab, KernelStack and PageTables, less the client's end",
        "servers   1 process each; ASGI on uvloop, httptools, websockets-sansio; no access log",
    ]


def measure_client_end(count: int) -> float:
    """Return the bytes that the kernel takes for one end of a connection: half of a whole one."""
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(socket.create_server((HOST, 0), backlog=BACKLOG))
            before = KernelMemory.read()
            for _ in range(count):
                client = stack.enter_context(socket.create_connection(listener.getsockname()))
                peer = stack.enter_context(listener.accept()[0])
                for one, other in ((client, peer), (peer, client)):
                    one.sendall(b"hello")
                    other.recv(100)
        except OSError as error:
            raise BenchmarkError(f"a connection to this process itself failed: {error}") from error
        return (KernelMemory.read() - before).total / (2 * count)


def measure(
    server: Server, compression: bool, options: argparse.Namespace, cores: Cores, client: float
) -> Measurement:
    """Start a server, open the connections, and return what each of them takes.

    ``client`` is what the kernel takes for the client's end, in bytes.
    """
    count = options.connections
    if server.original:
        count = min(count, MOST_OF_THE_ORIGINAL)
    with run_server(server, Load(), cores) as running, pinned(cores.client):
        clients = Clients(HOST, running.port, server.path, compression, options.browser)
        try:
            with clients.connected(FIRST_CONNECTIONS):
                user, kernel = settled_user_memory(running.pids), KernelMemory.read()
                with clients.connected(count):
                    user = settled_user_memory(running.pids) - user
                    kernel = KernelMemory.read() - kernel
        except BenchmarkError as error:
            raise running.error(str(error)) from None
    return Measurement(
        *(server.name, count, compression),
        *(user / count, kernel.total / count - client, kernel.stacks / count),
    )


def format_figures(measurements: Sequence[Measurement]) -> str:
    head = (
        "KB/connection",
        "connections",
        "compression",
        "user",
        "kernel",
        "of it stacks",
        "expected",
    )
    rows = [
        (
            one.server,
            f"{one.connections}",
            "on" if one.compression else "off",
            *(f"{size / 1024:z.1f}" for size in (one.user, one.kernel, one.stacks)),
            describe_expected(one.server, one.compression),
        )
        for one in measurements
    ]
    return format_table(head, rows)


def describe_expected(server: str, compression: bool) -> str:
    if limit := EXPECTED.get((server, compression)):
        return f"user <= {limit}"
    limit = EXPECTED_WITH_STACK.get((server, compression))
    return f"user + stacks <= {limit}" if limit else ""


def write_json(path: Path, client: float, measurements: Sequence[Measurement]) -> None:
    figures = [asdict(one) for one in measurements]
    path.write_text(json.dumps({"kernel_of_client": client, "servers": figures}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
