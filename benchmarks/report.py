"""What a benchmark prints around its figures: the machine, the versions, what is skipped, tables.

Every benchmark calls it, so that a number never stands without where it was measured.
It must not know what is measured, nor name the machine: what identifies one stays out of it.
"""

import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import BenchmarkError, original
from benchmarks.catalogue import Server
from benchmarks.harness import Cores, missing_modules

PACKAGES = (
    *("adwebsocket", "greenlet", "Django", "asgiref", "channels", "daphne", "uvicorn", "uvloop"),
    *("httptools", "websockets", "granian", "picows", "aiofastnet", "psycopg"),
    *("redis", "channels-redis"),
)


def choose_servers(servers: Mapping[str, Server], only: Sequence[str] | None) -> list[Server]:
    """Return the servers to measure; one that is not installed is skipped aloud, and fails CI."""
    chosen = []
    for name in only or servers:
        try:
            _prepare(servers[name])
        except BenchmarkError as error:
            # No distribution has a Python as old as the original needs: CI may be without it.
            if os.environ.get("CI") and not isinstance(error, original.NoInterpreterError):
                raise BenchmarkError(f"{name}: {error}") from error
            complain(f"skipped: {name}: {error}")
        else:
            chosen.append(servers[name])
    if not chosen:
        raise BenchmarkError("there is no server to measure")
    return chosen


def _prepare(server: Server) -> None:
    if missing := missing_modules(server):
        raise BenchmarkError(f"{', '.join(missing)} must be installed (pip install -e .[bench])")
    if server.original:
        original.make_environment()


def describe_machine(cores: Cores | None, servers: Sequence[Server] = ()) -> list[str]:
    """Return lines that say where and with what this run measures.

    ``cores`` is None for a benchmark that has all of them at work. ``servers`` are those that take
    part; the original's versions are told where it is one.
    """
    with_original = any(server.original for server in servers)
    return [
        f"machine   {processor()}, {os.cpu_count()} cores, {memory()}",
        f"system    {platform.system()} {platform.release().partition('-')[0]}",
        f"python    {platform.python_implementation()} {platform.python_version()}",
        f"packages  {', '.join(package_versions())}",
        *([f"original  {original.describe_environment()}"] if with_original else []),
        *([] if cores is None else [f"pinning   {describe_pinning(cores)}"]),
    ]


def describe_pinning(cores: Cores) -> str:
    if cores.server is None:
        return "NONE: fewer than two cores here; server and clients disturb each other"
    return f"servers on core {cores.server}, clients on core {cores.client}"


def processor() -> str:
    """Return the model name of the processor as the kernel gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def memory() -> str:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{size / 2**30:.0f} GB"


def package_versions() -> list[str]:
    """Return "name version" of every package that takes part and is installed."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return aligned columns: the first one to the left, figures to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def say(*lines: str) -> None:
    """Print at once, also into a pipe, so that a long run can be followed."""
    print(*lines, sep="\n", flush=True)


def complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
