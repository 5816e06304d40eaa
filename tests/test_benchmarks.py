"""The benchmarks start: each is there, finds its parts and says what it measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import run

CHECKOUT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["echo", "hostile", "legacy", "memory"])
def test_benchmark_tells_its_options(name: str) -> None:
    result = run(["-m", f"benchmarks.{name}", "--help"], cwd=CHECKOUT)

    assert result.returncode == 0, result.stdout
    assert f"python -m benchmarks.{name}" in result.stdout
    assert "--short" in result.stdout
