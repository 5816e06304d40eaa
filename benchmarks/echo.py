"""Echo throughput: our sync and async views beside their peers, in one run, on one core.

``python -m benchmarks.echo`` runs it by hand, ``--short`` in CI; it fails for a wrong echo, a lost
connection or a dead server, never for a slow one. It must not know how a server is started or
how a load is made: that is the harness.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks import BenchmarkError
from benchmarks.catalogue import SERVERS, Server
from benchmarks.generator import COMPILER_FLAGS, Load, Measurement, compile_generator
from benchmarks.harness import Cores, run_server
from benchmarks.report import choose_servers, complain, describe_machine, format_table, say

Rounds = dict[str, list[Measurement]]

# On a quiet machine every server here has at least 97 % of its core.
QUIET_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Ratio:
    """What is expected of one server beside another one in the same run."""

    of: str
    to: str
    expected: float


# Expected is what step 1 asks for, or step 4 where step 1 says nothing; the run never fails on it.
RATIOS = (
    Ratio("adwebsocket-async", "uvicorn-raw", 1.5),
    Ratio("adwebsocket-async", "channels-async", 7),
    Ratio("adwebsocket-async", "limit", 0.55),
    Ratio("adwebsocket-thread", "channels-sync", 5),
)


def main(words: Sequence[str] | None = None) -> int:
    options = parse_options(words)
    # The default action would leave the servers behind; an exception runs their ``finally``.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    load = Load(options.connections, options.size, options.binary, options.warmup, options.seconds)
    cores = Cores.choose()
    try:
        compile_generator()
        servers = choose_servers(SERVERS, options.only)
        say(*describe_machine(cores), *describe_flags(load, options.rounds), "")
        rounds = measure(servers, load, cores, options.rounds)
    except BenchmarkError as error:
        complain(f"error: {error}")
        return 1
    say(format_figures(rounds), "", format_ratios(rounds))
    warn_of_disturbance(rounds)
    if options.json:
        write_json(options.json, load, rounds)
    return 0


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.echo", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--size", type=int, default=32, help="bytes in a message (32)")
    parser.add_argument("--binary", action="store_true", help="binary instead of text messages")
    parser.add_argument("--rounds", type=int, help="measurements of each server (5)")
    parser.add_argument("--seconds", type=float, help="length of each measurement (2)")
    parser.add_argument("--warmup", type=float, help="seconds before each measurement (0.5)")
    parser.add_argument(
        "--only", nargs="+", choices=SERVERS, metavar="NAME", help=" ".join(SERVERS)
    )
    parser.add_argument("--short", action="store_true", help="1 round of 1 s each, for CI")
    parser.add_argument("--json", type=Path, help="also write every figure into this file")
    options = parser.parse_args(words)
    defaults = (1, 1.0, 0.3) if options.short else (5, 2.0, 0.5)
    for name, default in zip(("rounds", "seconds", "warmup"), defaults, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, default)
    return options


def describe_flags(load: Load, rounds: int) -> list[str]:
    kind = "binary" if load.binary else "text"
    return [
        f"load      {load.connections} connections, {load.size} byte {kind} messages, closed loop",
        f"rounds    {rounds} of {load.seconds:g} s after {load.warmup:g} s warm-up, interleaved",
        f"generator C, {' '.join(COMPILER_FLAGS)}; offers no compression; verifies every echo",
        "servers   1 process each; uvloop, httptools, no access log; uvicorn websockets-sansio",
    ]


def measure(servers: Sequence[Server], load: Load, cores: Cores, count: int) -> Rounds:
    """Measure every server once a round, so that a drift of the machine hits all alike."""
    rounds: Rounds = {server.name: [] for server in servers}
    with ExitStack() as stack:
        running = [stack.enter_context(run_server(server, load, cores)) for server in servers]
        for number in range(count):
            # To and fro: nobody is always measured right after the same neighbour.
            for one in running if number % 2 == 0 else reversed(running):
                rounds[one.server.name].append(one.measure())
    return rounds


def middle(rounds: Rounds, name: str, figure: Callable[[Measurement], float]) -> float:
    return median(figure(measurement) for measurement in rounds[name])


def format_figures(rounds: Rounds) -> str:
    head = (
        "server",
        "messages/s",
        "lowest",
        "highest",
        "server us/message",
        "server busy",
        "client busy",
    )
    rows = []
    for name, measurements in rounds.items():
        rates = [measurement.rate for measurement in measurements]
        rows.append(
            (
                name,
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f}",
                f"{max(rates):,.0f}",
                f"{middle(rounds, name, lambda m: m.microseconds):.2f}",
                f"{middle(rounds, name, lambda m: m.server_busy):.0%}",
                f"{middle(rounds, name, lambda m: m.client_busy):.0%}",
            )
        )
    return format_table(head, rows)


def format_ratios(rounds: Rounds) -> str:
    """Return the ratios, each the median of what it was in every single round."""
    head = ("ratio", "messages/s", "server time", "expected")
    rows = []
    for ratio in RATIOS:
        pairs = list(zip(rounds.get(ratio.of, ()), rounds.get(ratio.to, ()), strict=False))
        if pairs:
            by_rate = median(of.rate / to.rate for of, to in pairs)
            by_time = median(to.microseconds / of.microseconds for of, to in pairs)
            name = f"{ratio.of} / {ratio.to}"
            rows.append((name, f"{by_rate:.2f}", f"{by_time:.2f}", f">= {ratio.expected:g}"))
    return format_table(head, rows) if rows else "no ratios: none of the pairs was measured"


def warn_of_disturbance(rounds: Rounds) -> None:
    """Say where the messages per second are not the server's own: an opinion, never a failure."""
    disturbed = []
    for name in rounds:
        server = middle(rounds, name, lambda m: m.server_busy)
        client = middle(rounds, name, lambda m: m.client_busy)
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
            "note: other programs were running; these servers had only a part of their core, so "
            f'trust the column "server time" more than messages/s: {", ".join(disturbed)}'
        )


def write_json(path: Path, load: Load, rounds: Rounds) -> None:
    figures = {name: [asdict(one) for one in several] for name, several in rounds.items()}
    path.write_text(json.dumps({"load": asdict(load), "servers": figures}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
