"""Every server that a benchmark can start: its name, its command and what it needs installed.

The benchmarks choose from ``SERVERS`` and ``IDLE_SERVERS``, or take ``LEGACY_SERVER``; the programs
themselves are in ``benchmarks/servers/``. It must not know how a server is started, pinned or
measured: that is the harness.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.generator import Load

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Server:
    """One contender in a benchmark.

    ``modules`` must be importable for it to run. ``echoes`` is False for a server that answers
    the same bytes to everybody, so that the generator cannot tell its connections apart.
    """

    name: str
    command: Callable[[int, Load], list[str]]
    modules: tuple[str, ...]
    path: str = "/"
    echoes: bool = True


def _adwebsocket(application: str) -> Callable[[int, Load], list[str]]:
    def command(port: int, load: Load) -> list[str]:
        return [
            *(sys.executable, "-m", "adwebsocket", application),
            *("--host", HOST, "--port", str(port), "--log-level", "warning", "--no-access-log"),
        ]

    return command


def _uvicorn(application: str) -> Callable[[int, Load], list[str]]:
    def command(port: int, load: Load) -> list[str]:
        return [
            *(sys.executable, "-m", "uvicorn", application, "--host", HOST, "--port", str(port)),
            *("--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio"),
            *("--log-level", "warning", "--no-access-log", "--lifespan", "off"),
        ]

    return command


def _script(module: str) -> Callable[[int, Load], list[str]]:
    def command(port: int, load: Load) -> list[str]:
        kind = ["--binary"] if load.binary else []
        shape = ["--size", str(load.size), *kind]
        return [sys.executable, "-m", module, "--host", HOST, "--port", str(port), *shape]

    return command


_project = _adwebsocket("benchmarks.servers.adwebsocket_project:application")
_channels = _uvicorn("benchmarks.servers.channels_project:application")

SERVERS = {
    server.name: server
    for server in (
        Server("adwebsocket-async", _project, ("adwebsocket.asgi",), "/async"),
        Server("adwebsocket-sync", _project, ("adwebsocket.asgi",), "/sync"),
        Server("uvicorn-raw", _uvicorn("benchmarks.servers.raw_asgi:application"), ("uvicorn",)),
        Server("channels-async", _channels, ("channels", "uvicorn"), "/async"),
        Server("channels-sync", _channels, ("channels", "uvicorn"), "/sync"),
        Server("picows", _script("benchmarks.servers.picows_echo"), ("picows", "uvloop")),
        Server("limit", _script("benchmarks.servers.no_parsing"), ("uvloop",), echoes=False),
    )
}

# For idle connections in async code; those of sync views mostly cost the stack of a thread.
IDLE_SERVERS = {
    server.name: server
    for server in (
        SERVERS["uvicorn-raw"],
        SERVERS["channels-async"],
        SERVERS["adwebsocket-async"],
        Server(
            "adwebsocket-middleware",
            _adwebsocket("benchmarks.servers.adwebsocket_middleware:application"),
            ("adwebsocket.asgi",),
            "/async",
        ),
    )
}

# Views that never let go; their server is not given the time to end them.
LEGACY_SERVER = Server(
    "adwebsocket-legacy",
    lambda port, load: [
        *_adwebsocket("benchmarks.servers.dwebsocket_project:application")(port, load),
        *("--timeout-graceful-shutdown", "1"),
    ],
    ("adwebsocket.asgi",),
)
