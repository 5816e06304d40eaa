"""Every server that a benchmark can start: its name, its command and what it needs installed.

The benchmarks choose from ``SERVERS`` by name, with ``pick``; the programs themselves are in
``benchmarks/servers/``. It must not know how a server is started, pinned or measured: that is the
harness.

Whoever limits the size of a message by default gets a limit that lets the largest load here pass.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from benchmarks import original
from benchmarks.generator import Load

HOST = "127.0.0.1"
LARGEST_MESSAGE = str(16 * 2**20)

Command = Callable[[int, Load], list[str]]


@dataclass(frozen=True, slots=True)
class Server:
    """One contender in a benchmark.

    ``modules`` must be importable for it to run; ``original`` says that it needs the environment of
    the original dwebsocket instead. ``environment`` is added to the variables of its process.
    ``echoes`` is False for a server that answers the same bytes to everybody, so that the generator
    cannot tell its connections apart. ``login`` is a page that gives the cookie which the clients
    then send. ``why_not`` gives the reason why a load is nothing for it, or "".

    ``workers`` is how many of its processes listen. With ``elsewhere`` the first connection goes to
    a second server of the same kind, on the core of the clients. ``ignored`` is where a client
    connects that never reads, for as long as is measured.
    """

    name: str
    command: Command
    modules: tuple[str, ...] = ()
    path: str = "/"
    echoes: bool = True
    original: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    login: str | None = None
    workers: int = 1
    elsewhere: bool = False
    ignored: str | None = None
    why_not: Callable[[Load], str] = lambda load: ""


def _adwebsocket(application: str, *options: str) -> Command:
    def command(port: int, load: Load) -> list[str]:
        return [
            *(sys.executable, "-m", "adwebsocket", f"benchmarks.servers.{application}:application"),
            *("--host", HOST, "--port", str(port), "--log-level", "warning", "--no-access-log"),
            *options,
        ]

    return command


def _uvicorn(application: str) -> Command:
    def command(port: int, load: Load) -> list[str]:
        return [
            *(sys.executable, "-m", "uvicorn", f"benchmarks.servers.{application}:application"),
            *("--host", HOST, "--port", str(port), "--ws-max-size", LARGEST_MESSAGE),
            *("--loop", "uvloop", "--http", "httptools", "--ws", "websockets-sansio"),
            *("--log-level", "warning", "--no-access-log", "--lifespan", "off"),
        ]

    return command


def _daphne(application: str) -> Command:
    def command(port: int, load: Load) -> list[str]:
        return [
            *(sys.executable, "-m", "daphne", f"benchmarks.servers.{application}:application"),
            *("--bind", HOST, "--port", str(port), "--verbosity", "0", "--no-server-name"),
        ]

    return command


def _granian(application: str) -> Command:
    def command(port: int, load: Load) -> list[str]:
        return [
            *(sys.executable, "-m", "granian", f"benchmarks.servers.{application}:application"),
            *("--host", HOST, "--port", str(port), "--interface", "asgi", "--loop", "uvloop"),
            # Its limit of connections is what the queue for them holds, unless told.
            *("--backlog", "1024", "--backpressure", "20000", "--log-level", "warning"),
        ]

    return command


def _script(module: str, interpreter: str = sys.executable) -> Command:
    def command(port: int, load: Load) -> list[str]:
        kind = ["--binary"] if load.binary else []
        shape = ["--size", str(load.size), *kind]
        words = ["--host", HOST, "--port", str(port), *shape]
        return [interpreter, "-m", f"benchmarks.servers.{module}", *words]

    return command


def _too_much_for_the_original(load: Load) -> str:
    """Its sockets send text only, and it unmasks in a loop of Python: 0.2 s for 1 MB."""
    if load.binary:
        return "it sends nothing but text"
    return "it would take minutes" if load.size > 65536 else ""


_OURS = ("adwebsocket.asgi",)
_OURS_WITH_GREENLETS = (*_OURS, "greenlet")
_GREENLET = {"WEBSOCKET_SYNC_RUNNER": "greenlet"}
_project = _adwebsocket("adwebsocket_project")
_members = _adwebsocket("adwebsocket_members")
_channels = ("channels", "uvicorn")
_consumers = _uvicorn("channels_project")
_consumers_on_daphne = _daphne("channels_project")
_member_consumers = _uvicorn("channels_members")
_rows = _adwebsocket("adwebsocket_database")
_row_consumers = _uvicorn("channels_database")
_raw = "raw_asgi"
_members_of_groups = _adwebsocket("adwebsocket_groups")
_four_workers = _adwebsocket("adwebsocket_groups", "--workers", "4")
_group_consumers = _uvicorn("channels_groups")
_LOCAL = {"BENCHMARK_GROUPS": "local"}
_REDIS = {"BENCHMARK_GROUPS": "redis"}
_OURS_LOCAL = (*_OURS, "adwebsocket.groups.local")
_OURS_REDIS = (*_OURS, "redis", "adwebsocket.groups.redis")
_channels_redis = (*_channels, "channels_redis")

SERVERS = {
    server.name: server
    for server in (
        Server("adwebsocket-async", _project, _OURS, "/async"),
        Server("adwebsocket-thread", _project, _OURS, "/sync"),
        Server(
            "adwebsocket-greenlet",
            _project,
            _OURS_WITH_GREENLETS,
            "/sync",
            environment=_GREENLET,
        ),
        Server("uvicorn-raw", _uvicorn(_raw), ("uvicorn",)),
        Server("granian-raw", _granian(_raw), ("granian", "uvloop")),
        Server("channels-async", _consumers, _channels, "/async"),
        Server("channels-sync", _consumers, _channels, "/sync"),
        Server("channels-async-daphne", _consumers_on_daphne, ("channels", "daphne"), "/async"),
        Server("channels-sync-daphne", _consumers_on_daphne, ("channels", "daphne"), "/sync"),
        Server(
            "dwebsocket-gevent",
            _script("dwebsocket_gevent", str(original.INTERPRETER)),
            original=True,
            why_not=_too_much_for_the_original,
        ),
        Server("websockets", _script("websockets_echo"), ("websockets", "uvloop")),
        Server("picows", _script("picows_echo"), ("picows", "uvloop")),
        Server("limit", _script("no_parsing"), ("uvloop",), echoes=False),
        # With a session and a user in every handshake.
        Server("adwebsocket-async-member", _members, _OURS, "/async", login="/login"),
        Server("adwebsocket-thread-member", _members, _OURS, "/sync", login="/login"),
        Server(
            "adwebsocket-greenlet-member",
            _members,
            _OURS_WITH_GREENLETS,
            "/sync",
            environment=_GREENLET,
            login="/login",
        ),
        Server("channels-async-member", _member_consumers, _channels, "/async", login="/login"),
        Server("channels-sync-member", _member_consumers, _channels, "/sync", login="/login"),
        # With a row of PostgreSQL for each message.
        Server("adwebsocket-thread-row", _rows, (*_OURS, "psycopg"), "/thread"),
        Server("adwebsocket-greenlet-row", _rows, (*_OURS_WITH_GREENLETS, "psycopg"), "/greenlet"),
        Server("channels-sync-row", _row_consumers, (*_channels, "psycopg"), "/sync"),
        # With the middleware of ``django-admin startproject``.
        Server("adwebsocket-middleware", _adwebsocket("adwebsocket_middleware"), _OURS, "/async"),
        # Which send each message to all members of a group.
        Server("adwebsocket-groups-async", _members_of_groups, _OURS, "/async"),
        Server("adwebsocket-groups-thread", _members_of_groups, _OURS, "/sync"),
        Server(
            "adwebsocket-groups-greenlet",
            _members_of_groups,
            _OURS_WITH_GREENLETS,
            "/sync",
            environment=_GREENLET,
        ),
        Server(
            "adwebsocket-groups-ignored",
            _members_of_groups,
            _OURS,
            "/async",
            ignored="/overwhelmed",
        ),
        Server("websockets-broadcast", _script("websockets_broadcast"), ("websockets", "uvloop")),
        Server("channels-groups", _group_consumers, _channels, "/async"),
        # With a publisher in another process.
        Server(
            "adwebsocket-groups-redis",
            _members_of_groups,
            _OURS_REDIS,
            "/async",
            environment=_REDIS,
            elsewhere=True,
        ),
        *(
            Server(
                f"channels-groups-{layer}",
                _group_consumers,
                _channels_redis,
                "/async",
                environment={"BENCHMARK_LAYER": layer},
                elsewhere=True,
            )
            for layer in ("core", "pubsub")
        ),
        Server("adwebsocket-groups-soak", _adwebsocket("adwebsocket_soak_groups"), _OURS_REDIS),
        # On four processes, between which the kernel spreads the members.
        Server(
            "adwebsocket-workers-local",
            _four_workers,
            _OURS_LOCAL,
            "/async",
            environment=_LOCAL,
            workers=4,
        ),
        Server(
            "adwebsocket-workers-redis",
            _four_workers,
            _OURS_REDIS,
            "/async",
            environment=_REDIS,
            workers=4,
        ),
        # Views that never let go; their server is not given the time to end them.
        Server(
            "adwebsocket-legacy",
            _adwebsocket("dwebsocket_project", "--timeout-graceful-shutdown", "1"),
            _OURS,
        ),
    )
}


# How those who read a plot or a table in the documentation know them.
TITLES = {
    "adwebsocket-async": "adwebsocket, async view",
    "adwebsocket-greenlet": "adwebsocket, sync view, greenlets",
    "adwebsocket-thread": "adwebsocket, sync view, threads",
    "uvicorn-raw": "uvicorn, raw ASGI",
    "granian-raw": "granian, raw ASGI",
    "channels-async": "Channels, async consumer, uvicorn",
    "channels-sync": "Channels, sync consumer, uvicorn",
    "channels-async-daphne": "Channels, async consumer, Daphne",
    "channels-sync-daphne": "Channels, sync consumer, Daphne",
    "dwebsocket-gevent": "dwebsocket 0.5.12, sync view, gevent",
    "websockets": "websockets, uvloop",
    "picows": "picows (Cython)",
    "limit": "uvloop that parses nothing: the limit",
    "adwebsocket-middleware": "adwebsocket, async view, seven middlewares",
    "adwebsocket-groups-async": "adwebsocket, groups, async views",
    "adwebsocket-groups-thread": "adwebsocket, groups, sync views, threads",
    "adwebsocket-groups-greenlet": "adwebsocket, groups, sync views, greenlets",
    "adwebsocket-groups-ignored": "adwebsocket, one member never reads",
    "websockets-broadcast": "websockets, broadcast",
    "channels-groups": "Channels, layer in memory",
    "adwebsocket-groups-redis": "adwebsocket, groups over Redis",
    "channels-groups-core": "Channels, channels_redis core",
    "channels-groups-pubsub": "Channels, channels_redis pubsub",
    "adwebsocket-workers-local": "adwebsocket, 4 workers, local",
    "adwebsocket-workers-redis": "adwebsocket, 4 workers, redis",
}


def title_of(name: str) -> str:
    """Return what documentation calls a server; a member's is that of the server without."""
    return TITLES.get(name.removesuffix("-member").removesuffix("-row"), name)


def pick(names: Iterable[str]) -> dict[str, Server]:
    """Return these servers by their names."""
    return {name: SERVERS[name] for name in names}
