"""The command behind ``scripts/fuzz``: fuzzes one target with atheris for some seconds.

It runs in a process for each target, because libFuzzer ends the process when the time is up. What
it finds and the corpus that it grows are in ``build/fuzz``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["adwebsocket", "websockets"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.seeds import CORPUS

FINDINGS = Path(__file__).parents[2] / "build" / "fuzz"
# Longer inputs make each execution slow, and nothing in the code under test begins behind 4 KiB.
MOST_BYTES = 4096
# By the clock on the wall, which also counts what a busy machine does in between.
MOST_SECONDS_EACH = 30
MOST_MEGABYTES = 1024


def main() -> None:
    _, target, seconds = sys.argv
    grown = FINDINGS / target / "corpus"
    grown.mkdir(parents=True, exist_ok=True)
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={MOST_BYTES}",
            f"-timeout={MOST_SECONDS_EACH}",
            f"-rss_limit_mb={MOST_MEGABYTES}",
            f"-artifact_prefix={FINDINGS / target}/",
            "-verbosity=0",
            "-print_final_stats=1",
            str(grown),
            str(CORPUS / target),
        ],
        TARGETS[target],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
