"""A server of the protocol class on the loopback interface, and clients that are plain sockets.

In uvicorn's place stands ``Front``: it waits for the head of a request, makes the protocol and
hands it the transport, as uvicorn's HTTP protocols do. Configuration and books are uvicorn's own.
The clients write what a test tells them, right or wrong, and read bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any, cast

from event_loops import until
from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from adwebsocket.async_websocket import AsyncWebSocket
from adwebsocket.transport.asgi_interface import find_channel
from adwebsocket.transport.bridge import get_bridge
from adwebsocket.transport.uvicorn_protocol import WebSocketProtocol
from adwebsocket.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import NoReturn

    from adwebsocket.transport.channel import Channel
    from adwebsocket.transport.limits import Limits

    Event = dict[str, Any]
    Receive = Callable[[], Awaitable[Event]]
    Send = Callable[[Event], Awaitable[None]]
    Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

# The example of RFC 6455 section 1.3.
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ANSWER_TO_KEY = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
ACCEPT = {"type": "websocket.accept"}


def request(path: str = "/", *lines: str, version: int = 13) -> bytes:
    """Write an opening handshake, with some headers more."""
    head = [
        f"GET {path} HTTP/1.1",
        "Host: example.com",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        f"Sec-WebSocket-Version: {version}",
        *lines,
    ]
    return "".join(f"{line}\r\n" for line in [*head, ""]).encode()


def text(message: str) -> bytes:
    """Write the frame of a text message."""
    return Frame(Opcode.TEXT, message.encode()).serialize(mask=True)


def binary(message: bytes) -> bytes:
    """Write the frame of a binary message."""
    return Frame(Opcode.BINARY, message).serialize(mask=True)


def ping(payload: bytes) -> bytes:
    """Write a ping."""
    return Frame(Opcode.PING, payload).serialize(mask=True)


def close(code: int | None = None, reason: str = "") -> bytes:
    """Write a close frame."""
    payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
    return Frame(Opcode.CLOSE, payload).serialize(mask=True)


def channel_of(scope: dict[str, Any], receive: Receive, send: Send) -> Channel:
    """Give the channel that an application on the direct path has."""
    channel = find_channel(scope, receive, send)
    assert channel is not None
    return channel


def in_thread(view: Callable[[WebSocket], None]) -> Application:
    """Make an application that runs a view on a blocking socket, in a thread."""

    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        socket = WebSocket(channel_of(scope, receive, send), get_bridge())
        socket.accept()
        await asyncio.get_running_loop().run_in_executor(None, view, socket)

    return application


def on_loop(view: Callable[[AsyncWebSocket], Awaitable[None]]) -> Application:
    """Make an application that runs a view on an async socket."""

    async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        socket = AsyncWebSocket(channel_of(scope, receive, send))
        socket.accept()
        await view(socket)

    return application


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Send back what comes, until the client goes."""
    await receive()
    await send(ACCEPT)
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


class Client:
    """A client's side of a connection."""

    def __init__(self, plain_socket: socket.socket) -> None:
        self.socket = plain_socket
        self.socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._unread = bytearray()

    async def write(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.socket, data)

    async def write_for_ever(self, data: bytes) -> NoReturn:
        while True:
            await self.write(data)

    async def open(self, *lines: str, early: bytes = b"", path: str = "/") -> bytes:
        """Do the handshake; give the head of the answer."""
        await self.write(request(path, *lines) + early)
        head = await self.read_head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        return head

    async def read_head(self) -> bytes:
        """Read up to the empty line behind the headers."""
        while b"\r\n\r\n" not in self._unread:
            await self._read_more()
        return self._take(self._unread.index(b"\r\n\r\n") + 4)

    async def read_frame(self) -> tuple[int, bytes]:
        """Read one frame, as opcode and payload."""
        first, length = await self._read_exactly(2)
        assert first & 0xF0 == 0x80
        if length >= 126:
            length = int.from_bytes(await self._read_exactly(2 if length == 126 else 8), "big")
        return first & 0x0F, await self._read_exactly(length)

    async def read_close_code(self) -> int | None:
        """Read until a close frame, and give its code, None where it has none."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == Opcode.CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else None

    async def read_to_end(self) -> bytes:
        """Read until the server ends its half."""
        with contextlib.suppress(EOFError):
            while True:
                await self._read_more()
        return self._take(len(self._unread))

    async def read_some(self) -> bytes:
        """Read what is there, or what comes next."""
        if not self._unread:
            await self._read_more()
        return self._take(len(self._unread))

    async def read_until_gone(self) -> None:
        """Read until nothing comes any more, by whatever cause."""
        with contextlib.suppress(ConnectionError):
            await self.read_to_end()

    async def _read_exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            await self._read_more()
        return self._take(size)

    async def _read_more(self) -> None:
        data = await self._loop.sock_recv(self.socket, 65536)
        if not data:
            raise EOFError
        self._unread += data

    def _take(self, size: int) -> bytes:
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    def end_writing(self) -> None:
        """End this half of the byte stream, without a close frame."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Break the connection off, so that the server sees an error in place of an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Front(asyncio.Protocol):
    """Read the head of a request, as uvicorn does, and pass it on with what stands behind it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.transports.append(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, early = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        server = self._server
        protocol = WebSocketProtocol(
            config=server.config, server_state=server.state, app_state=server.app_state
        )
        server.protocols.append(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(head + end)
        self._transport.set_protocol(protocol)
        if early:
            protocol.data_received(early)


class Server:
    """What serves an application, and what became of it.

    Attributes:
        protocols, transports: those of the connections, in the order in which they came.
    """

    def __init__(
        self, application: Application, limits: Limits | None, options: dict[str, Any]
    ) -> None:
        self.config = Config(
            app=application,
            http="h11",
            ws=WebSocketProtocol,
            lifespan="off",
            log_config=None,
            proxy_headers=False,
            **options,
        )
        self.config.load()
        if limits is not None:
            self.config.limits = limits  # type: ignore[attr-defined] # as our runner does
        self.state = ServerState()
        self.state.default_headers = [(b"server", b"test")]
        self.app_state: dict[str, Any] = {}
        self.protocols: list[WebSocketProtocol] = []
        self.transports: list[asyncio.Transport] = []
        self.clients: list[Client] = []
        self.address: tuple[str, int] = ("", 0)

    async def connect(self, receive_buffer: int | None = None) -> Client:
        """Connect a client, with so many bytes for what it has not read where that matters."""
        plain_socket = socket.socket()
        if receive_buffer is not None:
            plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client = Client(plain_socket)
        self.clients.append(client)
        await asyncio.get_running_loop().sock_connect(client.socket, self.address)
        return client

    async def wait_until_empty(self) -> None:
        """Wait until every connection is lost and every application has returned."""
        await until(lambda: not self.state.connections and not self.state.tasks)


@contextlib.asynccontextmanager
async def serve(
    application: Application, limits: Limits | None = None, **options: Any
) -> AsyncIterator[Server]:
    """Serve an application; in the end, every connection must go when its client has gone.

    Arguments:
        application: what to serve.
        limits: the bounds of a connection, as our runner sets them.
        options: for uvicorn's configuration.
    """
    server = Server(application, limits, options)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Front(server), "127.0.0.1", 0)
    server.address = listener.sockets[0].getsockname()
    try:
        yield server
        for client in server.clients:
            client.socket.close()
        await server.wait_until_empty()
    finally:
        listener.close()
        for client in server.clients:
            client.socket.close()
        for task in list(server.state.tasks):
            task.cancel()
        if server.state.connections:
            for transport in server.transports:
                # asyncio's fails if it has closed behind its last write.
                with contextlib.suppress(AttributeError):
                    transport.abort()
        await server.wait_until_empty()
