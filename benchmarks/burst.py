"""A burst: thousands of parked sync views get a message each; when is the last one answered?

``python -m benchmarks.burst`` runs it by hand, ``--short`` in CI; it fails for a wrong echo, a lost
connection or a dead server, never for a slow one. It must not know how servers are measured and
figures printed: that is the comparison.
"""

import argparse
import sys
from collections.abc import Sequence

from benchmarks import BenchmarkError
from benchmarks.comparison import (
    Benchmark,
    Figure,
    Trial,
    describe_rounds,
    fill_in,
    make_parser,
    run_benchmark,
)
from benchmarks.generator import Load
from benchmarks.kernel_limits import Plan, find_low_limits

SERVERS = ("adwebsocket-greenlet", "adwebsocket-thread", "channels-sync")
# All of its consumers share one thread; what that means is seen with half as many.
MOST_CONNECTIONS = {"channels-sync": 5000}
# In milliseconds, of 10,000 connections; the run never fails on it.
EXPECTED = {"adwebsocket-greenlet": 400, "adwebsocket-thread": 700}
MILLISECONDS = Figure(
    "ms until the last answer", lambda measurement: measurement.seconds * 1000, "message", True
)
DEFAULTS = {"rounds": 3, "warmup": 1.0}
SHORT = {"rounds": 1, "warmup": 0.1, "connections": 500}


def main(words: Sequence[str] | None = None) -> int:
    options = parse_options(words)
    connections = f"{options.connections:,} connections"
    load = Load(options.connections, 32, warmup=options.warmup, mode="burst")
    expected = EXPECTED if options.connections == 10_000 else {}
    trial = Trial(
        "burst", connections, load, SERVERS, expected=expected, most_connections=MOST_CONNECTIONS
    )
    flags = (
        f"load      {connections}, idle for {options.warmup:g} s; then {load.size} bytes to each, "
        "at once",
        *describe_rounds(options, "one burst"),
    )
    benchmark = Benchmark(
        "burst", MILLISECONDS, (trial,), flags, check=lambda: check_limits(options.connections)
    )
    return run_benchmark(benchmark, options)


def check_limits(connections: int) -> None:
    """Raise ``BenchmarkError``, with what to set, where a server may not have so many threads."""
    if low := find_low_limits(Plan(connections, workers=1, clients=1, threaded=True)):
        sentences = "".join(f"\n  {sentence}" for sentence in low)
        raise BenchmarkError(
            f"{connections} connections are too many for the limits here:{sentences}"
        )


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("burst", __doc__ or "", SERVERS, DEFAULTS)
    parser.add_argument("--connections", type=int, help="parked views (10000)")
    options = parser.parse_args(words)
    fill_in(options, SHORT if options.short else {**DEFAULTS, "connections": 10_000})
    return options


if __name__ == "__main__":
    sys.exit(main())
