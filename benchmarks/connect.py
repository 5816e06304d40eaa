"""Connections per second: each connects, has one message echoed, and closes with a handshake.

``python -m benchmarks.connect`` runs it by hand, ``--short`` in CI; it fails for a wrong echo, a
lost connection or a dead server, never for a slow one. It must not know how servers are measured
and figures printed: that is the comparison.

It measures twice: without middleware, and with a session and a user in every handshake.
"""

import argparse
import sys
from collections.abc import Sequence

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

PLAIN = (
    *("adwebsocket-async", "adwebsocket-greenlet", "adwebsocket-thread", "uvicorn-raw"),
    *("channels-async", "channels-sync", "dwebsocket-gevent"),
)
MEMBERS = (
    *("adwebsocket-async-member", "adwebsocket-greenlet-member", "adwebsocket-thread-member"),
    *("channels-async-member", "channels-sync-member"),
)
RATE = Figure("connections/s", lambda measurement: measurement.rate, "connection")
# The run never fails on what is expected.
PLAIN_RATIOS = (
    Ratio("adwebsocket-async", "dwebsocket-gevent", 3),
    Ratio("adwebsocket-greenlet", "dwebsocket-gevent", 3),
    Ratio("adwebsocket-thread", "dwebsocket-gevent", 2),
    Ratio("adwebsocket-async", "uvicorn-raw"),
    Ratio("adwebsocket-async", "channels-async"),
)
MEMBER_RATIOS = (
    Ratio("adwebsocket-async-member", "channels-async-member", 2),
    Ratio("adwebsocket-greenlet-member", "channels-sync-member", 2),
    Ratio("adwebsocket-thread-member", "channels-sync-member", 2),
)
DEFAULTS = {"rounds": 5, "seconds": 2.0, "warmup": 0.5}
SHORT = {"rounds": 1, "seconds": 0.3, "warmup": 0.1, "connections": 10}


def main(words: Sequence[str] | None = None) -> int:
    options = parse_options(words)
    load = Load(
        options.connections, 32, warmup=options.warmup, seconds=options.seconds, mode="connect"
    )
    trials = (
        Trial("plain", "without middleware", load, PLAIN, PLAIN_RATIOS),
        Trial("members", "with session and auth middleware", load, MEMBERS, MEMBER_RATIOS),
    )
    flags = (
        f"load      {load.connections} clients at a time; connect, handshake, {load.size} bytes "
        "there and back, close handshake, and again",
        "sessions  in a signed cookie; the user comes out of memory, not out of a database",
        *describe_rounds(options, f"{options.seconds:g} s after {options.warmup:g} s warm-up"),
    )
    return run_benchmark(Benchmark("connect", RATE, trials, flags), options)


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser("connect", __doc__ or "", (*PLAIN, *MEMBERS), DEFAULTS)
    parser.add_argument("--connections", type=int, help="clients at a time (50)")
    options = parser.parse_args(words)
    fill_in(options, SHORT if options.short else {**DEFAULTS, "connections": 50})
    return options


if __name__ == "__main__":
    sys.exit(main())
