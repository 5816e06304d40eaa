"""Running coroutines, on each kind of event loop and never for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

# What has not happened by then will not happen. Nothing waits for so long unless a test fails.
DEADLINE = 20.0


class Run(Protocol):
    """The fixture ``run``: a function that runs a coroutine to its end."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T: ...


def run_on(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], coroutine: Coroutine[Any, Any, T]
) -> T:
    """Run a coroutine on a loop of its own; fail if it does not end."""

    async def with_deadline() -> T:
        async with asyncio.timeout(DEADLINE):
            return await coroutine

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(with_deadline())


async def let_others_run(rounds: int = 10) -> None:
    """Let the loop go round, so that everything that is due without input happens."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go round until something holds that nobody announces; its deadline bounds it."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


def go_round(loop: asyncio.AbstractEventLoop) -> None:
    """Play one turn of a loop that is not running: everything that is due now."""
    loop.call_soon(loop.stop)
    loop.run_forever()
