"""The event loop of all tests of a process, in a thread of its own.

The sockets of both clients run their coroutines here, and so do async views. The thread starts with
the first socket, and lives as long as the process: a loop for each test would cost each its start.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.core.signals import setting_changed
from uvicorn.config import Config

from ..caller import places_of
from ..groups.registry import stop_hub
from ..serving import PROTOCOL_CLASS, RunnerConfig
from .application import ObservedApplication

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

    from django.db.backends.base.base import BaseDatabaseWrapper

ResultT = TypeVar("ResultT")

_WIND_UP_SECONDS: Final = 5.0


class Background:
    """A thread with an event loop.

    Attributes:
        loop: the event loop, of the kind that our runner has.
        process: that of the thread, which a forked one has not.
    """

    def __init__(self) -> None:
        new_loop = Config("", log_config=None).get_loop_factory() or asyncio.new_event_loop
        self.loop = new_loop()
        self.process = os.getpid()
        self._thread = threading.Thread(target=self._run, name="adwebsocket-testing", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.run_until_complete(stop_hub())
        self.loop.close()

    def run(self, coroutine: Coroutine[Any, Any, ResultT]) -> Future[ResultT]:
        """Run a coroutine on the loop. From any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def place(self) -> str:
        """Say where the thread is at this moment, in code outside this package."""
        return places_of(sys._current_frames().get(self._thread.ident or 0))

    def wind_up(self) -> None:
        """End the thread as soon as nothing holds it up any more, and what it runs has ended."""

        async def wait_and_stop() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                await asyncio.wait(others, timeout=_WIND_UP_SECONDS)
            self.loop.stop()

        self.run(wait_and_stop())

    def stop(self) -> None:
        """End the loop and its thread, if nothing holds them up."""
        if self.process == os.getpid() and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(1)


_lock: Final = threading.Lock()
_running: Final[list[Background]] = []
_configs: Final[dict[tuple[BaseDatabaseWrapper, ...], RunnerConfig]] = {}


def get_background() -> Background:
    """Give the background of this process, which starts with the first call."""
    with _lock:
        if not _running or _running[0].process != os.getpid():
            _running[:] = [Background()]
            # An application's runners belong to its loop.
            _configs.clear()
        return _running[0]


def abandon(background: Background) -> None:
    """Leave a background to itself whose loop is held up; the next socket gets another one."""
    with _lock:
        if background in _running:
            _running.remove(background)
            _configs.clear()
            background.wind_up()


def get_config(shared: list[BaseDatabaseWrapper]) -> RunnerConfig:
    """Give a server's configuration with the project's application in it.

    Both are made anew when settings have changed: handlers load MIDDLEWARE when they are made, and
    runners their sizes. And for other shared connections, since workers of greenlets remember
    theirs.
    """
    key = tuple(shared)
    if key not in _configs:
        config = RunnerConfig(
            ObservedApplication(),
            ws=PROTOCOL_CLASS,
            interface="asgi3",
            lifespan="off",
            workers=1,
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        config.load()
        _configs[key] = config
    return _configs[key]


def _forget_configs(**_: Any) -> None:
    _configs.clear()


def _stop() -> None:
    for background in _running:
        background.stop()


setting_changed.connect(_forget_configs)
atexit.register(_stop)
