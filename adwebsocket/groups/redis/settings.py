"""Where Redis is and how to speak with it: ``LOCATION`` and ``OPTIONS`` of ``WEBSOCKET_GROUPS``.

Read once, when the back-end is made; nothing is connected here. The only other thing it knows is
how redis-py makes a connection out of it, for threads and for an event loop.
"""

from __future__ import annotations

import difflib
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import redis
import redis.asyncio.connection as for_loops
import redis.connection as for_threads
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..options import GroupsConfig

_TLS_OPTIONS: Final = (
    "ssl_ca_certs",
    "ssl_ca_data",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)
# With the usual value of each; None is for nothing.
_OPTIONS: Final[dict[str, Any]] = {
    "cluster": False,
    "sentinel": None,
    "prefix": "adwebsocket",
    "queue": 0,
    "timeout": 5.0,
    "max_connections": 16,
    "heartbeat": 5.0,
    "max_delay": 5.0,
    "presence_ttl": 20.0,
    "username": None,
    "password": None,
    "db": None,
    "ssl": None,
    **dict.fromkeys(_TLS_OPTIONS),
}
_LOCATION: Final = (
    "LOCATION in WEBSOCKET_GROUPS must be a URL that begins with redis://, rediss:// or unix://, "
    "or a list of such (of Sentinels, of nodes of a Cluster)"
)


class Address(NamedTuple):
    """Where a server listens.

    Attributes:
        host, port: its TCP port.
        path: its socket, for which host and port say nothing.
    """

    host: str
    port: int
    path: str | None = None

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """``LOCATION`` and ``OPTIONS``, read.

    Attributes:
        addresses: the server, the Sentinels, or nodes of the Cluster.
        arguments: what connections to servers are made with besides the address.
        asking_arguments: the same for Sentinels.
        is_cluster: whether it is a Cluster.
        sentinel: the name under which Sentinels know the servers, None without them.
        prefix: what all keys and channels begin with.
        queue: messages that wait in this process while Redis is away, 0 for none.
        timeout: seconds for connecting, and for each answer.
        max_connections: connections that the threads of a process open to a server at most.
        heartbeat: seconds between two looks at whether the subscriber's connection still works.
        max_delay: the longest time in seconds from one attempt to connect to the next.
        presence_ttl: seconds after which the members of a process that died are no longer counted.
    """

    addresses: tuple[Address, ...]
    arguments: dict[str, Any]
    asking_arguments: dict[str, Any]
    is_cluster: bool
    sentinel: str | None
    prefix: str
    queue: int
    timeout: float
    max_connections: int
    heartbeat: float
    max_delay: float
    presence_ttl: float

    @property
    def channel_prefix(self) -> str:
        """What channels begin with: Redis does not keep those of its databases apart."""
        return f"{self.prefix}:{self.arguments.get('db') or 0}"

    def make_pool(
        self,
        address: Address,
        *,
        asks_sentinel: bool = False,
        on_connect: Callable[[Any], None] | None = None,
    ) -> redis.BlockingConnectionPool:
        """Make the connections to a server for the threads of this process; opens none yet."""
        arguments = {
            **self._arguments(address, asks_sentinel),
            "socket_timeout": self.timeout,
            "redis_connect_func": on_connect,
        }
        return redis.BlockingConnectionPool(
            max_connections=self.max_connections,
            timeout=self.timeout,
            connection_class=_class_for(for_threads, address, arguments),
            **arguments,
        )

    def make_connection(self, address: Address) -> Any:
        """Make a connection for an event loop; does not open it yet."""
        # Without a limit to silence: nothing comes from a group where nobody says anything.
        arguments = {**self._arguments(address, False), "socket_timeout": None}
        return _class_for(for_loops, address, arguments)(**arguments)

    def _arguments(self, address: Address, asks_sentinel: bool) -> dict[str, Any]:
        if address.path:
            place: dict[str, Any] = {"path": address.path}
        else:
            place = {"host": address.host, "port": address.port}
        return {
            **(self.asking_arguments if asks_sentinel else self.arguments),
            **place,
            "socket_connect_timeout": self.timeout,
            "protocol": 2,
            # What is tried again, and when, is decided by us.
            "retry": Retry(NoBackoff(), 0),
        }


def _class_for(module: Any, address: Address, arguments: dict[str, Any]) -> Any:
    if address.path:
        return module.UnixDomainSocketConnection
    return module.SSLConnection if arguments.pop("ssl", False) else module.Connection


def read_settings(config: GroupsConfig) -> RedisSettings:
    """Read where Redis is.

    Raises:
        ImproperlyConfigured: it has no meaning; the text says what was expected.
    """
    given = _read_options(config.options)
    addresses, arguments = _read_location(config.location, given)
    options = {name: given[name] for name in ("username", "password", "db") if given[name]}
    tls = {name: given[name] for name in _TLS_OPTIONS if given[name] is not None}
    asking = dict(arguments)
    if given["sentinel"]:
        # Who and which database, in a URL of a Sentinel, is about the Sentinel.
        arguments = {name: arguments[name] for name in ("ssl", *_TLS_OPTIONS) if name in arguments}
    arguments.update(options)
    if given["ssl"] is not None:
        arguments["ssl"] = given["ssl"]
    if given["cluster"] and arguments.get("db"):
        raise _wrong("a Redis Cluster has no other database than 0")
    for each in (arguments, asking):
        if each.get("ssl"):
            each.update(tls)
            # Before redis-py 6 a certificate might be anybody's.
            is_checked = each.get("ssl_cert_reqs") not in ("none", ssl.CERT_NONE)
            each.setdefault("ssl_check_hostname", is_checked)
    if tls and not arguments.get("ssl") and not asking.get("ssl"):
        raise _wrong(f"{list(tls)} are for TLS, which begins with rediss:// in LOCATION")
    settings = RedisSettings(
        tuple(addresses),
        arguments,
        asking,
        given["cluster"],
        given["sentinel"],
        given["prefix"],
        given["queue"],
        given["timeout"],
        given["max_connections"],
        given["heartbeat"],
        given["max_delay"],
        given["presence_ttl"],
    )
    _try_out(settings)
    return settings


def _read_options(options: dict[str, Any]) -> dict[str, Any]:
    for name in options:
        if name not in _OPTIONS:
            close = difflib.get_close_matches(str(name), _OPTIONS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it may be one of {list(_OPTIONS)}"
            raise _wrong(f"the option {name!r} is unknown: {hint}")
    given = {**_OPTIONS, **options}
    if not isinstance(given["prefix"], str) or not re.fullmatch(
        r"[A-Za-z0-9_.:/-]{1,100}", given["prefix"]
    ):
        raise _wrong(
            f"prefix must have 1 to 100 letters, digits and _ . : / -, not {given['prefix']!r}"
        )
    for name, least in (("queue", 0), ("max_connections", 1)):
        value = given[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise _wrong(f"{name} must be an int of at least {least}, not {value!r}")
    for name in ("timeout", "heartbeat", "max_delay", "presence_ttl"):
        value = given[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            raise _wrong(f"{name} must be a number of seconds above 0, not {value!r}")
    if not isinstance(given["cluster"], bool):
        raise _wrong(f"cluster must be True or False, not {given['cluster']!r}")
    if given["sentinel"] is not None and not isinstance(given["sentinel"], str):
        raise _wrong(
            "sentinel must be the name under which the Sentinels know the servers, "
            f"not {given['sentinel']!r}"
        )
    if given["cluster"] and given["sentinel"]:
        raise _wrong("either cluster or sentinel may be given")
    return given


def _read_location(location: Any, given: dict[str, Any]) -> tuple[list[Address], dict[str, Any]]:
    """Give the addresses, and what the first URL says besides."""
    urls = list(location) if isinstance(location, list | tuple) else [location]
    if location is None:
        urls = ["redis://localhost:6379"]
    if not urls or not all(isinstance(url, str) for url in urls):
        raise ImproperlyConfigured(f"{_LOCATION}, not {location!r}")
    if len(urls) > 1 and not (given["cluster"] or given["sentinel"]):
        raise _wrong("several URLs need the option cluster or sentinel")
    addresses, first = [], None
    for url in urls:
        try:
            parsed: dict[str, Any] = dict(for_threads.parse_url(url))
        except ValueError as error:
            # Without the URL, which may have a password.
            raise ImproperlyConfigured(f"{_LOCATION}: {error}") from error
        is_tls = parsed.pop("connection_class", None) is for_threads.SSLConnection
        port = parsed.pop("port", 26379 if given["sentinel"] else 6379)
        addresses.append(Address(parsed.pop("host", "localhost"), port, parsed.pop("path", None)))
        if first is None:
            first = {**parsed, **({"ssl": True} if is_tls else {})}
    assert first is not None
    return addresses, first


def _try_out(settings: RedisSettings) -> None:
    """Let redis-py look at what it is going to get."""
    try:
        for asks_sentinel in {False, settings.sentinel is not None}:
            settings.make_pool(settings.addresses[0], asks_sentinel=asks_sentinel).make_connection()
        settings.make_connection(settings.addresses[0])
    except (TypeError, ValueError, redis.RedisError) as error:
        raise _wrong(f"redis-py refuses it: {error}") from error


def _wrong(text: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f'OPTIONS of the back-end "redis" in WEBSOCKET_GROUPS: {text}')
