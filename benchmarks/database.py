"""Sync views that read a row from PostgreSQL for each message, beside Channels' sync consumer.

``python -m benchmarks.database`` runs it by hand, ``--short`` in CI; it fails for a wrong answer, a
lost connection or a dead server, never for a slow one. It must not know how a server is started or
how a load is made: that is the harness.

Beside the messages of a second it counts the connections to the database: while the load runs, and
while as many clients as ``--parked`` says have got an answer and are silent. The database is a
cluster of its own, which shares the cores with both sides.
"""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks import BenchmarkError
from benchmarks.catalogue import HOST, Server, pick
from benchmarks.comparison import fill_in
from benchmarks.generator import Load, Measurement, compile_generator
from benchmarks.harness import Cores, RunningServer, exit_on_sigterm, pinned, run_server
from benchmarks.idle_clients import Clients, allow_files
from benchmarks.report import choose_servers, complain, describe_machine, format_table, say
from tests.database.postgresql import Cluster, find_programs, run_cluster

SERVERS = pick(("adwebsocket-thread-row", "adwebsocket-greenlet-row", "channels-sync-row"))
DEFAULTS = {"parked": 1000, "rounds": 3, "seconds": 3.0, "warmup": 1.0}
SHORT = {"parked": 100, "rounds": 1, "seconds": 1.0, "warmup": 0.5}
NAME = "benchmark"
ROWS = 1000
MAX_CONNECTIONS = 600
# Longer than a view waits before it gives back its connections.
SETTLING_SECONDS = 3.0
WATCHING_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Figures:
    """What one server did; its connections to the database, at the most and with all parked."""

    rounds: list[Measurement]
    busy_connections: int
    parked_connections: int


def main(words: Sequence[str] | None = None) -> int:
    options = parse_options(words)
    exit_on_sigterm()
    load = Load(options.connections, warmup=options.warmup, seconds=options.seconds)
    cores = Cores.choose()
    try:
        allow_files(options.parked)
        compile_generator()
        servers = choose_servers(SERVERS, options.only)
        programs = find_programs()
        if programs is None:
            raise BenchmarkError("there is no PostgreSQL (Debian: apt install postgresql)")
        say(*describe_machine(cores), *describe_flags(options), "")
        with run_cluster(programs, MAX_CONNECTIONS) as cluster:
            prepare(cluster, options.max_age)
            figures = {
                server.name: measure(server, load, cores, cluster, options) for server in servers
            }
    except BenchmarkError as error:
        complain(f"error: {error}")
        return 1
    say(format_figures(figures))
    return 0


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.database", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--connections", type=int, default=100, help="busy clients (100)")
    parser.add_argument("--parked", type=int, help="silent clients (1000)")
    parser.add_argument("--max-age", type=int, default=0, help="CONN_MAX_AGE in seconds (0)")
    parser.add_argument("--rounds", type=int, help="measurements of each server (3)")
    parser.add_argument("--seconds", type=float, help="length of each measurement (3)")
    parser.add_argument("--warmup", type=float, help="seconds before each measurement (1)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SERVERS,
        metavar="NAME",
        help=" ".join(SERVERS),
    )
    parser.add_argument("--short", action="store_true", help="1 round of 1 s, 100 parked, for CI")
    options = parser.parse_args(words)
    fill_in(options, SHORT if options.short else DEFAULTS)
    return options


def describe_flags(options: argparse.Namespace) -> list[str]:
    return [
        f"load      {options.connections} connections, 32 byte text messages, closed loop; one "
        f"SELECT by primary key for each, through the ORM; CONN_MAX_AGE {options.max_age}",
        f"rounds    {options.rounds} of {options.seconds:g} s after {options.warmup:g} s warm-up",
        f"parked    {options.parked} connections, silent after one answer each",
        "database  PostgreSQL at a UNIX domain socket, fsync off, not pinned",
    ]


def prepare(cluster: Cluster, max_age: int) -> None:
    """Make the table, and tell the servers where it is."""
    cluster.fetch("CREATE TABLE benchmark (id integer PRIMARY KEY, word text NOT NULL)")
    cluster.fetch(
        "INSERT INTO benchmark SELECT n, md5(n::text) FROM generate_series(1, %s) n", ROWS
    )
    cluster.fetch("ANALYZE benchmark")
    os.environ["BENCHMARK_DATABASE"] = json.dumps(cluster.database(NAME, CONN_MAX_AGE=max_age))


def measure(
    server: Server, load: Load, cores: Cores, cluster: Cluster, options: argparse.Namespace
) -> Figures:
    """Start a server alone, so that every connection to the database is its own."""
    with run_server(server, load, cores) as running:
        with watching(cluster) as counts:
            rounds = [running.measure() for _ in range(options.rounds)]
        with pinned(cores.client):
            parked = count_while_parked(running, cluster, options.parked)
    return Figures(rounds, max(counts), parked)


@contextmanager
def watching(cluster: Cluster) -> Iterator[list[int]]:
    """Count the servers' connections now and then for the length of a block."""
    counts = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCHING_SECONDS):
            counts.append(cluster.count(NAME))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield counts
    finally:
        over.set()
        watcher.join()


def count_while_parked(running: RunningServer, cluster: Cluster, count: int) -> int:
    clients = Clients(HOST, running.port, running.server.path, False, False)
    try:
        with clients.connected(count):
            time.sleep(SETTLING_SECONDS)
            return cluster.count(NAME)
    except BenchmarkError as error:
        raise running.error(str(error)) from None


def format_figures(figures: dict[str, Figures]) -> str:
    head = ("server", "messages/s", "lowest", "highest", "server us/message")
    rows = []
    for name, one in figures.items():
        rates = [measurement.rate for measurement in one.rounds]
        time_each = median(measurement.microseconds for measurement in one.rounds)
        rows.append(
            (
                name,
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f}",
                f"{max(rates):,.0f}",
                f"{time_each:.0f}",
                str(one.busy_connections),
                str(one.parked_connections),
            )
        )
    return format_table((*head, "most connections", "connections while parked"), rows)


if __name__ == "__main__":
    sys.exit(main())
