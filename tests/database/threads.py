"""Tests in threads of their own, since database connections belong to threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections

from tests.connections import DEADLINE

IDLE = 30.0
"""What ``long_idle_time`` sets: who wants idle() to be called does it."""

Test = Callable[..., None]


def in_own_thread(test: Test) -> Test:
    """Run a test in a thread that has no database connections, and leaves none."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            try:
                pool.submit(test, *args, **kwargs).result(2 * DEADLINE)
            finally:
                pool.submit(connections.close_all).result(DEADLINE)

    return run
