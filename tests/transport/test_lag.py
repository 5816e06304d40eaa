"""How late event loops are: seen while they are stuck, remembered, and forgotten with the loop."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from event_loops import until

from adwebsocket.transport.lag import INTERVAL, LoopWatch, clock, loop_watches, watch_loop

if TYPE_CHECKING:
    from event_loops import Run


def watch_of_this_thread() -> LoopWatch:
    (watch,) = [each for each in loop_watches() if each.thread_id == threading.get_ident()]
    return watch


def test_lag_is_seen_while_the_loop_is_stuck_and_remembered_behind_it(run: Run) -> None:
    async def block() -> None:
        watch_loop()
        watch = watch_of_this_thread()
        assert watch.lag() < 5
        # As any thread that asks meanwhile would find it.
        time.sleep(4 * INTERVAL)  # noqa: ASYNC251
        assert watch.lag() >= 3 * INTERVAL
        await asyncio.sleep(2 * INTERVAL)
        assert watch.longest_lag() >= 3 * INTERVAL

    run(block())


def test_clock_goes_on_with_the_loop(run: Run) -> None:
    async def look_twice() -> None:
        watch_loop()
        before = clock.now
        await until(lambda: clock.now > before)
        assert clock.now <= time.monotonic()

    run(look_twice())


def test_loop_is_watched_once_and_until_it_is_closed(run: Run) -> None:
    async def watch_twice() -> LoopWatch:
        watch_loop()
        watch_loop()
        return watch_of_this_thread()

    watch = run(watch_twice())
    assert watch.is_over()
    assert watch not in loop_watches()
