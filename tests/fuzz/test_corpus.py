"""What fuzzing found once stays mended: every input of the corpus, without a fuzzer."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.seeds import CORPUS, SEEDS
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

INPUTS = sorted(file for file in CORPUS.rglob("*") if file.is_file())


@pytest.mark.parametrize("file", INPUTS, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_input_of_the_corpus_keeps_all_promises(file: Path) -> None:
    TARGETS[file.parent.name](file.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_corpus_has_what_the_seeds_make(target: str) -> None:
    committed = {file.name: file.read_bytes() for file in (CORPUS / target).iterdir()}

    assert committed.items() >= SEEDS[target].items(), "run: python -m tests.fuzz.seeds"


@pytest.mark.parametrize("target", TARGETS)
def test_changed_inputs_keep_all_promises(target: str) -> None:
    """A little of what a fuzzer does, for those who have none."""
    chance = random.Random(target)
    for seed in SEEDS[target].values():
        for _ in range(20):
            data = bytearray(seed)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            TARGETS[target](bytes(data))
