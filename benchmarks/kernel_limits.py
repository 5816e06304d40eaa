"""Which limits of the kernel are too low for so many connections, and what to set them to.

``benchmarks.capacity`` asks before it starts anything, and prints what is said. It must not raise a
limit: that is the decision of whoever owns the machine.
"""

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, sqrt
from pathlib import Path

# Besides connections: the interpreter's, the log, listening sockets, pipes, event loops.
SPARE_FILES = 200
# adwebsocket stops accepting when fewer files than this share are left to a process.
RESERVED_FILES = 1 / 20
# The kernel chooses a worker by a hash of the addresses. So many standard deviations above the mean
# has the fullest of a dozen workers in one of a hundred runs.
DEVIATIONS = 3
THREADS_OF_SYSTEM = 2000
# Of 28,000 ports; the kernel takes long to find one where few are free.
CONNECTIONS_OF_SOURCE = 10_000
# A stack and the page that guards it.
MAPS_OF_THREAD = 2
SPARE_MAPS = 2000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to run: ``threaded`` is True where each connection has a thread."""

    connections: int
    workers: int
    clients: int
    threaded: bool

    @property
    def sources(self) -> int:
        """The addresses that connections come from, for one has not ports for all of them."""
        return ceil(self.connections / CONNECTIONS_OF_SOURCE)

    def shares(self) -> list[tuple[int, int]]:
        """Return the first number of each client process, and how many it has."""
        firsts = [self.connections * n // self.clients for n in range(self.clients + 1)]
        return [(first, end - first) for first, end in pairwise(firsts)]

    @property
    def most_per_worker(self) -> int:
        """The connections that the fullest worker will have, hardly ever more."""
        share = 1 / self.workers
        deviation = sqrt(self.connections * share * (1 - share))
        return min(self.connections, ceil(self.connections * share + DEVIATIONS * deviation))

    @property
    def most_per_client(self) -> int:
        return ceil(self.connections / self.clients)


def find_low_limits(plan: Plan) -> list[str]:
    """Return a sentence for each limit that is too low, with what raises it."""
    return [*_low_file_limits(plan), *_low_kernel_settings(plan), *_low_cgroup_limits(plan)]


def files_of_worker(plan: Plan) -> int:
    """Return how many files a server process must be allowed to open."""
    return ceil((plan.most_per_worker + SPARE_FILES) / (1 - RESERVED_FILES))


def files_of_client(plan: Plan) -> int:
    """Return how many files a client process must be allowed to open."""
    return plan.most_per_client + SPARE_FILES


def _low_file_limits(plan: Plan) -> Iterator[str]:
    # The soft limit is what an ordinary server gets: it is not for a benchmark to raise.
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    if soft < (needed := files_of_worker(plan)):
        yield (
            f"a process may open {soft} files, each of {plan.workers} workers needs {needed}: "
            f"ulimit -n {needed}, or more workers (--workers)"
        )
    if soft < (needed := files_of_client(plan)):
        yield f"a process may open {soft} files, a client needs {needed}: ulimit -n {needed}"


def _low_kernel_settings(plan: Plan) -> Iterator[str]:
    threads = (plan.connections if plan.threaded else 0) + THREADS_OF_SYSTEM
    needed = {
        "fs.file-max": 2 * plan.connections + 10_000,
        "kernel.pid_max": threads,
        "kernel.threads-max": threads,
        "net.core.somaxconn": 1024,
    }
    if plan.threaded:
        needed["vm.max_map_count"] = plan.most_per_worker * MAPS_OF_THREAD + SPARE_MAPS
    for name, least in needed.items():
        value = _read_setting(name)
        if value and value[0] < least:
            yield f"{name} is {value[0]}: sysctl -w {name}={least}"
    ports = _read_setting("net.ipv4.ip_local_port_range")
    least = ceil(plan.connections / plan.sources) * 5 // 4
    if ports and ports[1] - ports[0] < least:
        yield (
            f"net.ipv4.ip_local_port_range has {ports[1] - ports[0]} ports, {least} are needed: "
            f'sysctl -w net.ipv4.ip_local_port_range="{60_999 - least} 60999"'
        )


def _read_setting(name: str) -> list[int]:
    try:
        return [int(word) for word in Path("/proc/sys", *name.split(".")).read_text().split()]
    except OSError:  # not in this kernel
        return []


def _low_cgroup_limits(plan: Plan) -> Iterator[str]:
    needed = (plan.connections if plan.threaded else 0) + THREADS_OF_SYSTEM
    for path in _cgroup_files("pids.max"):
        try:
            word = path.read_text().strip()
        except OSError:
            continue
        if word != "max" and int(word) < needed:
            yield f"{path} is {word}: echo {needed} > {path} (systemd: TasksMax={needed})"


def _cgroup_files(name: str) -> Iterator[Path]:
    """Name this file in the control group of this process and in those above it."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers not in ("", "pids"):
            continue
        root = Path("/sys/fs/cgroup", controllers)
        below = Path(group.lstrip("/"))
        for directory in (below, *below.parents):
            if (root / directory / name).exists():
                yield root / directory / name
