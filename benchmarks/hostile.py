"""Latency under siege: well-behaved clients beside a crowd of hostile peers, on one server.

``python -m benchmarks.hostile`` runs it by hand; it fails for a wrong echo, a lost connection or a
dead server, never for a slow one. The peers are in ``benchmarks/besiegers.py``: handshakes that
never end, half-open connections, clients that never read while views send to them, 10,000 pings in
one go, and a storm of clients that come and go.
"""

import argparse
import json
import selectors
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import BenchmarkError
from benchmarks.besiegers import frame, handshake
from benchmarks.catalogue import HOST, Server
from benchmarks.generator import Load
from benchmarks.harness import ROOT, Cores, RunningServer, exit_on_sigterm, pinned, run_server
from benchmarks.report import complain, describe_machine, format_table, say

EXPECTED_MILLISECONDS = 50.0
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Phase:
    """What the well-behaved clients met for a time: seconds from each message to its echo."""

    name: str
    latencies: list[float]

    def percentile(self, share: float) -> float:
        """Return the latency in milliseconds that so many of all were not above."""
        ranked = sorted(self.latencies)
        return ranked[min(int(len(ranked) * share), len(ranked) - 1)] * 1000


class Client:
    """A well-behaved client, which sends its next message some time after the last echo."""

    def __init__(self, port: int, colour: str, number: int) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(handshake(f"/{colour}/echo", port))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.socket.recv(1)
            if not byte:
                raise BenchmarkError(f"the server refused a well-behaved client: {head!r}")
            head += byte
        self.sent_at: float | None = None
        self.due_at = 0.0
        self._name = number
        self._count = 0
        self._expected = b""
        self._received = b""

    def send(self) -> None:
        self._count += 1
        message = b"client %d, message %d" % (self._name, self._count)
        self._expected = bytes((0x81, len(message))) + message
        self._received = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(frame(0x1, message))

    def receive(self) -> float | None:
        """Read what has come; return the latency when the echo is whole."""
        assert self.sent_at is not None
        self._received += self.socket.recv(4096)
        if self._received == self._expected:
            latency = time.perf_counter() - self.sent_at
            self.sent_at = None
            return latency
        if not self._received or not self._expected.startswith(self._received):
            raise BenchmarkError(f"expected {self._expected!r}, got {self._received!r}")
        return None


def main(words: Sequence[str] | None = None) -> int:
    options = parse_options(words)
    exit_on_sigterm()
    cores = Cores.choose()
    say(*describe_machine(cores), *describe_flags(options), "")
    try:
        measure(options, cores)
    except (BenchmarkError, OSError) as error:
        complain(f"error: {error}")
        return 1
    return 0


def parse_options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hostile", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument("--clients", type=int, default=10, help="well-behaved ones (10)")
    parser.add_argument("--size", type=int, default=100, help="hostile peers of each kind (100)")
    parser.add_argument("--interval", type=float, default=0.01, help="seconds from echo to message")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each phase (10)")
    parser.add_argument("--short", action="store_true", help="2 s for each phase, for CI")
    options = parser.parse_args(words)
    if options.short:
        options.seconds = 2.0
    return options


def describe_flags(options: argparse.Namespace) -> list[str]:
    return [
        f"clients   {options.clients} well-behaved, half of them of sync views; each sends "
        f"{options.interval * 1000:g} ms after the last echo; every echo verified",
        f"crowd     {options.size} of each kind, in a process of their own (nice 10)",
        "server    1 process; uvloop, httptools, no access log, default settings",
    ]


def command(port: int, load: Load) -> list[str]:
    application = "benchmarks.servers.besieged_project:application"
    return [
        *(sys.executable, "-m", "adwebsocket", application, "--host", HOST, "--port", str(port)),
        *("--log-level", "warning", "--no-access-log"),
    ]


def measure(options: argparse.Namespace, cores: Cores) -> None:
    server = Server("adwebsocket under siege", command, ("adwebsocket.asgi",))
    with run_server(server, Load(), cores) as running, pinned(cores.client):
        clients = [
            Client(running.port, ("sync", "async")[number % 2], number)
            for number in range(options.clients)
        ]
        talk(clients, "warm-up", 1.0, options.interval)
        phases = []
        # Twice: the first siege shows what a server keeps that has never seen one.
        megabytes = [("before any siege", megabytes_of(running))]
        for ordinal in ("first", "second"):
            phases.append(talk(clients, f"before the {ordinal}", options.seconds, options.interval))
            with crowd(running, options.size) as told:
                name = f"during the {ordinal} siege"
                phases.append(talk(clients, name, options.seconds, options.interval))
                megabytes.append((name, megabytes_of(running)))
            talk(clients, "afterwards", 2.0, options.interval)
            megabytes.append((f"after the {ordinal} siege", megabytes_of(running)))
            complain_of(told)
    say(format_phases(phases), "", format_memory(megabytes), "", describe_crowd(told))


@contextmanager
def crowd(running: RunningServer, size: int) -> Iterator[dict[str, dict[str, int] | list[str]]]:
    """Besiege the server for the length of a block; what the crowd tells is there behind it."""
    told: dict[str, dict[str, int] | list[str]] = {}
    words = ["-m", "benchmarks.besiegers", "--port", str(running.port), "--size", str(size)]
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "begun\n":
            raise BenchmarkError("the crowd could not begin its siege")
        yield told
        output, _ = process.communicate(timeout=PATIENCE)
        told.update(json.loads(output))
    finally:
        process.kill()
        process.wait()


def talk(clients: list[Client], name: str, seconds: float, interval: float) -> Phase:
    """Let all clients send and receive for a time, and return what they met."""
    latencies = []
    start = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for number, client in enumerate(clients):
            client.due_at = start + interval * number / len(clients)
            selector.register(client.socket, selectors.EVENT_READ, client)
        while True:
            now = time.perf_counter()
            waiting = [client for client in clients if client.sent_at is not None]
            idle = [client for client in clients if client.sent_at is None]
            if now - start >= seconds and not waiting:
                return Phase(name, latencies)
            if any(now - (client.sent_at or now) > PATIENCE for client in waiting):
                raise BenchmarkError(f"an echo did not come within {PATIENCE:g} s")
            if now - start < seconds:
                for client in idle:
                    if client.due_at <= now:
                        client.send()
            next_due = min((client.due_at for client in idle), default=now + 0.01)
            for key, _ in selector.select(max(min(next_due - now, 0.01), 0.0)):
                latency = key.data.receive()
                if latency is not None:
                    latencies.append(latency)
                    key.data.due_at = time.perf_counter() + interval


def megabytes_of(running: RunningServer) -> float:
    with urllib.request.urlopen(f"http://{HOST}:{running.port}/memory", timeout=PATIENCE) as page:
        return int(page.read()) / 1e6


def format_phases(phases: list[Phase]) -> str:
    head = ("phase", "echoes", "p50 ms", "p99 ms", "max ms", "expected p99")
    return format_table(
        head,
        [
            (
                phase.name,
                f"{len(phase.latencies):,}",
                f"{phase.percentile(0.5):.2f}",
                f"{phase.percentile(0.99):.2f}",
                f"{max(phase.latencies) * 1000:.2f}",
                f"< {EXPECTED_MILLISECONDS:g}",
            )
            for phase in phases
        ],
    )


def format_memory(megabytes: list[tuple[str, float]]) -> str:
    first = megabytes[0][1]
    return format_table(
        ("memory", "MB", "of the first"),
        [(name, f"{value:.1f}", f"{value / first:.0%}") for name, value in megabytes],
    )


def describe_crowd(told: dict[str, dict[str, int] | list[str]]) -> str:
    counts = told["counts"]
    assert isinstance(counts, dict)
    return "crowd of the second: " + ", ".join(
        f"{name} {count:,}" for name, count in counts.items()
    )


def complain_of(told: dict[str, dict[str, int] | list[str]]) -> None:
    for failure in sorted(set(told["failures"])):
        complain(f"note: the server turned a hostile peer away: {failure}")


if __name__ == "__main__":
    sys.exit(main())
