"""Which runner runs a sync view: the setting's, or the one that its decorator names.

The application has one ``ViewRunners``, and gives it to each request. Runners know no settings and
no Django; what they need of either is put in here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from .conf import get_settings
from .database import GreenletParking, ThreadParking
from .decorators import runner_named_by
from .runners.threads import ThreadRunner

if TYPE_CHECKING:
    from .runners.base import Runner


class ViewRunners:
    """The runners of one application, each made when it is first needed."""

    def __init__(self) -> None:
        self._runners: dict[str, Runner] = {}
        # At the start of the server, and not at the first connection, it shall turn out that a
        # package is missing.
        self.get(get_settings().sync_runner)

    def get(self, name: str) -> Runner:
        """Give a runner by its name.

        Raises:
            ImproperlyConfigured: the package that it needs is not installed.
        """
        if name not in self._runners:
            self._runners[name] = _MAKERS[name]()
        return self._runners[name]

    def choose(self, view: Any) -> Runner:
        """Give the runner of a view. On the event loop only."""
        return self.get(runner_named_by(view) or get_settings().sync_runner)

    def count(self) -> int:
        """Count the sync views that run now."""
        return sum(runner.count() for runner in self._runners.values())


def _make_thread_runner() -> Runner:
    settings = get_settings()
    return ThreadRunner(settings.max_threads, settings.thread_stack_size, ThreadParking)


def _make_greenlet_runner() -> Runner:
    try:
        from .runners.greenlets import GreenletRunner
    except ImportError as error:
        raise ImproperlyConfigured(
            'the runner "greenlet" needs the package greenlet: pip install adwebsocket[greenlet]'
        ) from error
    return GreenletRunner(get_settings().greenlet_workers, GreenletParking)


_MAKERS = {"thread": _make_thread_runner, "greenlet": _make_greenlet_runner}
