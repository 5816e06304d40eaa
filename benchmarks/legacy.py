"""How long pages take beside dwebsocket views that poll without a pause or push for ever.

``python -m benchmarks.legacy`` runs it by hand, ``--short`` in CI; it fails for a lost connection,
a loop that has ended or a dead server, never for a slow page. It must not know how a server is
started or how clients connect: that are the harness and the crowd.

One client asks for a page, which is a sync view, over and over on one connection, with a pause in
between. The loops are checked before and after: each of them must be running.
"""

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles

from benchmarks import BenchmarkError
from benchmarks.catalogue import HOST, SERVERS
from benchmarks.crowd import READY
from benchmarks.generator import Load
from benchmarks.harness import ROOT, Cores, RunningServer, exit_on_sigterm, pinned, run_server
from benchmarks.report import complain, describe_machine, format_table, say

PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.01
WARMUP_SECONDS = 1.0
# Of the 99th percentile, in milliseconds.
EXPECTED = 200


@dataclass(frozen=True, slots=True)
class Scenario:
    """What goes on beside the pages: so many connections to a view, of clients who stay or not."""

    name: str
    path: str = ""
    connections: int = 0
    leave: bool = False


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("nothing"),
        Scenario("polls: read()", "/read", 200),
        Scenario("polls: has_messages()", "/has-messages", 200),
        Scenario("pushes", "/push", 50),
        Scenario("pushes, 10 a second", "/push-slowly", 50),
        Scenario("pushes, clients gone", "/push", 50, leave=True),
        Scenario("pushes, 10 a second, clients gone", "/push-slowly", 50, leave=True),
    )
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """How long pages took, in milliseconds."""

    scenario: str
    requests: int
    median: float
    percentile: float
    longest: float


def main(words: Sequence[str] | None = None) -> int:
    options = parse_options(words)
    exit_on_sigterm()
    cores = Cores.choose()
    measurements: list[Measurement] = []
    failed = False
    say(*describe_machine(cores), *describe_flags(options), "")
    for name in options.only or SCENARIOS:
        try:
            measurements.append(measure(SCENARIOS[name], options.seconds, cores))
        except BenchmarkError as error:
            # What the other loops do to pages is worth knowing all the same.
            complain(f"error: {name}: {error}")
            failed = True
    say(format_figures(measurements))
    if options.json:
        figures = [asdict(one) for one in measurements]
        options.json.write_text(json.dumps({"scenarios": figures}, indent=1) + "\n")
    return 1 if failed else 0


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.legacy", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--seconds", type=float, help="length of each measurement (5)")
    parser.add_argument(
        "--only", nargs="+", choices=SCENARIOS, metavar="NAME", help=", ".join(SCENARIOS)
    )
    parser.add_argument("--short", action="store_true", help="1 s each, for CI")
    parser.add_argument("--json", type=Path, help="also write every figure into this file")
    options = parser.parse_args(words)
    if options.seconds is None:
        options.seconds = 1.0 if options.short else 5.0
    return options


def describe_flags(options: argparse.Namespace) -> list[str]:
    return [
        f"load      one page after the other for {options.seconds:g} s, on one connection, "
        f"{PAUSE_SECONDS * 1000:g} ms between them",
        "server    1 process with all loops; uvloop, httptools, no access log",
    ]


def measure(scenario: Scenario, seconds: float, cores: Cores) -> Measurement:
    """Start a server with the loops of a scenario, and time the pages that it serves beside."""
    with (
        run_server(SERVERS["adwebsocket-legacy"], Load(), cores) as running,
        pinned(cores.client),
        crowd(scenario, running.port),
    ):
        try:
            check_loops(running, scenario)
            time.sleep(WARMUP_SECONDS)
            times = time_pages(running, seconds)
            check_loops(running, scenario)
        except (OSError, http.client.HTTPException) as error:
            raise running.error(f"no page in {PATIENCE_SECONDS:g} s: {error!r}") from error
    share = quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    return Measurement(scenario.name, len(times), share[49], share[98], max(times))


@contextmanager
def crowd(scenario: Scenario, port: int) -> Iterator[None]:
    """Hold the connections of a scenario, or leave them, in a process of its own."""
    if not scenario.connections:
        yield
        return
    command = [
        *(sys.executable, "-m", "benchmarks.crowd", HOST, str(port)),
        *(scenario.path, str(scenario.connections), *(["--leave"] if scenario.leave else [])),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        too_long = threading.Timer(PATIENCE_SECONDS, process.kill)
        too_long.start()
        try:
            line = process.stdout.readline().strip()
            too_long.cancel()
            if line != READY:
                late = f"not all clients were connected within {PATIENCE_SECONDS:g} s"
                raise BenchmarkError(line or late)
            yield
            if process.poll() is not None:
                line = process.stdout.readline().strip()
                raise BenchmarkError(line or "the clients ended")
        finally:
            too_long.cancel()
            process.kill()


def check_loops(running: RunningServer, scenario: Scenario) -> None:
    """Wait until all loops have begun; an endless one is there for good."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    count = -1
    while count != scenario.connections:
        if time.monotonic() > deadline:
            raise running.error(f"{count} loops instead of {scenario.connections}")
        connection = http.client.HTTPConnection(HOST, running.port, timeout=PATIENCE_SECONDS)
        count = json.loads(get(connection, "/running"))["running"]
        connection.close()


def time_pages(running: RunningServer, seconds: float) -> list[float]:
    """Ask for pages, and return how many milliseconds each of them took."""
    connection = http.client.HTTPConnection(HOST, running.port, timeout=PATIENCE_SECONDS)
    connection.connect()
    times: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        if get(connection, "/page") != b"a page":
            raise running.error("a page was wrong")
        times.append((time.perf_counter() - begin) * 1000)
        time.sleep(PAUSE_SECONDS)
    connection.close()
    return times


def get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def format_figures(measurements: Sequence[Measurement]) -> str:
    head = ("beside", "connections", "pages", "median ms", "p99 ms", "longest ms", "expected p99")
    rows = [
        (
            one.scenario,
            f"{SCENARIOS[one.scenario].connections}",
            f"{one.requests}",
            f"{one.median:.1f}",
            f"{one.percentile:.1f}",
            f"{one.longest:.1f}",
            f"<= {EXPECTED}",
        )
        for one in measurements
    ]
    return format_table(head, rows)


if __name__ == "__main__":
    sys.exit(main())
