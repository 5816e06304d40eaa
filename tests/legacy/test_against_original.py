"""The same views and the same client, with the original and with this package.

What may differ stands in ``differences.py``, line by line. It needs an old Python, in which the
original still runs; see ``original.py``.
"""

from __future__ import annotations

import difflib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.legacy.differences import DIFFERENCES
from tests.legacy.original import HOSTS, serve_original
from tests.legacy.scenarios import SCENARIOS, play
from tests.legacy.serving import serve_legacy

if TYPE_CHECKING:
    from tests.legacy.serving import Database
    from tests.processes import ServerProcess

Transcripts: TypeAlias = dict[str, list[str]]

# Most scenarios wait for something most of the time, a few of them in vain.
PLAYED_AT_ONCE = 24


def play_all(server: ServerProcess) -> Transcripts:
    with ThreadPoolExecutor(PLAYED_AT_ONCE) as threads:
        played = threads.map(lambda scenario: play(scenario, server), SCENARIOS.values())
        return dict(zip(SCENARIOS, played, strict=True))


@pytest.fixture(scope="module", params=HOSTS)
def original(request: pytest.FixtureRequest) -> Transcripts:
    with serve_original(request.param) as server:
        return play_all(server)


@pytest.fixture(scope="module")
def ours(database: Database) -> Transcripts:
    with serve_legacy("adwebsocket", database) as server:
        return play_all(server)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_transcripts_differ_as_documented(
    original: Transcripts, ours: Transcripts, scenario: str
) -> None:
    compared = difflib.ndiff(original[scenario], ours[scenario])
    different = tuple(line for line in compared if line.startswith(("-", "+")))

    documented = DIFFERENCES.get(scenario)
    assert different == (documented.lines if documented else ())


def test_every_documented_difference_has_a_scenario() -> None:
    assert set(DIFFERENCES) <= set(SCENARIOS)
