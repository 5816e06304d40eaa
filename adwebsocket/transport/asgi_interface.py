"""ASGI's ``receive`` and ``send`` for the application behind a channel.

Our protocol class hands these to whatever application uvicorn serves: Starlette, Channels, or our
own when somebody stands in between. It translates dictionaries (ASGI HTTP & WebSocket
specification 2.5) and holds the state of that conversation, nothing of the connection's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .inbox import END

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping
    from typing import TypeAlias

    from .channel import Channel

AsgiEvent: TypeAlias = "MutableMapping[str, Any]"


# Where an application that knows us finds the channel in the scope.
EXTENSION: Final = "adwebsocket"


class ClientDisconnected(OSError):
    """Tell an application that it sends to a peer who has gone (ASGI specification 2.4)."""


class AsgiInterface:
    """The two callables of one ASGI WebSocket connection, on top of its channel."""

    __slots__ = ("_body", "_connect_received", "_refusal", "channel")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._connect_received = False
        self._refusal: tuple[int, list[tuple[bytes, bytes]]] | None = None
        self._body = b""
        channel.inbox.on_low = channel.resume_reading

    def extensions(self) -> dict[str, dict[str, Any]]:
        """Give what the scope says about our abilities."""
        return {"websocket.http.response": {}, EXTENSION: {"interface": self}}

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
    extension = (scope.get("extensions") or {}).get(EXTENSION)
    interface = extension["interface"] if extension else None
    if interface is None or receive != interface.receive or send != interface.send:
        return None
    channel: Channel = interface.channel
    return channel
