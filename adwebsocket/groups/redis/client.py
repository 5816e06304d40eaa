"""Commands to Redis from the threads of this process: which server they go to, and what may fail.

Publishers, counts, histories and heartbeats come through here. It knows servers, connections and
redirections, and nothing of groups. Nothing waits for longer than the time limits, and where a
server has just failed, callers hear of it at once.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from .errors import PASSING, Unreachable, check, kind_of, read_redirection
from .locators import find_locator
from .scripts import text_of
from .servers import Server

if TYPE_CHECKING:
    from .settings import Address, RedisSettings

# How often a command may be sent elsewhere before there are pauses.
_AT_ONCE: Final = 3
# Seconds before it is sent again.
_PAUSE: Final = 0.05
# Seconds after which servers that refer to others are believed to do so for long. A slot is moved
# in less, mostly.
_PATIENCE: Final = 1.5


class Client:
    """Everything that this process says to Redis, save subscriptions. From any thread.

    Arguments:
        settings: where Redis is.

    Attributes:
        locator: knows which server has which key.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._servers: dict[Address, Server] = {}
        self.locator = find_locator(settings)

    def ask(self, key: str, *command: Any) -> Any:
        """Send a command to the server that has a key, and give its answer.

        Raises:
            Unreachable: none came, or it is an error.
        """
        return check(self._ask(key, *command))

    def _ask(self, key: str, *command: Any) -> Any:
        reply: Any = None
        failure: Unreachable | None = None
        target: Address | None = None
        deadline = time.monotonic() + _PATIENCE
        for attempt in itertools.count():
            asking = target is not None
            try:
                address = target or self.locator.find(key)
                target = None
                commands = [("ASKING",), command] if asking else [command]
                reply = self._server(address).talk(commands)[-1]
            except Unreachable as error:
                self.locator.forget()
                if error.was_sent or not self.locator.has_choice or failure is not None:
                    raise
                failure = error
                continue
            kind = kind_of(reply)
            if kind == "ASK":
                target = read_redirection(reply, address)
            elif kind == "MOVED":
                self.locator.note_move(reply, address)
            elif kind == "NOSCRIPT":
                command = ("EVAL", text_of(command[1]), *command[2:])
            elif kind in PASSING:
                self.locator.forget()
            else:
                return reply
            failure = None
            if kind in PASSING or attempt > _AT_ONCE:
                if time.monotonic() > deadline:
                    break
                time.sleep(_PAUSE)
        return reply

    def ask_all(self, commands: list[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        """Send many commands, each with its key, and give all answers.

        Raises:
            Unreachable: one of them got none, or it is an error.
        """
        replies = self.ask_each(commands)
        for reply in replies:
            if isinstance(reply, Unreachable):
                raise reply
        return replies

    def ask_each(self, commands: list[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        """Send many commands, each with its key; give for each the answer or ``Unreachable``.

        Those that go to the same server are carried out in their order.
        """
        try:
            shares = self._share(commands)
        except Unreachable as error:
            return [error] * len(commands)
        replies: list[Any] = [None] * len(commands)
        for address, indices in shares.items():
            try:
                answers = self._server(address).talk([commands[index][1] for index in indices])
            except Unreachable as error:
                self.locator.forget()
                answers = [error] * len(indices)
            for index, reply in zip(indices, answers, strict=True):
                replies[index] = self._settle(reply, *commands[index])
        return replies

    def _settle(self, reply: Any, key: str, command: tuple[Any, ...]) -> Any:
        """Ask again where that is called for."""
        try:
            if kind_of(reply) in ("MOVED", "ASK", "NOSCRIPT", *PASSING):
                reply = self._ask(key, *command)
            return check(reply)
        except Unreachable as error:
            return error

    def _share(self, commands: list[tuple[str, tuple[Any, ...]]]) -> dict[Address, list[int]]:
        """Tell which commands go to which server."""
        shares: dict[Address, list[int]] = {}
        for index, (key, _) in enumerate(commands):
            shares.setdefault(self.locator.find(key), []).append(index)
        return shares

    def close(self) -> None:
        """Close all connections; the client may be used again."""
        with self._lock:
            servers, self._servers = list(self._servers.values()), {}
        for server in servers:
            server.close()
        self.locator.close()

    def _server(self, address: Address) -> Server:
        with self._lock:
            server = self._servers.get(address)
            if server is None:
                is_checked = self._settings.sentinel is not None
                server = Server(self._settings, address, must_be_primary=is_checked)
                self._servers[address] = server
            return server
