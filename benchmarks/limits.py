"""What the kernel allows a process to have, asked before a benchmark finds out the hard way.

It must not raise anything: that is the administrator's to do, who is told what to set.
"""

import os
import resource
from pathlib import Path

from benchmarks import BenchmarkError

# Of the system and of the benchmark itself, besides one for each connection.
SPARE_THREADS = 500
# A stack and the page that guards it.
MAPPINGS_OF_A_THREAD = 2
SPARE_MAPPINGS = 2000


def check_threads(count: int) -> None:
    """Raise ``BenchmarkError``, with what to set, where a process may not have so many threads."""
    needed = count + SPARE_THREADS
    limits = {
        "kernel.pid_max": (_read("kernel/pid_max"), needed + _tasks()),
        "kernel.threads-max": (_read("kernel/threads-max"), needed + _tasks()),
        "vm.max_map_count": (
            _read("vm/max_map_count"),
            count * MAPPINGS_OF_A_THREAD + SPARE_MAPPINGS,
        ),
    }
    for name, (limit, least) in limits.items():
        if limit is not None and limit < least:
            raise BenchmarkError(
                f"{count} threads need {name} to be at least {least}, but it is {limit} "
                f"(sysctl -w {name}={least}); or ask for fewer --connections"
            )
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    # For root it does not hold.
    if os.geteuid() and soft != resource.RLIM_INFINITY and soft < needed + _tasks():
        raise BenchmarkError(
            f"{count} threads need a limit of {needed + _tasks()} tasks of this user, but it is "
            f"{soft} (ulimit -u); or ask for fewer --connections"
        )


def _read(name: str) -> int | None:
    try:
        return int(Path("/proc/sys", name).read_text())
    except OSError:
        return None


def _tasks() -> int:
    """Return how many threads and processes there are now."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except OSError:
        return 0
