"""Echo throughput: our sync and async views beside their peers, in one run, on one core.

``python -m benchmarks.echo`` runs it by hand, ``--short`` in CI; it fails for a wrong echo, a lost
connection or a dead server, never for a slow one. It must not know how servers are measured and
figures printed: that is the comparison.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.comparison import (
    Benchmark,
    Figure,
    Ratio,
    Trial,
    describe_rounds,
    fill_in,
    make_parser,
    run_benchmark,
)
from benchmarks.generator import Load

SERVERS = (
    *("adwebsocket-async", "adwebsocket-greenlet", "adwebsocket-thread"),
    *("uvicorn-raw", "granian-raw", "websockets", "picows", "limit"),
    *("channels-async", "channels-sync", "channels-async-daphne", "channels-sync-daphne"),
    "dwebsocket-gevent",
)
RATE = Figure("messages/s", lambda measurement: measurement.rate, "message")
# What is expected of 100 connections with 32 bytes; the run never fails on it.
SMALL = (
    Ratio("adwebsocket-async", "uvicorn-raw", 2.0),
    Ratio("adwebsocket-async", "channels-async", 9),
    Ratio("adwebsocket-async", "limit", 0.55),
    Ratio("adwebsocket-thread", "dwebsocket-gevent", 2.5),
    Ratio("adwebsocket-thread", "channels-sync", 8),
    Ratio("adwebsocket-greenlet", "dwebsocket-gevent", 3.5),
    Ratio("adwebsocket-greenlet", "channels-sync"),
)
LARGE_MESSAGE = 65536
# Most of their time goes into copying, which nobody can do without.
LARGE = (
    Ratio("adwebsocket-async", "uvicorn-raw", 1.2),
    Ratio("adwebsocket-async", "channels-async"),
    Ratio("adwebsocket-async", "limit"),
    Ratio("adwebsocket-thread", "channels-sync"),
    Ratio("adwebsocket-greenlet", "channels-sync"),
)
DEFAULTS = {"rounds": 5, "seconds": 2.0, "warmup": 0.5}
SHORT = {"rounds": 1, "seconds": 0.3, "warmup": 0.1, "connections": [20], "size": [65536]}


def main(words: Sequence[str] | None = None) -> int:
    options = parse_options(words)
    trials = [
        make_trial(connections, size, options)
        for connections in options.connections
        for size in options.size
    ]
    kind = "binary" if options.binary else "text"
    flags = (
        f"load      {kind} messages, closed loop: the next one is sent when the echo has come",
        *describe_rounds(options, f"{options.seconds:g} s after {options.warmup:g} s warm-up"),
    )
    return run_benchmark(Benchmark("echo", RATE, trials, flags), options)


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("echo", __doc__ or "", SERVERS, DEFAULTS)
    parser.add_argument("--connections", type=int, nargs="+", help="a table for each (100 1000)")
    parser.add_argument(
        "--size", type=int, nargs="+", help="bytes, a table for each (32 1024 65536 1048576)"
    )
    parser.add_argument("--binary", action="store_true", help="binary instead of text messages")
    options = parser.parse_args(words)
    loads = {"connections": [100, 1000], "size": [32, 1024, 65536, 2**20]}
    fill_in(options, SHORT if options.short else {**DEFAULTS, **loads})
    return options


def make_trial(connections: int, size: int, options: argparse.Namespace) -> Trial:
    load = Load(connections, size, options.binary, options.warmup, options.seconds)
    group = f"{connections} connections"
    return Trial(group, f"{group}, {name_size(size)}", load, SERVERS, choose_ratios(load))


def choose_ratios(load: Load) -> Sequence[Ratio]:
    if load.size >= LARGE_MESSAGE:
        return LARGE
    if (load.connections, load.size) == (100, 32):
        return SMALL
    return [replace(ratio, expected=None) for ratio in SMALL]


def name_size(size: int) -> str:
    for unit, name in ((2**20, "MB"), (2**10, "KB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


if __name__ == "__main__":
    sys.exit(main())
