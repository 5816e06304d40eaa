"""What the tests of the transport package share."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from event_loops import run_on

if TYPE_CHECKING:
    from event_loops import Run


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Give a function that runs a coroutine to its end, once on each kind of event loop."""
    if request.param == "uvloop":
        return partial(run_on, pytest.importorskip("uvloop").new_event_loop)
    return partial(run_on, asyncio.new_event_loop)
