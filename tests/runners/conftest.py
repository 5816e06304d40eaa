"""The runners that the tests of this folder run functions with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adwebsocket.runners.base import NoParking
from adwebsocket.runners.threads import ThreadRunner
from tests.components import skip_or_fail

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from adwebsocket.runners.base import Parking, Runner

    class MakeRunner(Protocol):
        """The fixture ``make_runner``."""

        def __call__(self, new_parking: Callable[[], Parking] = ..., /) -> Runner: ...


@pytest.fixture(params=["thread", "greenlet"])
def make_runner(request: pytest.FixtureRequest) -> MakeRunner:
    """Give what makes a runner: one of each kind.

    The greenlets have but one thread, in which they must let each other run.
    """
    if request.param == "thread":
        return make_thread_runner
    try:
        from adwebsocket.runners.greenlets import GreenletRunner
    except ImportError:
        skip_or_fail("not installed: greenlet")

    def make_greenlet_runner(new_parking: Callable[[], Parking] = NoParking, /) -> Runner:
        return GreenletRunner(1, new_parking)

    return make_greenlet_runner


def make_thread_runner(new_parking: Callable[[], Parking] = NoParking, /) -> Runner:
    return ThreadRunner(1000, new_parking=new_parking)


@pytest.fixture
def runner(make_runner: MakeRunner) -> Runner:
    return make_runner()
