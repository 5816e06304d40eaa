"""ASGI's ``receive`` and ``send`` for the application behind a channel.

Our protocol class hands these to whatever application uvicorn serves: Starlette, Channels, or our
own when somebody stands in between. It translates dictionaries (ASGI HTTP & WebSocket
specification 2.5) and holds the state of that conversation, nothing of the connection's.
"""

from __future__ import annotations

import asyncio
import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ..protocol.codes import CloseCode
from .inbox import END
from .tally import tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
    from typing import TypeAlias

    from .channel import Channel

AsgiEvent: TypeAlias = "MutableMapping[str, Any]"

# Where uvicorn reports what goes wrong in an application.
logger = logging.getLogger("uvicorn.error")

# What tells an application that its ``receive`` is one of ours, with a channel behind it.
EXTENSION: Final = "adwebsocket"
_NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})


class ClientDisconnected(OSError):
    """Tell an application that it sends to a peer who has gone (ASGI specification 2.4)."""


class AsgiInterface:
    """The application's side of one ASGI WebSocket connection, on top of its channel."""

    __slots__ = ("_body", "_connect_received", "_refusal", "channel")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._connect_received = False
        self._refusal: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._body = b""

    @staticmethod
    def extensions() -> dict[str, Mapping[str, Any]]:
        """Give what the scope says about our abilities."""
        return {"websocket.http.response": _NO_OPTIONS, EXTENSION: _NO_OPTIONS}

    async def run(self, application: Callable[..., Awaitable[None]], scope: dict[str, Any]) -> None:
        """Call the application, and close what it leaves open."""
        channel = self.channel
        try:
            await application(scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            self._end(CloseCode.SERVICE_RESTART)
            raise
        except Exception:
            logger.exception("Exception in ASGI application\n")
            self._end(CloseCode.INTERNAL_ERROR)
        else:
            if not channel.accepted and not channel.refused and not channel.ended:
                logger.error("ASGI callable returned without answering the handshake.")
            self._end(CloseCode.NORMAL_CLOSURE)

    def _end(self, code: CloseCode) -> None:
        if self.channel.accepted:
            self.channel.close(code)
        elif not self.channel.refused:
            tally.reasons.count("error")
            headers = [(b"Content-Type", b"text/plain")]
            self.channel.refuse(500, headers, b"Internal Server Error\n")

    async def receive(self) -> AsgiEvent:
        """Wait for the next event; after the end that is ``websocket.disconnect`` each time."""
        if not self._connect_received:
            self._connect_received = True
            return {"type": "websocket.connect"}
        inbox = self.channel.inbox
        await inbox.wait_for_item()
        message = inbox.take() if inbox.items else END
        if message is END:
            return self._disconnect()
        if isinstance(message, str):
            return {"type": "websocket.receive", "text": message}
        return {"type": "websocket.receive", "bytes": message}

    async def send(self, event: AsgiEvent) -> None:
        """Act on an event of the application.

        Raises:
            RuntimeError: the event is not allowed now; the message says which ones are.
            ValueError: a close code, a close reason or a header must not be sent.
            ClientDisconnected: the peer has gone.
        """
        channel = self.channel
        kind = event["type"]
        if channel.refused:
            raise RuntimeError(f"got {kind!r} after the handshake was refused")
        if channel.accepted and kind == "websocket.send":
            self._send_message(event)
            await channel.drain()
        elif channel.accepted and kind == "websocket.close":
            channel.close(event.get("code") or 1000, event.get("reason") or "")
        elif channel.accepted:
            raise RuntimeError(f"expected 'websocket.send' or 'websocket.close', got {kind!r}")
        else:
            self._answer_handshake(event)

    def _send_message(self, event: AsgiEvent) -> None:
        if self.channel.ended:
            raise ClientDisconnected("the WebSocket connection is closed")
        data = event.get("bytes")
        if data is None:
            data = event.get("text")
        if data is None:
            raise RuntimeError("'websocket.send' needs 'bytes' or 'text'")
        self.channel.write(self.channel.prepare(data))

    def _answer_handshake(self, event: AsgiEvent) -> None:
        kind = event["type"]
        if self._refusal is not None:
            if kind != "websocket.http.response.body":
                raise RuntimeError(f"expected 'websocket.http.response.body', got {kind!r}")
            self._body += event.get("body", b"")
            if not event.get("more_body", False):
                self.channel.refuse(*self._refusal, self._body)
        elif kind == "websocket.accept":
            self.channel.accept(event.get("subprotocol"), _headers(event))
        elif kind == "websocket.close":
            self.channel.refuse(403, [], b"")
        elif kind == "websocket.http.response.start":
            self._refusal = (event["status"], _headers(event))
        else:
            raise RuntimeError(
                "expected 'websocket.accept', 'websocket.close' or "
                f"'websocket.http.response.start', got {kind!r}"
            )

    def _disconnect(self) -> AsgiEvent:
        channel = self.channel
        code = channel.close_code
        return {
            "type": "websocket.disconnect",
            "code": 1006 if code is None else code,
            "reason": channel.close_reason,
        }


def _headers(event: AsgiEvent) -> list[tuple[bytes, bytes]]:
    headers: Iterable[tuple[bytes, bytes]] = event.get("headers") or ()
    return [(bytes(name), bytes(value)) for name, value in headers]


def find_channel(
    scope: MutableMapping[str, Any],
    receive: Callable[..., Any],
    send: Callable[..., Any],
) -> Channel | None:
    """Give the channel under a scope for the direct path, or None where plain ASGI is the way.

    A middleware that put its own ``receive`` or ``send`` in place of ours listens in, and would
    hear nothing on the direct path; so that is taken only where nobody did.
    """
    interface = getattr(receive, "__self__", None)
    if (
        EXTENSION not in (scope.get("extensions") or ())
        or not isinstance(interface, AsgiInterface)
        or receive != interface.receive
        or send != interface.send
    ):
        return None
    return interface.channel
