"""The servers that our application runs on, and what each of them cannot do.

Everything else must be the same on all of them. What is listed was seen with the versions named;
a test accepts the poorer outcome there, and the right one as soon as a newer version has it.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from tests.components import skip_or_fail

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER = Path(__file__).parent

Value = TypeVar("Value")
Listens: TypeAlias = Literal["plainly", "with TLS", "at a UNIX domain socket"]

ACCEPT_HEADERS = "sends the headers of an accepted handshake"
CLIENT_CODES = "tells with which code the client closed"
CLIENT_REASONS = "tells with which reason the client closed"
CLOSE_REASONS = "sends the reason with which a view closes"
EMPTY_MESSAGES = "sends empty messages"
ERRORS = "answers a handshake with 500 where the application raises"
LINGERS = "reads on behind its close frame, which the client would else lose to a reset"
LOSSES = "tells a lost connection (1006) from a close frame without a code (1005)"
REFUSALS = "has the websocket.http.response extension, so that it can refuse with a response"
REPEATED_HEADERS = "survives a refusal in which a header comes twice, such as Set-Cookie"


@dataclass(frozen=True)
class Host:
    """One way to serve the application.

    Attributes:
        packages: what must be installed.
        arguments: what follows the interpreter.
        listens: how: plainly at a port, with TLS at a port, or at a UNIX domain socket.
        channel: the class under the sockets: it tells the direct path from plain ASGI.
        lacks: the abilities in this module that the server does not have.
        errors: how the tracebacks end that it logs by its own doing.
    """

    packages: tuple[str, ...]
    arguments: tuple[str, ...]
    listens: Listens = "plainly"
    channel: str = "AsgiChannel"
    lacks: frozenset[str] = frozenset()
    errors: tuple[str, ...] = ()

    def outcomes(self, ability: str, right: Value, poorer: Value) -> list[Value]:
        """Return what may come: the right outcome, or also the poorer one without the ability."""
        return [right, poorer] if ability in self.lacks else [right]


def runner(*arguments: str) -> tuple[str, ...]:
    return ("-m", "adwebsocket", "project:application", *arguments)


def uvicorn(application: str, protocol: str) -> tuple[str, ...]:
    return (
        *("-m", "uvicorn", f"project:{application}", "--port", "{port}", "--ws", protocol),
        *("--timeout-graceful-shutdown", "5"),
    )


HOSTS = {
    "adwebsocket": Host(
        ("uvicorn",),
        uvicorn("application", "adwebsocket:WebSocketProtocol"),
        channel="WebSocketProtocol",
    ),
    "adwebsocket-listened": Host(
        ("uvicorn",), uvicorn("listened_application", "adwebsocket:WebSocketProtocol")
    ),
    "adwebsocket-tls": Host(
        ("uvicorn",), runner("--port", "{port}"), listens="with TLS", channel="WebSocketProtocol"
    ),
    "adwebsocket-tls-asyncio": Host(
        ("uvicorn",),
        runner("--port", "{port}", "--loop", "asyncio"),
        listens="with TLS",
        channel="WebSocketProtocol",
    ),
    "adwebsocket-unix-socket": Host(
        ("uvicorn",),
        runner("--uds", "{socket}"),
        listens="at a UNIX domain socket",
        channel="WebSocketProtocol",
    ),
    # uvicorn 0.54
    "uvicorn-websockets-sansio": Host(
        ("uvicorn", "websockets"),
        uvicorn("application", "websockets-sansio"),
        lacks=frozenset({LOSSES}),
    ),
    "uvicorn-wsproto": Host(
        ("uvicorn", "wsproto"), uvicorn("application", "wsproto"), lacks=frozenset({LOSSES})
    ),
    "uvicorn-websockets": Host(
        ("uvicorn", "websockets.legacy"), uvicorn("application", "websockets")
    ),
    # hypercorn 0.18
    "hypercorn": Host(
        ("hypercorn",),
        ("-m", "hypercorn", "project:application", "--bind", "127.0.0.1:{port}"),
        lacks=frozenset({CLIENT_CODES}),
    ),
    # daphne 4.2
    "daphne": Host(
        ("daphne",),
        ("-m", "daphne", "project:application", "--port", "{port}"),
        lacks=frozenset({ACCEPT_HEADERS, CLIENT_REASONS, CLOSE_REASONS, EMPTY_MESSAGES, REFUSALS}),
        # It closes with 1011 for an application that raises, not for one that asks for it.
        errors=("Exception: invalid close code 1011",),
    ),
    # granian 2.8
    "granian": Host(
        ("granian",),
        ("-m", "granian", "project:application", "--interface", "asgi", "--port", "{port}"),
        lacks=frozenset(
            {ACCEPT_HEADERS, CLIENT_REASONS, ERRORS, LINGERS, LOSSES, REPEATED_HEADERS}
        ),
    ),
}


def require(packages: Iterable[str]) -> None:
    """Skip what needs a package that is missing, as it may be anywhere but in CI: there, fail."""
    missing = [package for package in packages if not is_installed(package)]
    if not missing:
        return
    skip_or_fail(f"not installed: {', '.join(missing)}")


def is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the parent of a submodule
        return False
