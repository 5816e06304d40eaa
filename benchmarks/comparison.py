"""Measures several servers under the same loads, in one run, and prints and keeps the figures.

``echo``, ``connect`` and ``burst`` describe what they measure as a ``Benchmark`` and leave the rest
to ``run_benchmark``. It must not know how a server is started or how a load is made: that is the
harness.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks import BenchmarkError
from benchmarks.catalogue import Server, pick
from benchmarks.generator import COMPILER_FLAGS, Load, Measurement, compile_generator
from benchmarks.harness import Cores, RunningServer, exit_on_sigterm, run_server
from benchmarks.idle_clients import allow_files
from benchmarks.kernel_limits import Plan, files_of_worker
from benchmarks.report import choose_servers, complain, describe_machine, format_table, say

Rounds = dict[str, list[Measurement]]

# On a quiet machine every server here has at least 97 % of its core.
QUIET_SHARE = 0.9
# Bytes of messages under way at once: with more each server runs only while it is measured, since
# most of them keep several times as much when it is over.
MEMORY_OF_ALL = 200 * 2**20


@dataclass(frozen=True, slots=True)
class Figure:
    """The one number of a measurement that a benchmark is about."""

    name: str
    get: Callable[[Measurement], float]
    item: str
    lower_is_better: bool = False
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Ratio:
    """How one server compares to another one in the same run, and what is expected of it.

    ``expected`` is the least it should be, or the most where that is said.
    """

    of: str
    to: str
    expected: float | None = None
    at_most: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """All servers under one load: a table of the output, and a panel of the plot of its group.

    ``expected`` has, by server, what the figure must not exceed. ``most_connections`` has those
    servers that get fewer connections than the load says.
    """

    group: str
    title: str
    load: Load
    servers: Sequence[str]
    ratios: Sequence[Ratio] = ()
    expected: Mapping[str, float] = field(default_factory=dict)
    most_connections: Mapping[str, int] = field(default_factory=dict)

    def run(self, server: Server, cores: Cores) -> AbstractContextManager[RunningServer]:
        """Start a server that will be put under this load."""
        most = self.most_connections.get(server.name, self.load.connections)
        load = replace(self.load, connections=min(self.load.connections, most))
        return run_server(server, load, cores)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What a run measures, in which order, and the lines that tell with which flags.

    ``check`` raises ``BenchmarkError`` where this machine has no room for it. Without ``pinned``
    servers and clients share all cores, of which the flags must tell. ``beside`` has figures that
    the table of a page has as well.
    """

    name: str
    figure: Figure
    trials: Sequence[Trial]
    flags: Sequence[str]
    check: Callable[[], None] = lambda: None
    pinned: bool = True
    beside: Sequence[Figure] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """A trial and what came out; a server that was left out is missing from the rounds."""

    trial: Trial
    figure: Figure
    rounds: Rounds

    def middle(self, name: str, get: Callable[[Measurement], float]) -> float:
        return median(get(measurement) for measurement in self.rounds[name])

    def ratios(self) -> list[tuple[Ratio, float, float]]:
        """Return those that could be measured: by the figure, and by the server's processor time.

        Each is the median of what it was in every single round. Less processor time is a higher
        ratio, unless a lower figure is a lower one.
        """
        found = []
        for ratio in self.trial.ratios:
            pairs = list(
                zip(self.rounds.get(ratio.of, ()), self.rounds.get(ratio.to, ()), strict=False)
            )
            if pairs:
                by_figure = median(self.figure.get(of) / self.figure.get(to) for of, to in pairs)
                by_time = median(to.microseconds / of.microseconds for of, to in pairs)
                if self.figure.lower_is_better:
                    by_time = 1 / by_time
                found.append((ratio, by_figure, by_time))
        return found


def make_parser(
    name: str, summary: str, servers: Sequence[str], defaults: Mapping[str, object]
) -> argparse.ArgumentParser:
    """Return a parser with the options that all comparisons have.

    ``defaults`` has those of ``--rounds``, ``--seconds`` and ``--warmup`` that it has at all.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=summary.partition("\n\n")[0]
    )
    helps = {
        "rounds": (int, "measurements of each server"),
        "seconds": (float, "length of each measurement"),
        "warmup": (float, "seconds before each measurement"),
    }
    for option, default in defaults.items():
        kind, text = helps[option]
        parser.add_argument(f"--{option}", type=kind, help=f"{text} ({default})")
    parser.add_argument(
        "--only", nargs="+", choices=servers, metavar="NAME", help=" ".join(servers)
    )
    parser.add_argument("--short", action="store_true", help="as little as will do, for CI")
    parser.add_argument("--json", type=Path, help="also write every figure into this file")
    return parser


def fill_in(options: argparse.Namespace, defaults: Mapping[str, object]) -> None:
    """Give every option that was not named its default."""
    for name, default in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, default)


def run_benchmark(benchmark: Benchmark, options: argparse.Namespace) -> int:
    """Measure, print and write what was asked for; return the exit code.

    1 is for an error, which is printed: a wrong echo, a lost connection, a server that dies or is
    not there. A slow server is none.
    """
    exit_on_sigterm()
    cores = Cores.choose() if benchmark.pinned else Cores(None, None)
    names = dict.fromkeys(name for trial in benchmark.trials for name in trial.servers)
    try:
        compile_generator()
        most = max(trial.load.connections for trial in benchmark.trials)
        allow_files(files_of_worker(Plan(most, workers=1, clients=1, threaded=False)))
        benchmark.check()
        servers = choose_servers(pick(names), options.only)
        pinning = cores if benchmark.pinned else None
        environment = [*describe_machine(pinning, servers), *benchmark.flags]
        say(*environment)
        results = []
        for trial in benchmark.trials:
            result = measure(trial, servers, benchmark.figure, cores, options.rounds)
            if not result.rounds:
                continue
            results.append(result)
            say("", trial.title, "", format_figures(result), *format_ratios(result))
            if benchmark.pinned:
                warn_of_disturbance(result)
    except BenchmarkError as error:
        complain(f"error: {error}")
        return 1
    if options.json:
        write_json(options.json, benchmark, environment, results)
    return 0


def describe_rounds(
    options: argparse.Namespace, length: str, processes: str = "1 process each"
) -> list[str]:
    return [
        f"rounds    {options.rounds} of {length}, interleaved",
        f"generator C, {' '.join(COMPILER_FLAGS)}; offers no compression; verifies every message",
        f"servers   {processes}; uvloop, httptools, no access log; uvicorn websockets-sansio",
    ]


def measure(
    trial: Trial, servers: Sequence[Server], figure: Figure, cores: Cores, count: int
) -> Result:
    """Measure every server once a round, so that a drift of the machine hits all alike."""
    fit = []
    for server in servers:
        if server.name in trial.servers:
            if reason := server.why_not(trial.load):
                complain(f"skipped: {server.name} under {trial.title}: {reason}")
            else:
                fit.append(server)
    rounds: Rounds = {server.name: [] for server in fit}
    heavy = trial.load.connections * trial.load.size > MEMORY_OF_ALL
    with ExitStack() as stack:
        if not heavy:
            running = [stack.enter_context(trial.run(server, cores)) for server in fit]
        for number in range(count):
            # To and fro: nobody is always measured right after the same neighbour.
            step = 1 if number % 2 == 0 else -1
            for index in range(len(fit))[::step]:
                one = trial.run(fit[index], cores) if heavy else nullcontext(running[index])
                with one as server:
                    rounds[fit[index].name].append(server.measure())
    return Result(trial, figure, rounds)


def format_figures(result: Result) -> str:
    figure = result.figure
    head = [
        *("server", "connections", figure.name, "lowest", "highest"),
        *(f"server us/{figure.item}", "server busy", "client busy"),
    ]
    columns: list[Callable[[Measurement], float]] = []
    if any(any(one.delays) for several in result.rounds.values() for one in several):
        head += ["median ms", "p99 ms"]
        columns = [lambda m: m.delays[0], lambda m: m.delays[1]]
    if result.trial.expected:
        head.append("expected")
    rows = []
    for name, measurements in result.rounds.items():
        values = [figure.get(measurement) for measurement in measurements]
        row = [
            name,
            f"{measurements[0].connections}",
            *(
                f"{value:,.{figure.digits}f}"
                for value in (median(values), min(values), max(values))
            ),
            f"{result.middle(name, lambda m: m.microseconds):.2f}",
            f"{result.middle(name, lambda m: m.server_busy):.0%}",
            f"{result.middle(name, lambda m: m.client_busy):.0%}",
            *(f"{result.middle(name, get):.2f}" for get in columns),
        ]
        if result.trial.expected:
            row.append(format_bound("<=", result.trial.expected.get(name)))
        rows.append(row)
    return format_table(head, rows)


def format_ratios(result: Result) -> list[str]:
    rows = [
        (
            f"{ratio.of} / {ratio.to}",
            f"{by_figure:.2f}",
            f"{by_time:.2f}",
            format_bound("<=" if ratio.at_most else ">=", ratio.expected),
        )
        for ratio, by_figure, by_time in result.ratios()
    ]
    head = ("ratio", result.figure.name, "server time", "expected")
    return ["", format_table(head, rows)] if rows else []


def format_bound(sign: str, bound: float | None) -> str:
    return "" if bound is None else f"{sign} {bound:g}"


def warn_of_disturbance(result: Result) -> None:
    """Say where a figure is not the server's own: an opinion, never a failure."""
    disturbed = []
    for name in result.rounds:
        server = result.middle(name, lambda m: m.server_busy)
        client = result.middle(name, lambda m: m.client_busy)
        if client > server:
            # In a closed loop the side that is busier is the one that was measured.
            complain(
                f"note: with {name} the load generator was busy {client:.0%} of the time and the "
                f"server {server:.0%}: the server may be faster than shown"
            )
        elif server < QUIET_SHARE:
            disturbed.append(f"{name} {server:.0%}")
    if disturbed:
        complain(
            "note: these servers did not have all of their core; where others had the rest of it, "
            f'trust the column "server us" more than the others: {", ".join(disturbed)}'
        )


def write_json(
    path: Path, benchmark: Benchmark, environment: Sequence[str], results: Sequence[Result]
) -> None:
    """Write what ``benchmarks.plots`` reads, and every single measurement beside it."""
    figure = benchmark.figure
    trials = [
        {
            "group": result.trial.group,
            "title": result.trial.title,
            "figure": figure.name,
            "lower_is_better": figure.lower_is_better,
            "values": {name: result.middle(name, figure.get) for name in result.rounds},
            "beside": {
                other.name: {name: result.middle(name, other.get) for name in result.rounds}
                for other in benchmark.beside
            },
            "notes": {
                name: f"{several[0].connections:,} connections"
                for name, several in result.rounds.items()
                if several[0].connections != result.trial.load.connections
            },
            "expected": dict(result.trial.expected),
            "ratios": [
                {**asdict(ratio), "measured": measured, "by_time": by_time}
                for ratio, measured, by_time in result.ratios()
            ],
            "load": asdict(result.trial.load),
            "measurements": {
                name: [asdict(one) for one in several] for name, several in result.rounds.items()
            },
        }
        for result in results
    ]
    written = {"benchmark": benchmark.name, "environment": list(environment), "trials": trials}
    path.write_text(json.dumps(written, indent=1) + "\n")
