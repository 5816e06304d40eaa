"""Members come and go for long while Redis is restarted: is anything lost, does memory grow?

``python -m benchmarks.groups --only soak`` runs it. Two servers share a group with a history; the
publisher is on one of them, and numbers its messages. It fails for a message that is lost without a
word or comes twice, never for the memory. It must not know how clients and ledgers work.
"""

import asyncio
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import BenchmarkError
from benchmarks.catalogue import HOST, SERVERS
from benchmarks.generator import Load
from benchmarks.groups_members import Crowd
from benchmarks.harness import Cores, RunningServer, pinned, run_server
from benchmarks.proc import settled_user_memory, user_memory
from benchmarks.redis_server import RedisServer
from benchmarks.report import choose_servers, complain, describe_machine, format_table, say

MEGABYTE = 2**20
PATIENCE = 30.0
EXPECTED_GROWTH = 1.05
# Of their statistics: what there must be none of when everybody has gone.
LEFT_BEHIND = ("groups", "members", "waiting")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the soak does.

    ``warmup`` is the time in seconds that a first crowd is there, after which memory is read for
    the first time; then it goes on for ``seconds``, in which Redis is restarted ``restarts`` times
    and away for ``away`` each time.
    """

    seconds: float
    warmup: float
    members: int
    stay: float
    rate: float
    away: float
    restarts: int


def make_plan(minutes: float, *, short: bool) -> Plan:
    seconds = minutes * 60
    if short:
        return Plan(seconds, 0.5, members=20, stay=0.4, rate=100, away=0.2, restarts=1)
    warmup, away = min(60, seconds / 3), min(3, seconds / 10)
    return Plan(seconds, warmup, members=200, stay=5, rate=20, away=away, restarts=2)


def run_soak(plan: Plan, redis: RedisServer, cores: Cores, file: Path | None) -> int:
    """Run it, print what came out, and write it to a file; return the exit code."""
    environment = [*describe_machine(cores), *describe_plan(plan, redis)]
    say(*environment, "")
    [server] = choose_servers(SERVERS, ["adwebsocket-groups-soak"])
    with ExitStack() as stack:
        servers = [stack.enter_context(run_server(server, Load(), cores)) for _ in range(2)]
        soak = Soak(plan, redis, servers)
        with pinned(cores.client):
            asyncio.run(soak.run())
        counted = soak.read_counts()
    rows = soak.describe(counted)
    say(format_table(HEAD, rows))
    if file:
        page = [list(HEAD), rows]
        written = {"benchmark": "groups-soak", "environment": environment, "trials": []}
        file.write_text(json.dumps({**written, "tables": [page]}, indent=1) + "\n")
    return soak.judge()


HEAD = ("soak", "measured", "expected")


def describe_plan(plan: Plan, redis: RedisServer) -> list[str]:
    return [
        f"load      {plan.members} members on 2 servers, each in the group for {plan.stay:g} s on "
        "average; they close, vanish or leave, and come back, half of them for what they missed; "
        "each is in a group of its own as well",
        f"messages  {plan.rate:g} a second, numbered, from one of the servers; history of 1000",
        f"redis     {redis.version}, keeps nothing on disk; restarts: {plan.restarts}, "
        f"away for {plan.away:g} s each time",
        f"time      {plan.seconds:g} s after {plan.warmup:g} s with a crowd of the same size; then "
        "memory is read for the first time (RssAnon, both servers, nobody there)",
    ]


class Soak:
    """A soak under way, and what is known of it."""

    def __init__(self, plan: Plan, redis: RedisServer, servers: Sequence[RunningServer]) -> None:
        self._plan = plan
        self._redis = redis
        self._servers = servers
        ports = [server.port for server in servers]
        self._crowd = Crowd(ports, plan.members, plan.stay, plan.rate)
        self._memory: list[float] = []

    async def run(self) -> None:
        """Do all of it.

        Raises:
            BenchmarkError: a server died, or members cannot come back.
        """
        try:
            await self._read_memory()
            await self._crowd.run(self._plan.warmup, PATIENCE)
            await self._read_memory()
            await self._run_with_trouble()
            await self._read_memory()
        finally:
            for server in self._servers:
                server.check_alive()
                if "Traceback" in server.output():
                    raise server.error("wrote a traceback")

    async def _run_with_trouble(self) -> None:
        trouble = asyncio.create_task(self._make_trouble())
        try:
            await self._crowd.run(self._plan.seconds, PATIENCE)
        finally:
            trouble.cancel()
            [result] = await asyncio.gather(trouble, return_exceptions=True)
            if isinstance(result, Exception):
                raise BenchmarkError(f"Redis could not be restarted: {result}") from result

    async def _read_memory(self) -> None:
        size = await asyncio.to_thread(settled_user_memory, self._pids())
        self._memory.append(size / MEGABYTE)

    def _pids(self) -> list[int]:
        return [pid for server in self._servers for pid in server.pids]

    async def _make_trouble(self) -> None:
        """Restart Redis after one and, where that is wanted, two thirds of the time."""
        for _ in range(self._plan.restarts):
            await asyncio.sleep(self._plan.seconds / 3)
            self._tell("Redis goes away")
            await asyncio.to_thread(self._redis.stop)
            await asyncio.sleep(self._plan.away)
            await asyncio.to_thread(self._redis.start)
            self._tell("Redis is back")

    def _tell(self, what: str) -> None:
        members = self._crowd.members
        say(
            f"{time.strftime('%H:%M:%S')} {what}; {self._crowd.published.newest} messages, "
            f"{sum(each.joins for each in members)} joins, {self.count_lost()} messages lost, "
            f"{sum(map(user_memory, self._pids())) / MEGABYTE:.1f} MB"
        )

    def count_lost(self) -> int:
        """Count the messages that members lack without knowing it."""
        return sum(each.ledger.count_lost() for each in self._crowd.members)

    def read_counts(self) -> Counter[str]:
        """Ask the servers what they have counted."""
        total: Counter[str] = Counter()
        for server in self._servers:
            try:
                url = f"http://{HOST}:{server.port}/counts"
                with urllib.request.urlopen(url, timeout=PATIENCE) as page:
                    counts: dict[str, Any] = json.loads(page.read())
            except OSError as error:
                raise server.error(f"does not tell what it counted: {error}") from error
            for name, value in counts.items():
                by_reason = value if isinstance(value, dict) else {"": value}
                total.update({f"{name} {why}".strip(): n for why, n in by_reason.items()})
        return total

    def describe(self, counted: Counter[str]) -> list[list[str]]:
        """Return the rows of the table."""
        members = self._crowd.members
        ledgers = [member.ledger for member in members]
        failures = sum((member.failures for member in members), Counter[str]())
        fresh, start, end = self._memory
        published = self._crowd.published
        figures: list[tuple[str, str, str]] = [
            ("messages published", f"{published.newest:,}", ""),
            ("not confirmed to the publisher", f"{len(published.refused):,}", ""),
            ("messages that members got", f"{sum(each.received for each in ledgers):,}", ""),
            ("joins", f"{sum(member.joins for member in members):,}", ""),
            *((f"cut or not let in: {why}", f"{n:,}", "") for why, n in failures.items()),
            (
                "times that a member was told of a gap",
                f"{sum(each.gaps for each in ledgers):,}",
                "",
            ),
            ("messages in these gaps", f"{sum(each.count_told() for each in ledgers):,}", ""),
            ("messages lost without a word", f"{self.count_lost():,}", "0"),
            ("messages twice or out of order", f"{sum(one.repeated for one in ledgers):,}", "0"),
            ("memory before anybody came, MB", f"{fresh:.1f}", ""),
            ("memory after the first crowd, MB", f"{start:.1f}", ""),
            ("memory at the end, MB", f"{end:.1f}", f"at most {start * EXPECTED_GROWTH:.1f}"),
            *(
                (f"stats of the servers: {name}", f"{n:,}", "0" if name in LEFT_BEHIND else "")
                for name, n in counted.items()
            ),
        ]
        return [list(row) for row in figures]

    def judge(self) -> int:
        """Return the exit code."""
        wrong = self.count_lost() + sum(each.ledger.repeated for each in self._crowd.members)
        if wrong:
            complain(f"error: {wrong} messages were lost without a word, or came twice")
        return 1 if wrong else 0
