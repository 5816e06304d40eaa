"""Runs the Autobahn testsuite as a client of our runner, one server process for each agent.

The command calls it. The suite is a program for Python 2.7 in an environment of its own; what it
finds is left in a directory, as JSON and as pages to look at, and read by ``results``.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.processes import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

ROOT = Path(__file__).parents[2]
WSTEST = ROOT / ".venv-autobahn" / "bin" / "wstest"
REPORTS = ROOT / "build" / "conformance"
# The longest case gives itself 480 seconds.
SILENCE = 600.0

# All of them but those about compression, which are the long ones.
QUICK_CASES = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*")


@dataclass(frozen=True)
class Agent:
    """One way through the library, which the suite sees as a server of its own.

    Attributes:
        name: how the command line and the files call it.
        title: how people call it.
        path: where the project serves it.
        excluded: patterns of cases that have nothing to say about it.
        env: environment variables of its server.
    """

    name: str
    title: str
    path: str
    excluded: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Where its reports are."""
        return REPORTS / self.name


AGENTS = (
    Agent("sync", "sync view", "/sync"),
    Agent("async", "async view", "/async"),
    Agent("plain", "plain ASGI", "/plain"),
    # Messages then build on those before, so they are compressed in another place.
    Agent(
        "takeover",
        "sync view, context takeover",
        "/sync",
        QUICK_CASES,
        {"CONTEXT_TAKEOVER": "1"},
    ),
)


@dataclass
class Run:
    """What the suite said about its work on one agent.

    Attributes:
        cases: the cases that it was to run, None before it has said.
        version: its own version and that of the library it is built on.
        errors: what the server logged as an error.
    """

    cases: list[str] | None = None
    version: str = ""
    errors: list[str] = field(default_factory=list)


def run_agent(agent: Agent, cases: Sequence[str], report: Callable[[str], None]) -> Run:
    """Serve the project and run the suite against one agent of it.

    Arguments:
        agent: whom to test.
        cases: the cases to run, as patterns like ``"6.*"``.
        report: is told each case when it begins.

    Raises:
        RuntimeError: the suite did not come to its end.
    """
    shutil.rmtree(agent.directory, ignore_errors=True)
    agent.directory.mkdir(parents=True)
    command = ["-m", "adwebsocket", "tests.conformance.project:application"]
    command += ["--port", "{port}", "--no-access-log"]
    with serve(command, cwd=ROOT, env=agent.env) as server:
        specification = write_specification(agent, cases, server.url("ws", agent.path))
        run = Run()
        with contextlib.closing(run_suite(specification)) as lines:
            for line in lines:
                read_line(line, run, report)
                if run.cases == []:
                    break  # with nothing to do the suite waits for ever
        output = server.output()
    (agent.directory / "server.log").write_text(output)
    run.errors = [line for line in output.splitlines() if re.search("ERROR|Traceback", line)]
    return run


def write_specification(agent: Agent, cases: Sequence[str], url: str) -> Path:
    """Write down for the suite what to test, and give the file."""
    file = agent.directory / "specification.json"
    specification = {
        "outdir": str(agent.directory),
        "servers": [{"agent": agent.name, "url": url}],
        "cases": list(cases),
        "exclude-cases": list(agent.excluded),
    }
    file.write_text(json.dumps(specification))
    return file


def run_suite(specification: Path) -> Generator[str, None, None]:
    """Run the suite to its end, and give the lines that it prints meanwhile."""
    process = subprocess.Popen(
        [WSTEST, "--mode", "fuzzingclient", "--spec", specification],
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    try:
        said = []
        while line := read_within(SILENCE, process):
            said.append(line)
            yield line
        if process.wait() or not (specification.parent / "index.json").exists():
            raise RuntimeError("the testsuite failed:\n" + "".join(said[-20:]))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def read_within(seconds: float, process: subprocess.Popen[str]) -> str:
    """Read a line of its output, and end a process that is silent for longer than that."""
    assert process.stdout is not None
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


def read_line(line: str, run: Run, report: Callable[[str], None]) -> None:
    """Take what a line of the suite tells."""
    if line.startswith("Cases = "):
        run.cases = ast.literal_eval(line.removeprefix("Cases = "))
    elif found := re.search(r"Testsuite Version (\S+) / Autobahn Version (\S+)\)", line):
        run.version = f"autobahntestsuite {found[1]}, autobahn {found[2]}"
    elif found := re.match(r"Running test case ID (\S+)", line):
        report(found[1])
