"""Redis servers of Debian's package, started by the tests that need them.

Alone, with Sentinels, as a Cluster; with TLS and with a password. Each has a port and a directory
of its own, and may be stopped, killed and started again.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from tests.components import skip_or_fail
from tests.processes import ServerProcess, free_port, serve, wait_until

if TYPE_CHECKING:
    from tests.certificates import Certificate


class RedisServer:
    """A server, which runs from ``start`` to ``stop``.

    Arguments:
        directory: where it keeps its files.
        options: of ``redis-server``, in place of what is usual in tests.
        certificate: what it encrypts with.

    Attributes:
        port: where it listens.
        password: what it wants to hear.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        certificate: Certificate | None = None,
        password: str | None = None,
    ) -> None:
        self.port = free_port()
        self.password = password
        self._directory = directory
        self._options = list(options)
        self._certificate = certificate
        self._running = contextlib.ExitStack()
        self._process: ServerProcess | None = None
        directory.mkdir(exist_ok=True)

    @property
    def url(self) -> str:
        """Where it is."""
        scheme = "redis" if self._certificate is None else "rediss"
        return f"{scheme}://127.0.0.1:{self.port}"

    @cached_property
    def client(self) -> Any:
        """A client of the test's own."""
        options: dict[str, Any] = {"password": self.password}
        if self._certificate is not None:
            options |= {"ssl_ca_certs": str(self._certificate.file)}
        return redis.Redis.from_url(self.url, **options)

    def start(self) -> RedisServer:
        """Start it, and wait until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            skip_or_fail("needs redis-server")
        listening = ["--port", "{port}"]
        if self._certificate is not None:
            file, key = self._certificate.file, self._certificate.key_file
            listening = ["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"]
            listening += ["--tls-cert-file", str(file), "--tls-key-file", str(key)]
        if self.password is not None:
            listening += ["--requirepass", self.password]
        usual = ["--bind", "127.0.0.1", "--save", "", "--enable-debug-command", "yes"]
        # Where it has replicas it would wait for those that are slow.
        usual += ["--shutdown-timeout", "0"]
        self._process = self._running.enter_context(
            serve(
                [*self._begin(), *listening, *usual, *self._options],
                cwd=self._directory,
                program=program,
                port=self.port,
                ready=self._answers,
            )
        )
        return self

    def _begin(self) -> list[str]:
        return []

    def _answers(self, _: ServerProcess) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        """Let it end in good order."""
        self._running.close()
        self.client.close()
        self._process = None

    def kill(self) -> None:
        """End it without a word."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self.stop()

    def restart(self) -> None:
        """Stop it, and start it anew."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it hang until it is killed or ``resume`` is called."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Sentinel(RedisServer):
    """A Sentinel that watches a server under the name ``here``, and fails over after a second."""

    def watch(self, server: RedisServer, quorum: int) -> None:
        """Write down whom to watch, before it is started."""
        (self._directory / "sentinel.conf").write_text(
            f"sentinel monitor here 127.0.0.1 {server.port} {quorum}\n"
            "sentinel down-after-milliseconds here 500\n"
            "sentinel failover-timeout here 3000\n"
        )

    def _begin(self) -> list[str]:
        return ["sentinel.conf", "--sentinel"]

    @property
    def primary(self) -> int | None:
        """The port of the server that leads."""
        address = self.client.sentinel_get_master_addr_by_name("here")
        return None if address is None else int(address[1])


class Servers:
    """All servers of a test run, each started when it is first asked for."""

    def __init__(self) -> None:
        self._everything = contextlib.ExitStack()
        self._count = 0
        self._encrypted: RedisServer | None = None

    @cached_property
    def _directory(self) -> Path:
        return Path(self._everything.enter_context(tempfile.TemporaryDirectory()))

    @cached_property
    def single(self) -> RedisServer:
        """One that tests share, and leave as it is."""
        return self.open()

    def make(
        self,
        *options: str,
        kind: type[RedisServer] = RedisServer,
        **more: Any,
    ) -> RedisServer:
        """Make a server that does not run yet; see ``RedisServer``."""
        self._count += 1
        server = kind(self._directory / str(self._count), *options, **more)
        self._everything.callback(server.stop)
        return server

    def open(self, *options: str, **more: Any) -> RedisServer:
        """Make a server and start it."""
        return self.make(*options, **more).start()

    @cached_property
    def secret(self) -> RedisServer:
        """One with a password."""
        return self.open(password="secret")

    @cached_property
    def old(self) -> RedisServer:
        """One that lacks what older ones lack."""
        return self.open("--rename-command", "XADD", "")

    def encrypted(self, certificate: Certificate) -> RedisServer:
        """Give one that encrypts, and has a password."""
        if self._encrypted is None:
            self._encrypted = self.open(certificate=certificate, password="secret")
        return self._encrypted

    @cached_property
    def cluster(self) -> list[RedisServer]:
        """Three servers of a Cluster that tests share."""
        return self.open_cluster([0, 5461, 10923, 16384])

    def open_cluster(self, bounds: list[int], *more: str) -> list[RedisServer]:
        """Start a Cluster.

        Arguments:
            bounds: the first slot of each server, and the end.
            more: options.
        """
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", *more]
        bus = [free_port() for _ in bounds[1:]]
        servers = [self.open(*options, "--cluster-port", str(port)) for port in bus]
        for number, server in enumerate(servers):
            server.client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first, last = bounds[number], bounds[number + 1] - 1
            server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server, port in zip(servers[1:], bus[1:], strict=True):
            command = ("CLUSTER", "MEET", "127.0.0.1", server.port, port)
            servers[0].client.execute_command(*command)
        wait_until(lambda: all(is_whole(each, len(bus)) for each in servers), "the Cluster")
        return servers

    def close(self) -> None:
        """End everything."""
        self._everything.close()


def is_whole(server: RedisServer, count: int) -> bool:
    """Tell whether a server of a Cluster knows as many servers as there are, with all slots."""
    info = server.client.execute_command("CLUSTER", "INFO")
    if isinstance(info, bytes):
        info = dict(line.split(":") for line in info.decode().split())
    slots = server.client.execute_command("CLUSTER", "SLOTS")
    return info["cluster_state"] == "ok" and len(slots) >= count


redis_servers = Servers()
"""The servers of this test run; conftest.py ends them."""
