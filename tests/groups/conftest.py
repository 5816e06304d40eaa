"""The back-ends that the contract suite runs over, each with what it needs to run."""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings

from adwebsocket.groups.local.backend import LocalBackend
from adwebsocket.groups.memory import MemoryBackend
from adwebsocket.groups.options import GroupOptions, GroupsConfig
from tests.groups.nodes import Node
from tests.groups.redis_servers import redis_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from adwebsocket.groups import Backend

PATTERNS = (
    ("kept.short", GroupOptions(history=3)),
    ("kept.*", GroupOptions(history=1000, backlog=1000)),
)


class Site:
    """Some nodes that belong together, and somebody who publishes from outside of them."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._backends: list[Backend] = []
        self.publisher = self._open_backend()

    def make_backend(self) -> Backend:
        """Make a back-end as another process would have it."""
        raise NotImplementedError

    def _open_backend(self) -> Backend:
        backend = self.make_backend()
        self._backends.append(backend)
        return backend

    def node(self) -> Node:
        """Add a node."""
        node = Node(self._open_backend())
        self._nodes.append(node)
        return node

    def close(self) -> None:
        """Stop all nodes."""
        for node in self._nodes:
            node.stop()
        for backend in self._backends:
            backend.close()

    def forget(self) -> None:
        """Let go of what has been stopped."""
        self._nodes.clear()
        self._backends.clear()
        del self.publisher


class MemorySite(Site):
    """Within one process there is one back-end."""

    def make_backend(self) -> Backend:
        if self._backends:
            return self._backends[0]
        return MemoryBackend(GroupsConfig(patterns=PATTERNS))


class LocalSite(Site):
    """Processes that meet in a directory; that these share a number does not matter."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self._settings = override_settings(WEBSOCKET_RUNTIME_DIR=self._directory.name)
        self._settings.enable()
        super().__init__()

    def make_backend(self) -> Backend:
        return LocalBackend(GroupsConfig(patterns=PATTERNS))

    def close(self) -> None:
        super().close()
        self._settings.disable()
        self._directory.cleanup()


class RedisSite(Site):
    """Each back-end has connections of its own to a server, and each site a prefix.

    Arguments:
        location: where Redis is; the server that tests share, if nothing is said.
        options: for the back-ends.
    """

    def __init__(self, location: Any = None, **options: Any) -> None:
        self._location = location or redis_servers.single.url
        self.options = {"prefix": f"test-{secrets.token_hex(4)}", "max_delay": 0.2, **options}
        super().__init__()

    def make_backend(self) -> Backend:
        from adwebsocket.groups.redis import RedisBackend

        return RedisBackend(GroupsConfig("redis", self._location, self.options, PATTERNS))


class RedisClusterSite(RedisSite):
    def __init__(self) -> None:
        super().__init__([server.url for server in redis_servers.cluster], cluster=True)


SITES: dict[str, Any] = {
    "memory": MemorySite,
    "local": LocalSite,
    "redis": RedisSite,
    "redis-cluster": RedisClusterSite,
}


@pytest.fixture(scope="session", autouse=True)
def stop_redis_servers() -> Iterator[None]:
    yield
    redis_servers.close()


@pytest.fixture(params=list(SITES))
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    site: Site = SITES[request.param]()
    yield site
    site.close()


@pytest.fixture
def settings_secret() -> Iterator[Callable[[str], None]]:
    """Give what changes the ``SECRET_KEY`` for back-ends that are made later."""
    with contextlib.ExitStack() as overrides:
        yield lambda secret: overrides.enter_context(override_settings(SECRET_KEY=secret))


@pytest.fixture
def make_redis_site() -> Iterator[Callable[..., RedisSite]]:
    """Give what makes sites on Redis, see ``RedisSite``."""
    with contextlib.ExitStack() as sites:

        def make(location: Any = None, **options: Any) -> RedisSite:
            site = RedisSite(location, **options)
            sites.callback(site.close)
            return site

        yield make
