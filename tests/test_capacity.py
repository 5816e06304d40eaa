"""The capacity benchmark: it holds what it says, and tells which limits are in its way."""

from __future__ import annotations

import json
import resource
from typing import TYPE_CHECKING

import pytest

from benchmarks import BenchmarkError
from benchmarks.generator import compile_generator
from benchmarks.kernel_limits import Plan, files_of_worker, find_low_limits
from tests.components import skip_or_fail
from tests.processes import run
from tests.test_benchmarks import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ["--connections", "40", "--workers", "2", "--hold", "0.1", "--deadline", "25"]


def plan(connections: int, workers: int, *, threaded: bool = False) -> Plan:
    return Plan(connections, workers, clients=1, threaded=threaded)


@pytest.fixture
def generator() -> None:
    """Leave the test out where the clients cannot be compiled."""
    try:
        compile_generator("hold.c")
    except BenchmarkError as error:
        skip_or_fail(str(error))


@pytest.mark.usefixtures("generator")
class TestBenchmark:
    @pytest.mark.parametrize("runner", ["thread", "greenlet", "async"])
    def test_every_connection_of_every_worker_echoes(self, runner: str, tmp_path: Path) -> None:
        figures = tmp_path / "figures.json"

        result = run(
            ["-m", "benchmarks.capacity", *SMALL, "--runner", runner, "--json", str(figures)],
            cwd=CHECKOUT,
        )

        assert result.returncode == 0, result.stdout
        measured = json.loads(figures.read_text())
        assert measured["connections"] == 40
        assert len(measured["connections_per_worker"]) == 2
        assert sum(measured["connections_per_worker"]) == 40

    def test_deadline_ends_it_with_an_error(self) -> None:
        result = run(
            [
                *("-m", "benchmarks.capacity", *SMALL, "--runner", "async"),
                *("--hold", "20", "--deadline", "1"),
            ],
            cwd=CHECKOUT,
        )

        assert result.returncode == 1
        assert "not done within 1 s" in result.stdout


class TestLimits:
    def test_few_connections_are_no_trouble(self) -> None:
        assert find_low_limits(plan(10, 2)) == []

    def test_files_of_too_few_workers_are_counted_with_what_the_kernel_spreads_unevenly(
        self,
    ) -> None:
        assert files_of_worker(plan(150_000, 8)) > 20_000
        assert files_of_worker(plan(150_000, 9)) < 20_000

    def test_sentence_tells_what_is_needed(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1000), hard))
        try:
            sentences = find_low_limits(plan(5000, 2))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert any("a client needs 5200: ulimit -n 5200" in sentence for sentence in sentences), (
            sentences
        )

    def test_threads_need_more_of_the_kernel(self) -> None:
        sentences = find_low_limits(plan(2**23, 2**10, threaded=True))

        assert any("sysctl -w kernel.pid_max=" in sentence for sentence in sentences), sentences
