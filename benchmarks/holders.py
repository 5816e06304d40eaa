"""Client processes that together hold more connections than one process may open.

``benchmarks.capacity`` starts them; the program is ``benchmarks/load/hold.c``. It must not know how
the server is made, nor what is measured while the connections stand.
"""

import json
import selectors
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO

from benchmarks import BenchmarkError
from benchmarks.catalogue import HOST
from benchmarks.generator import compile_generator
from benchmarks.kernel_limits import Plan

# In all processes together, and below the backlog of a server.
HANDSHAKES_AT_ONCE = 512
PROGRESS_SECONDS = 5.0


@dataclass(eq=False, slots=True)
class Holder:
    """One client process and what it has told."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    counts: Counter[str] = field(default_factory=Counter)
    unread: bytes = b""

    def read(self) -> None:
        """Take in what the process has told; raise where it has ended."""
        assert self.process.stdout is not None
        data = self.process.stdout.read1()  # type: ignore[attr-defined]
        if not data:
            self.process.wait()
            raise BenchmarkError(self.last_words())
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            self.counts.update(
                {name: count - self.counts[name] for name, count in json.loads(line).items()}
            )

    def last_words(self) -> str:
        self.errors.seek(0)
        words = self.errors.read().decode(errors="replace").strip()
        return words or f"a client process ended with exit code {self.process.returncode}"


class Holders:
    """All client processes; made by ``run_holders``, which also ends them.

    ``guard`` is called about once a second and raises where things must not go on.
    """

    def __init__(self, holders: list[Holder], total: int, guard: Callable[[], None]) -> None:
        self._holders = holders
        self._total = total
        self._guard = guard

    def wait_until_open(self, progress: Callable[[int], None]) -> float:
        """Return the seconds until all connections are open, since this was called."""
        return self._wait_for("open", progress)

    def echo(self, progress: Callable[[int], None]) -> float:
        """Let each connection send a message, and return the seconds until all have their echo."""
        for holder in self._holders:
            holder.counts["echoes"] = 0
            assert holder.process.stdin is not None
            holder.process.stdin.write(b"\n")
            holder.process.stdin.flush()
        return self._wait_for("echoes", progress)

    def hold(self, seconds: float) -> None:
        """Wait, and raise where a connection is lost meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._read(min(left, 1.0))

    def _wait_for(self, what: str, progress: Callable[[int], None]) -> float:
        start = shown = time.monotonic()
        while (count := sum(holder.counts[what] for holder in self._holders)) < self._total:
            self._read(1.0)
            if time.monotonic() > shown + PROGRESS_SECONDS:
                shown = time.monotonic()
                progress(count)
        return time.monotonic() - start

    def _read(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            for holder in self._holders:
                assert holder.process.stdout is not None
                selector.register(holder.process.stdout, selectors.EVENT_READ, holder)
            for key, _ in selector.select(seconds):
                key.data.read()
        self._guard()


@contextmanager
def run_holders(plan: Plan, port: int, path: str, guard: Callable[[], None]) -> Iterator[Holders]:
    """Start the client processes, which begin to connect at once, and end them afterwards."""
    program = str(compile_generator("hold.c"))
    with ExitStack() as stack:
        holders = []
        for first, count in plan.shares():
            errors = stack.enter_context(tempfile.TemporaryFile())
            command = [
                *(program, "--host", HOST, "--port", str(port), "--path", path),
                *("--first", str(first), "--connections", str(count)),
                *("--sources", str(plan.sources)),
                *("--at-once", str(max(HANDSHAKES_AT_ONCE // plan.clients, 1))),
            ]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            holders.append(Holder(process, errors))
        yield Holders(holders, plan.connections, guard)
