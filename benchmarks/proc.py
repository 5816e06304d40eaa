"""What Linux tells about memory, processes and sockets, all of it from ``/proc``.

The benchmarks of memory ask it. It must not know what the processes do, nor print.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import BenchmarkError

SETTLING_SECONDS = 0.3
LISTENING = "0A"


@dataclass(frozen=True, slots=True)
class KernelMemory:
    """Memory of the kernel, in bytes and for the whole machine.

    ``slab`` has sockets, files and the descriptions of threads; ``stacks`` are those that each
    thread has inside the kernel; ``page_tables`` grow with the address space that is in use.
    """

    slab: int
    stacks: int
    page_tables: int

    @classmethod
    def read(cls) -> "KernelMemory":
        path = Path("/proc/meminfo")
        return cls(*(read_kilobytes(path, name) for name in ("Slab", "KernelStack", "PageTables")))

    def __sub__(self, before: "KernelMemory") -> "KernelMemory":
        return KernelMemory(
            self.slab - before.slab,
            self.stacks - before.stacks,
            self.page_tables - before.page_tables,
        )

    @property
    def total(self) -> int:
        return self.slab + self.stacks + self.page_tables


def user_memory(pid: int) -> int:
    """Return the bytes that are this process's own: not shared, and in no file."""
    return read_kilobytes(Path(f"/proc/{pid}/status"), "RssAnon")


def settled_user_memory(pids: Sequence[int]) -> int:
    """Return the processes' own memory in bytes, when it has stopped changing."""
    before = -1
    for _ in range(20):
        memory = sum(map(user_memory, pids))
        if memory == before:
            break
        before = memory
        time.sleep(SETTLING_SECONDS)
    return memory


def proportional_memory(pid: int) -> int:
    """Return the memory of a process in bytes, and its part of what it shares with others."""
    return read_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def available_memory() -> int:
    """Return the bytes that new programs could have without anything being swapped."""
    return read_kilobytes(Path("/proc/meminfo"), "MemAvailable")


def read_kilobytes(path: Path, name: str) -> int:
    """Return in bytes what a line such as ``Slab:  1234 kB`` says."""
    try:
        for line in path.read_text().splitlines():
            label, _, value = line.partition(":")
            if label == name:
                return int(value.split()[0]) * 1024
    except OSError as error:
        raise BenchmarkError(f"the memory cannot be read: {error}") from error
    raise BenchmarkError(f"{path} has no line {name}: memory can be measured on Linux only")


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def count_threads(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


def count_sockets(pid: int) -> int:
    """Count the sockets that a process has open."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        # Closed meanwhile, where there is none.
        with suppress(OSError):
            count += str(entry.readlink()).startswith("socket:")
    return count


def count_listeners(port: int) -> int:
    """Count the sockets that listen on this port, over IPv4."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ending = f":{port:04X}"
    return sum(
        address.endswith(ending) and state == LISTENING
        for _, address, _, state, *_ in map(str.split, lines)
    )
