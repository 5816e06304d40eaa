"""uvicorn's parts around our HTTP protocols, on the loopback interface, and what they made."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import weakref
from typing import TYPE_CHECKING, Any

from event_loops import until
from loopback import Client, echo
from uvicorn.config import Config
from uvicorn.server import ServerState

from adwebsocket.transport.uvicorn_protocol import WebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from typing import Protocol as Interface

    from loopback import Application, Receive, Send

    from adwebsocket.transport.limits import Limits

    class Serve(Interface):
        """``serve``, for one HTTP protocol."""

        def __call__(
            self, limits: Limits | None = None, served: Application = ..., **options: Any
        ) -> AbstractAsyncContextManager[Server]: ...


PAGE = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve a page of four bytes, and an echo."""
    if scope["type"] == "websocket":
        await echo(scope, receive, send)
        return
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"page"})


class Server:
    """What serves connections with an HTTP protocol.

    Attributes:
        state: uvicorn's books.
        protocols: those that were made, as long as somebody has them.
        address: where it listens: host and port, or a path.
    """

    def __init__(
        self,
        protocol_class: type[asyncio.Protocol],
        limits: Limits | None,
        served: Application,
        options: dict[str, Any],
    ) -> None:
        # A name of its own, and room for weak references.
        self.protocol_class: Any = type("Watched", (protocol_class,), {})
        options = {"ws": WebSocketProtocol, **options}
        self.config = Config(
            served, http=self.protocol_class, lifespan="off", log_config=None, **options
        )
        self.config.load()
        if limits is not None:
            self.config.limits = limits  # type: ignore[attr-defined] # as our runner does
        self.state = ServerState()
        self.protocols: list[weakref.ref[asyncio.Protocol]] = []
        self.address: Any = None
        self.sockets: list[socket.socket] = []

    def new_protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.protocol_class(
            config=self.config, server_state=self.state, app_state={}
        )
        self.protocols.append(weakref.ref(protocol))
        return protocol

    async def connect(self) -> Client:
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        client = Client(socket.socket(family))
        self.sockets.append(client.socket)
        await asyncio.get_running_loop().sock_connect(client.socket, self.address)
        return client


@contextlib.asynccontextmanager
async def serve(
    protocol_class: type[asyncio.Protocol],
    limits: Limits | None = None,
    served: Application = application,
    *,
    path: str | None = None,
    **options: Any,
) -> AsyncIterator[Server]:
    """Serve an application; in the end, every connection must go when its client has gone.

    Arguments:
        protocol_class: what uvicorn is given as its HTTP protocol.
        limits: the bounds of a connection, as our runner sets them.
        served: the application.
        path: listen on a unix socket there, in place of a port.
        options: for uvicorn's configuration.
    """
    server = Server(protocol_class, limits, served, options)
    loop = asyncio.get_running_loop()
    listener: asyncio.Server
    if path is None:
        listener = await loop.create_server(
            server.new_protocol, "127.0.0.1", 0, ssl=server.config.ssl
        )
    else:
        listener = await loop.create_unix_server(server.new_protocol, path)
    server.address = listener.sockets[0].getsockname()
    try:
        yield server
    finally:
        listener.close()
        for client in server.sockets:
            client.close()
        await until(lambda: not server.state.connections and not server.state.tasks)


def status_of(answer: bytes) -> int:
    """Give the status of a response."""
    return int(answer.split(b" ", 2)[1])
