"""What may go wrong between this process and Redis, in words that help.

Used by all that speaks with Redis. redis-py tells some errors by class and others, in older
releases, by the first word of their text; here it is always the word.
"""

from __future__ import annotations

import logging
import re
import ssl
import time
from typing import TYPE_CHECKING, Any, Final

import redis
from redis import exceptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import Address

logger = logging.getLogger("adwebsocket.groups")

_REDIRECTION: Final = re.compile(r"\d+ (\S*):(\d+)")
_KINDS: Final[dict[type[BaseException], str]] = {
    exceptions.MovedError: "MOVED",
    exceptions.AskError: "ASK",
    exceptions.TryAgainError: "TRYAGAIN",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.NoScriptError: "NOSCRIPT",
}
# A server that answers so is no server at the moment; it, or another one, will be.
PASSING: Final = frozenset({"TRYAGAIN", "MASTERDOWN", "CLUSTERDOWN", "READONLY"})


class Unreachable(Exception):
    """Redis did not do what it was asked for.

    Arguments:
        text: why, for people.
        was_sent: whether it may have been done all the same, or may be done later.
        was_refused: whether Redis has answered, and would so again.
    """

    def __init__(self, text: str, *, was_sent: bool, was_refused: bool = False) -> None:
        super().__init__(text)
        self.was_sent = was_sent
        self.was_refused = was_refused


def kind_of(reply: Any) -> str | None:
    """Give the word that an error from Redis begins with, None for an answer."""
    if not isinstance(reply, redis.RedisError):
        return None
    for error in type(reply).__mro__:
        if error in _KINDS:
            return _KINDS[error]
    return str(reply).partition(" ")[0]


def read_redirection(error: BaseException, asked: Address) -> Address:
    """Give the address that a server of a Cluster has named instead of its own."""
    found = _REDIRECTION.search(str(error))
    if found is None:
        raise Unreachable(f"{asked} redirects to nowhere: {error}", was_sent=False)
    return asked._replace(host=found[1] or asked.host, port=int(found[2]))


def check(reply: Any) -> Any:
    """Give an answer.

    Raises:
        Unreachable: it is an error.
    """
    if isinstance(reply, redis.RedisError):
        was_refused = kind_of(reply) not in PASSING
        raise Unreachable(explain(reply), was_sent=False, was_refused=was_refused)
    return reply


def explain(error: BaseException) -> str:
    """Say in a sentence what is wrong, where Redis does not."""
    text = str(error) or type(error).__name__
    if "unknown" in text.lower() and "command" in text.lower():
        return (
            f"this server is too old, or its administrator has taken commands away: {text}; "
            "groups need Redis 5, on a Cluster Redis 7, or any Valkey"
        )
    if isinstance(error, redis.AuthenticationError | exceptions.NoPermissionError):
        return f"Redis refuses the username or password, or does not allow it: {text}"
    if isinstance(error, ssl.SSLError) or "SSL" in text:
        return f"TLS with Redis fails: {text}"
    return text


class Reporter:
    """Writes to the log what is wrong, without repeating itself.

    Arguments:
        seconds: until the same is written again.
        clock: gives the time in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._written: dict[str, float] = {}

    def report(self, kind: str, text: str, *arguments: Any) -> None:
        """Write a warning, unless one of its kind has been written lately."""
        now = self._clock()
        if now - self._written.get(kind, float("-inf")) >= self._seconds:
            self._written[kind] = now
            logger.warning(text, *arguments)

    def forget(self) -> bool:
        """Write everything again when it happens; tell whether anything had been written."""
        had_any = bool(self._written)
        self._written.clear()
        return had_any
