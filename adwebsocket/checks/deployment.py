"""Checks of what a project meets where it runs: limits of the system, and pages of strangers.

Those of the system speak of the machine on which they run. Those about strangers come with
``manage.py check --deploy`` only, as Django's own of that kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004

from ..conf import read_settings
from ..descriptors import DescriptorGauge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.apps import AppConfig

_SYSTEM_SETTINGS: Final = Path("/proc/sys")
# What is switched off by None, and what that lets a client do.
_TIMEOUTS: Final = {
    "handshake_timeout": "a client that sends half a handshake keeps its connection for ever",
    "send_timeout": "a view that sends to a client which takes nothing waits for ever",
    "ping_interval": "a client that is gone without a word is never noticed while its view waits",
    "ping_timeout": "a client that is gone without a word is never noticed while its view waits",
}


@register()
def check_descriptors(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[CheckMessage]:
    """Report W008: more connections than the process may have file descriptors."""
    configured, _ = read_settings()
    gauge = DescriptorGauge()
    if configured.max_connections is None or gauge.limit is None:
        return []
    room = gauge.limit - gauge.reserve
    if configured.max_connections <= room:
        return []
    return [
        Warning(
            f"WEBSOCKET_MAX_CONNECTIONS is {configured.max_connections}, but a process that is "
            f"started here may have {gauge.limit} file descriptors, which is room for {room}.",
            hint="Raise the limit where the server is started: LimitNOFILE= of systemd, ulimit -n "
            "in a shell. If the server has a higher one than this shell, all is well.",
            id="adwebsocket.W008",
        )
    ]


@register()
def check_threads(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Report W009: more threads than the kernel gives, where the project has asked for them."""
    configured, _ = read_settings()
    if configured.sync_runner != "thread" or not hasattr(settings, "WEBSOCKET_MAX_THREADS"):
        return []
    return [
        Warning(
            f"WEBSOCKET_MAX_THREADS is {configured.max_threads}, but {name} is {value} on this "
            f"machine, which allows {room}.",
            hint=f"sysctl -w {name}=..., or let greenlets run the views: docs/runners.md.",
            id="adwebsocket.W009",
        )
        for name, value, room in _thread_limits()
        if room < configured.max_threads
    ]


def _thread_limits() -> Iterator[tuple[str, int, int]]:
    """Give the kernel's limits of the whole machine, and how many threads they allow at the most.

    Those of a user or of a control group are left out: the server may have others.
    """
    # A stack is a mapping, and the page that guards it another one.
    for name, per_thread in (("kernel.threads-max", 1), ("vm.max_map_count", 2)):
        try:
            value = int(_SYSTEM_SETTINGS.joinpath(*name.split(".")).read_text())
        except (OSError, ValueError):  # no Linux
            continue
        yield name, value, value // per_thread


@register(Tags.security, deploy=True)
def check_hosts(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Report W010: a check of origins that compares with whatever the client says."""
    if "*" not in settings.ALLOWED_HOSTS:
        return []
    return [
        Warning(
            "ALLOWED_HOSTS has '*', so any name in the Host header counts as the site's own: a "
            "page under any name that leads to this server may open WebSockets.",
            hint="Name the hosts in ALLOWED_HOSTS.",
            id="adwebsocket.W010",
        )
    ]


@register(Tags.security, deploy=True)
def check_origins(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Report W011: no check of origins, where cookies tell who somebody is."""
    configured, _ = read_settings()
    has_sessions = "django.contrib.sessions.middleware.SessionMiddleware" in settings.MIDDLEWARE
    if "*" not in configured.allowed_origins or not has_sessions:
        return []
    return [
        Warning(
            "WEBSOCKET_ALLOWED_ORIGINS has '*', so any page may open WebSockets with the session "
            "of who looks at it.",
            hint="Name the origins; where one view is meant for all pages, "
            "@require_websocket(origins=['*']) lets them in there only.",
            id="adwebsocket.W011",
        )
    ]


@register(Tags.security, deploy=True)
def check_timeouts(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Report W012: a wait for the client that has no end."""
    configured, _ = read_settings()
    return [
        Warning(
            f"WEBSOCKET_{field.upper()} is None: {effect}.",
            hint="Remove it for the default, or give it a number of seconds.",
            id="adwebsocket.W012",
        )
        for field, effect in _TIMEOUTS.items()
        if getattr(configured, field) is None
    ]
