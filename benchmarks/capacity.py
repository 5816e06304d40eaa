"""How many connections of sync views one machine holds open: each must answer in the end.

``python -m benchmarks.capacity`` runs it by hand, ``--short`` in CI; it fails for a refused or lost
connection, a wrong or missing echo or an error of the server, never for a large figure. It must not
raise a limit of the kernel: it says which ones are too low, and what to set them to.

The server's workers share one port, over which the kernel spreads the connections. The clients are
several processes at addresses of their own, since an address has no more than 28,000 ports. They
answer pings and are silent otherwise, until all are open and each of them sends one message.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from operator import sub
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.catalogue import SERVERS, Server
from benchmarks.comparison import fill_in
from benchmarks.generator import Load
from benchmarks.harness import Cores, exit_on_sigterm, run_server
from benchmarks.holders import run_holders
from benchmarks.kernel_limits import SPARE_FILES, Plan, files_of_worker, find_low_limits
from benchmarks.proc import (
    KernelMemory,
    available_memory,
    count_sockets,
    count_threads,
    is_running,
    proportional_memory,
    user_memory,
)
from benchmarks.report import choose_servers, complain, describe_machine, format_table, say

DEFAULTS = {"connections": 150_000, "hold": 45.0, "deadline": 1200.0}
SHORT = {"connections": 5000, "hold": 0.0, "deadline": 120.0}
RUNNERS = ("greenlet", "thread", "async")
LEAST_WORKERS = 8
MOST_WORKERS = 64
LEAST_AVAILABLE_MEMORY = 2**30
MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory in bytes: of all server processes, and of the kernel, where both ends are."""

    anonymous: int
    proportional: int
    kernel: KernelMemory

    @classmethod
    def of(cls, pids: Sequence[int]) -> "Memory":
        return cls(
            sum(map(user_memory, pids)), sum(map(proportional_memory, pids)), KernelMemory.read()
        )


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came out: times in seconds, and memory before, when all were open, and at the end."""

    runner: str
    connections: int
    opening: float
    echoing: float
    before: Memory
    opened: Memory
    after: Memory
    connections_per_worker: list[int]
    threads_per_worker: list[int]


def main(words: Sequence[str] | None = None) -> int:
    options = parse_options(words)
    exit_on_sigterm()
    plan = make_plan(options)
    if low := find_low_limits(plan):
        complain(f"error: {plan.connections} connections are too many for the limits here:")
        complain("\n".join(f"  {sentence}" for sentence in low))
        return 1
    say(*describe_machine(None), *describe_flags(plan, options), "")
    try:
        choose_servers(SERVERS, [f"adwebsocket-{options.runner}"])
        measurement = measure(plan, options)
    except BenchmarkError as error:
        complain(f"error: {error}")
        return 1
    say("", format_figures(measurement))
    if options.json:
        options.json.write_text(json.dumps(asdict(measurement), indent=1) + "\n")
    return 0


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--connections", type=int, help="how many are open at once (150000)")
    parser.add_argument(
        "--runner",
        choices=RUNNERS,
        default="greenlet",
        help="what runs the views (greenlet); async: not sync views, but async ones",
    )
    parser.add_argument(
        "--workers",
        type=int,
        help=f"server processes ({LEAST_WORKERS}, or as many more as the limit of files needs)",
    )
    parser.add_argument("--hold", type=float, help="seconds of silence before the echo (45)")
    parser.add_argument("--deadline", type=float, help="seconds for everything (1200)")
    parser.add_argument("--short", action="store_true", help="5000 connections, no hold, for CI")
    parser.add_argument("--json", type=Path, help="also write every figure into this file")
    options = parser.parse_args(words)
    fill_in(options, SHORT if options.short else DEFAULTS)
    if options.connections < 1 or (options.workers or 1) < 1:
        parser.error("there must be at least one connection and one worker")
    return options


def make_plan(options: argparse.Namespace) -> Plan:
    """Choose how many processes share the connections, by how many files each may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        files = 2**20
    clients = -(-options.connections // max(files - SPARE_FILES, 1))
    threaded = options.runner == "thread"

    def plan(workers: int) -> Plan:
        return Plan(options.connections, workers, clients, threaded)

    if options.workers is not None:
        return plan(options.workers)
    enough = (n for n in range(LEAST_WORKERS, MOST_WORKERS) if files_of_worker(plan(n)) <= files)
    return plan(next(enough, LEAST_WORKERS))


def describe_flags(plan: Plan, options: argparse.Namespace) -> list[str]:
    return [
        f"load      {plan.connections} connections from {plan.clients} client processes; silent "
        f"for {options.hold:g} s, then an echo of 32 bytes on each",
        f"server    {plan.workers} workers on one port, {describe_view(options.runner)}; "
        "uvloop, httptools, no access log",
        "measured  memory: RssAnon and PSS of all server processes; kernel: growth of the whole "
        "machine, both ends of each connection",
    ]


def describe_view(runner: str) -> str:
    return "async echo view" if runner == "async" else f"sync echo view, {runner} runner"


def make_server(plan: Plan, runner: str) -> Server:
    """Give a server of the catalogue several workers, which do not wait for their views to end."""
    one = SERVERS[f"adwebsocket-{runner}"]

    def command(port: int, load: Load) -> list[str]:
        return [
            *one.command(port, load),
            *("--workers", str(plan.workers), "--timeout-graceful-shutdown", "1"),
            # Of a worker that has died the supervisor tells at this level.
            *("--log-level", "info"),
        ]

    return replace(one, command=command)


def measure(plan: Plan, options: argparse.Namespace) -> Measurement:
    """Open all connections, let each of them echo, and return what it took."""
    deadline = time.monotonic() + options.deadline
    with run_server(make_server(plan, options.runner), Load(), Cores(None, None)) as running:
        running.wait_for_workers(plan.workers)

        pids = running.pids

        def guard() -> None:
            if not all(map(is_running, pids)):
                raise BenchmarkError("a server process has ended")
            if time.monotonic() > deadline:
                raise BenchmarkError(f"not done within {options.deadline:g} s (--deadline)")
            if (left := available_memory()) < LEAST_AVAILABLE_MEMORY:
                raise BenchmarkError(f"{left // MEGABYTE} MB of memory are left: stopped")

        before, own_sockets = Memory.of(pids), [*map(count_sockets, pids)]
        try:
            with run_holders(plan, running.port, running.server.path, guard) as holders:
                opening = holders.wait_until_open(progress("open", plan.connections, pids))
                opened = Memory.of(pids)
                holders.hold(options.hold)
                echoing = holders.echo(progress("echoes", plan.connections, pids))
                after = Memory.of(pids)
                # Whoever was lost after its echo is found by now.
                holders.hold(1.0)
                sockets = map(sub, map(count_sockets, pids), own_sockets)
                # Besides workers there is the supervisor, and what helps it.
                per_worker = sorted(sockets)[-plan.workers :]
                threads = sorted(map(count_threads, pids))[-plan.workers :]
                if "Traceback" in running.output():
                    raise BenchmarkError("the server wrote a traceback")
        except BenchmarkError as error:
            raise running.error(str(error)) from None
    return Measurement(
        *(options.runner, plan.connections, opening, echoing, before, opened, after),
        *(per_worker, threads),
    )


def progress(what: str, total: int, pids: Sequence[int]) -> Callable[[int], None]:
    """Return a function that tells how far it has come."""
    start = time.monotonic()

    def tell(count: int) -> None:
        size = sum(map(user_memory, pids)) // MEGABYTE
        rate = count / (time.monotonic() - start)
        left = available_memory() // MEGABYTE
        say(f"{what}: {count} of {total}, {rate:.0f}/s; server {size} MB, {left} MB are free")

    return tell


def format_figures(one: Measurement) -> str:
    kernel = one.after.kernel - one.before.kernel
    none, opened, after = one.before, one.opened, one.after

    def row(name: str, size: int, growth: int) -> tuple[str, str, str]:
        return name, f"{size / MEGABYTE:.0f}", f"{growth / 1024 / one.connections:.1f}"

    rows = [
        ("connections open, each with its echo", f"{one.connections}", ""),
        ("seconds to open them", f"{one.opening:.1f}", ""),
        ("opened a second", f"{one.connections / one.opening:.0f}", ""),
        ("seconds to echo on all", f"{one.echoing:.2f}", ""),
        ("echoes a second", f"{one.connections / one.echoing:.0f}", ""),
        ("connections of a worker", extremes(one.connections_per_worker), ""),
        ("threads of a worker", extremes(one.threads_per_worker), ""),
        row("server, RssAnon, without connections, MB", none.anonymous, 0),
        row("when all are open", opened.anonymous, opened.anonymous - none.anonymous),
        row("after the echo", after.anonymous, after.anonymous - none.anonymous),
        row("the same as PSS", after.proportional, after.proportional - none.proportional),
        row("kernel, both ends, MB", kernel.total, kernel.total),
        row("of it slab", kernel.slab, kernel.slab),
        row("of it stacks of threads", kernel.stacks, kernel.stacks),
        row("of it page tables", kernel.page_tables, kernel.page_tables),
    ]
    return format_table((describe_view(one.runner), "", "KB/connection"), rows)


def extremes(counts: Sequence[int]) -> str:
    return f"{min(counts)} to {max(counts)}"


if __name__ == "__main__":
    sys.exit(main())
