"""Groups: one message to many sockets, on one process, over Redis, on four workers, and for long.

``python -m benchmarks.groups`` runs it by hand, ``--short`` in CI; it fails for a message that is
wrong, late or lost, never for a slow one. ``--only`` runs some of its parts, each of which prints
its own figures and, with ``--json``, writes its own file. It must not know how servers are measured
and figures printed: that is the comparison, and of the long run ``benchmarks/groups_soak.py``.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks import BenchmarkError
from benchmarks.comparison import (
    Benchmark,
    Figure,
    Ratio,
    Trial,
    describe_rounds,
    fill_in,
    run_benchmark,
)
from benchmarks.generator import Load
from benchmarks.groups_soak import make_plan, run_soak
from benchmarks.harness import Cores, exit_on_sigterm
from benchmarks.redis_server import RedisServer
from benchmarks.report import complain, say

OURS = (
    "adwebsocket-groups-async",
    "adwebsocket-groups-thread",
    "adwebsocket-groups-greenlet",
)
LAYERS = ("channels-groups-core", "channels-groups-pubsub")
# What CI has no time for: each takes a second or more, and starts as another one does.
LEFT_OUT_OF_SHORT = (
    *("adwebsocket-groups-thread", "adwebsocket-groups-greenlet"),
    *("channels-groups-core", "adwebsocket-workers-redis"),
)

DELIVERIES = Figure("deliveries/s", lambda measurement: measurement.rate, "delivery")
P99 = Figure("p99 ms", lambda measurement: measurement.delays[1], "delivery", True, 1)


@dataclass(frozen=True, slots=True)
class Part:
    """Some servers under one load.

    ``over_redis`` are those of the servers that need a Redis. ``window`` is how many messages are
    under way. ``is_crowded`` says that there are as many members as ``--crowd`` says.
    """

    title: str
    servers: Sequence[str]
    ratios: Sequence[Ratio] = ()
    figure: Figure = DELIVERIES
    over_redis: frozenset[str] = frozenset()
    flags: Sequence[str] = ()
    pinned: bool = True
    window: int = 1
    processes: str = "1 process each"
    is_crowded: bool = False


PARTS = {
    "process": Part(
        "one process",
        (*OURS, "websockets-broadcast", "channels-groups"),
        [
            *(Ratio(name, "channels-groups", 40) for name in OURS),
            *(Ratio(name, "websockets-broadcast", 1.2) for name in OURS),
        ],
    ),
    "redis": Part(
        "over Redis",
        ("adwebsocket-groups-redis", *LAYERS),
        [Ratio("adwebsocket-groups-redis", layer, 25) for layer in LAYERS],
        over_redis=frozenset(("adwebsocket-groups-redis", *LAYERS)),
        flags=("publisher a further process of the same kind, on the core of the clients",),
        processes="1 process with the members, 1 with the publisher",
    ),
    "workers": Part(
        "four workers",
        ("adwebsocket-workers-local", "adwebsocket-workers-redis"),
        over_redis=frozenset(("adwebsocket-workers-redis",)),
        flags=("pinning   NONE: the workers, Redis and the clients share all cores",),
        pinned=False,
        # So that there is an order that could suffer.
        window=8,
        processes="4 workers each",
    ),
    "slow": Part(
        "a slow member",
        ("adwebsocket-groups-async", "adwebsocket-groups-ignored"),
        [Ratio("adwebsocket-groups-ignored", "adwebsocket-groups-async", 1.2, at_most=True)],
        P99,
        flags=('ignored   one member more, which takes nothing and stays (slow="drop_oldest")',),
        is_crowded=True,
    ),
}
SOAK = "soak"
NAMES = (*PARTS, SOAK)

DEFAULTS = {
    "members": 1000,
    "crowd": 10_000,
    "rounds": 3,
    "seconds": 3.0,
    "warmup": 1.0,
    "minutes": 30.0,
}
SHORT = {
    "members": 50,
    "crowd": 200,
    "rounds": 1,
    "seconds": 0.2,
    "warmup": 0.1,
    "minutes": 1 / 40,
}


def main(words: Sequence[str] | None = None) -> int:
    options = parse_options(words)
    exit_on_sigterm()
    if options.json:
        options.json.mkdir(parents=True, exist_ok=True)
    status = 0
    for name in options.only:
        try:
            status |= measure(name, options)
        except BenchmarkError as error:
            complain(f"error: {error}")
            status = 1
        say("")
    return status


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.groups", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--members", type=int, help="members of the group (1000)")
    parser.add_argument("--crowd", type=int, help="members beside one that never reads (10000)")
    parser.add_argument("--size", type=int, default=64, help="bytes of a message (64)")
    parser.add_argument("--rounds", type=int, help="measurements of each server (3)")
    parser.add_argument("--seconds", type=float, help="length of each measurement (3)")
    parser.add_argument("--warmup", type=float, help="seconds before each measurement (1)")
    parser.add_argument("--minutes", type=float, help="length of the soak (30)")
    parser.add_argument(
        "--only", nargs="+", choices=NAMES, default=NAMES, help="parts to run (all)"
    )
    servers = dict.fromkeys(server for part in PARTS.values() for server in part.servers)
    parser.add_argument(
        "--servers", nargs="+", choices=servers, metavar="NAME", help=" ".join(servers)
    )
    parser.add_argument("--short", action="store_true", help="as little as will do, for CI")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FOLDER",
        help="also write every figure, a file for each part",
    )
    options = parser.parse_args(words)
    fill_in(options, SHORT if options.short else DEFAULTS)
    return options


def measure(name: str, options: argparse.Namespace) -> int:
    """Measure one part; return the exit code."""
    if name == SOAK:
        return measure_soak(options)
    part = PARTS[name]
    servers = [server for server in part.servers if is_chosen(server, options)]
    if not servers:
        say(f"{name}: no server of this part was chosen")
        return 0
    core = Cores.choose().client if part.pinned else None
    with redis_for(core) if part.over_redis.intersection(servers) else nullcontext() as redis:
        if redis is None:
            servers = [server for server in servers if server not in part.over_redis]
        return compare(name, part, servers, redis, options) if servers else 0


def compare(
    name: str,
    part: Part,
    servers: Sequence[str],
    redis: RedisServer | None,
    options: argparse.Namespace,
) -> int:
    """Put the load of a part on these servers; return the exit code."""
    members = options.crowd if part.is_crowded else options.members
    load = Load(
        members,
        options.size,
        warmup=options.warmup,
        seconds=options.seconds,
        mode="fan",
        window=part.window,
    )
    under_way = "one message" if part.window == 1 else f"{part.window} messages"
    flags = (
        f"load      {members:,} members, {options.size} byte text messages, one publisher; closed "
        f"loop, {under_way} under way; each member must get each message, in order",
        *part.flags,
        *([describe_redis(redis, Cores.choose() if part.pinned else None)] if redis else []),
        *describe_rounds(
            options, f"{options.seconds:g} s after {options.warmup:g} s warm-up", part.processes
        ),
    )
    benchmark = Benchmark(
        f"groups-{name}",
        part.figure,
        (Trial(part.title, f"{part.title}, {members:,} members", load, servers, part.ratios),),
        flags,
        pinned=part.pinned,
        beside=() if part.figure is P99 else (P99,),
    )
    file = options.json / f"groups-{name}.json" if options.json else None
    return run_benchmark(
        benchmark, argparse.Namespace(only=servers, rounds=options.rounds, json=file)
    )


def is_chosen(name: str, options: argparse.Namespace) -> bool:
    if options.servers:
        return name in options.servers
    return not (options.short and name in LEFT_OUT_OF_SHORT)


@contextmanager
def redis_for(core: int | None) -> Iterator[RedisServer | None]:
    """Run a Redis for the length of a block, and tell the servers where it is.

    Without Redis it gives None; that fails CI.
    """
    try:
        redis = RedisServer(core)
    except BenchmarkError as error:
        if os.environ.get("CI"):
            raise
        complain(f"skipped: Redis: {error}")
        yield None
        return
    with redis:
        os.environ["BENCHMARK_REDIS"] = redis.url
        yield redis


def describe_redis(redis: RedisServer, cores: Cores | None) -> str:
    is_pinned = cores is not None and cores.client is not None
    where = "on the core of the clients" if is_pinned else "not pinned"
    return f"redis     {redis.version}, keeps nothing on disk, {where}"


def measure_soak(options: argparse.Namespace) -> int:
    """Let members join and leave for long, and restart Redis meanwhile; return the exit code."""
    cores = Cores.choose()
    with redis_for(cores.client) as redis:
        if redis is None:
            return 0
        file = options.json / "groups-soak.json" if options.json else None
        return run_soak(make_plan(options.minutes, short=options.short), redis, cores, file)


if __name__ == "__main__":
    sys.exit(main())
