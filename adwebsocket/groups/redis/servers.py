"""One Redis server, as the threads of this process see it: its connections, and whether it answers.

Commands go to it and answers come back; who asks, and which server it is, is known elsewhere.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import redis

from .errors import Unreachable, explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .settings import Address, RedisSettings

# Seconds for which a server that has failed is left in peace.
_REST: Final = 0.5
# Before redis-py 5.3 the pool wants to know the command, which it does nothing with.
_POOL_ARGUMENTS: Final = () if tuple(redis.VERSION[:2]) >= (5, 3) else ("_",)


class Server:
    """A Redis server. From any thread.

    When it has failed, callers fail at once for a short time, after which one of them tries whether
    it is back: else each of many threads would wait until its time limit.

    Arguments:
        settings: how to connect.
        address: where to.
        asks_sentinel: it is a Sentinel.
        must_be_primary: refuse a server that follows another one. It would take messages, but give
            them to its own subscribers only.
    """

    def __init__(
        self,
        settings: RedisSettings,
        address: Address,
        *,
        asks_sentinel: bool = False,
        must_be_primary: bool = False,
    ) -> None:
        self.address = address
        self._timeout = settings.timeout
        self._failure: str | None = None
        self._resting_until = 0.0
        self._pool = settings.make_pool(
            address,
            asks_sentinel=asks_sentinel,
            on_connect=connect_to_primary if must_be_primary else None,
        )

    def talk(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one go and give their answers, some of which may be errors.

        Raises:
            Unreachable: it did not answer all of them.
        """
        self._check_rest()
        try:
            connection = self._pool.get_connection(*_POOL_ARGUMENTS)
        except (redis.RedisError, OSError) as error:
            raise self._fail(error, was_sent=False) from error
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            replies = [_read(connection) for _ in commands]
        except (redis.RedisError, OSError) as error:
            connection.disconnect()
            if isinstance(error, redis.TimeoutError) or _is_refusal(error):
                raise self._fail(error, was_sent=not _is_refusal(error)) from error
            # One connection was cut, which says little about others.
            raise Unreachable(explain(error), was_sent=True) from error
        except BaseException:
            # The answer would be taken for that to the next command.
            connection.disconnect()
            raise
        finally:
            self._pool.release(connection)
        self._failure = None
        return replies

    def close(self) -> None:
        """Close all connections."""
        self._pool.disconnect()

    def _check_rest(self) -> None:
        failure = self._failure
        if failure is None:
            return
        now = time.monotonic()
        if now < self._resting_until:
            raise Unreachable(failure, was_sent=False)
        # The others wait for what this caller finds out.
        self._resting_until = now + 2 * self._timeout

    def _fail(self, error: BaseException, *, was_sent: bool) -> Unreachable:
        self._failure = explain(error)
        self._resting_until = time.monotonic() + _REST
        return Unreachable(self._failure, was_sent=was_sent)


def connect_to_primary(connection: Any) -> None:
    """Begin a connection, to a server that follows no other one."""
    connection.on_connect()
    connection.send_command("ROLE")
    role = connection.read_response()[0]
    if role != b"master":
        raise redis.ConnectionError(f"{connection.host}:{connection.port} is no primary any more")


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def _is_refusal(error: BaseException) -> bool:
    """Tell whether an error that redis-py counts among those of connections came as an answer."""
    return isinstance(error, redis.AuthenticationError | redis.BusyLoadingError)
