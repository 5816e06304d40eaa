"""The WebSocket protocol class for uvicorn: ``--ws adwebsocket:WebSocketProtocol``.

uvicorn creates one for each upgrade request and gives it the transport. It is the asyncio driver
of the sans-I/O connection, the channel of our facades, and the ASGI server of any other
application. It knows nothing of Django.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, unquote

from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from ..exceptions import HandshakeError
from ..protocol import handshake
from ..protocol.codes import CloseCode
from ..protocol.connection import Connection
from ..protocol.deflate import DeflateOptions, negotiate
from ..protocol.events import Close
from ..protocol.frames import encode_message
from ..protocol.state import State
from .asgi_interface import AsgiInterface, ClientDisconnected
from .channel import Channel
from .limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from ..protocol.connection import Prepared
    from ..protocol.frames import Message
    from ..protocol.handshake import Headers

logger = logging.getLogger("uvicorn.error")
access_logger = logging.getLogger("uvicorn.access")

_CONNECTING: Final = State.CONNECTING
_OPEN: Final = State.OPEN


class WebSocketProtocol(asyncio.Protocol, Channel):
    """Serve one WebSocket connection on a transport that uvicorn hands over.

    Arguments:
        config: uvicorn's configuration.
        server_state: uvicorn's connections, tasks and default headers.
        app_state: the lifespan state, copied into the scope.
    """

    # No instance dictionary: an idle connection costs memory for as long as it lasts.
    __slots__ = (
        "_close_timer",
        "_config",
        "_connection",
        "_interface",
        "_key",
        "_scope",
        "_server_state",
        "_state",
        "_transport",
        "_unread",
        "prepare",
    )
    # A message goes straight to what encodes it: a method in between would cost 1 % of an echo.
    prepare: Callable[[Message], Prepared]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        limits = Limits(
            max_message_size=config.ws_max_size,
            compression=DeflateOptions() if config.ws_per_message_deflate else None,
        )
        Channel.__init__(self, _loop or asyncio.get_running_loop(), limits)
        self._config = config
        self._server_state = server_state
        self._state = app_state
        self._connection = Connection(limits.max_message_size)
        self._transport: asyncio.Transport
        self._scope: dict[str, Any] | None = None
        self._key = b""
        self._unread = b""
        self.prepare = encode_message
        self._interface: AsgiInterface | None = None
        self._close_timer: asyncio.TimerHandle | None = None

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport of an HTTP connection."""
        self._transport = cast("asyncio.Transport", transport)
        # uvicorn's annotation names its own classes; it calls shutdown() on what is in here.
        connections: set[Any] = self._server_state.connections
        connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Read frames; before them, the request that uvicorn passes on."""
        connection = self._connection
        if connection.state is _CONNECTING:
            self._receive_early(data)
            return
        put = self.inbox.put
        for event in connection.receive_data(data):
            if isinstance(event, (str, bytes)):
                put(event)
            elif isinstance(event, Close):
                self.end(event.code, event.reason)
        if connection.output:
            self._write_output()
        if connection.state is not _OPEN and connection.is_over():
            self._finish_transport()

    def _write_output(self) -> None:
        """Write pongs and close frames; pongs only to a peer that takes them.

        One that pings and does not read would have us store the answers. It is not read either
        until it does.
        """
        connection = self._connection
        if self.writable or connection.state is not _OPEN:
            self._transport.write(connection.data_to_send())
        else:
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """Let the transport close: half a connection is of no use to a WebSocket.

        It closes behind the bytes that are left to write, which a peer that does not read would
        put off for ever.
        """
        self._connection.receive_eof()
        self.end(CloseCode.ABNORMAL_CLOSURE, "")
        self._start_close_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits, and let go of uvicorn's books."""
        self._server_state.connections.discard(self)
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        self._connection.receive_eof()
        self._unread = b""
        self.end(CloseCode.ABNORMAL_CLOSURE, "")
        self.set_writable(True)

    def pause_writing(self) -> None:
        """Make senders wait: the peer is slower than we are."""
        self.set_writable(False)

    def resume_writing(self) -> None:
        """Let senders go on, and pongs that had to wait."""
        self.set_writable(True)
        if self._connection.output:
            self._transport.write(self._connection.data_to_send())
            if not self.inbox.paused and not self._transport.is_closing():
                self._transport.resume_reading()

    def shutdown(self) -> None:
        """Close with 1012, since uvicorn wants to stop."""
        if self._connection.state is State.CONNECTING:
            # To the application this is a client that went away: it may still be about to answer.
            self._send_refusal(503, (), b"The server is shutting down.\n")
        else:
            self.close(CloseCode.SERVICE_RESTART, "")

    # The handshake

    def _receive_early(self, data: bytes) -> None:
        if self._scope is not None:
            # A client that does not wait for our answer; read when that is out.
            self._unread += data
            if len(self._unread) > self.limits.inbox_bytes:
                self._transport.pause_reading()
            return
        try:
            request = handshake.parse_request(data)._replace(http_version=self._http_version())
            self._key = handshake.check_upgrade(
                request.method, request.http_version, request.headers
            )
        except HandshakeError as error:
            headers = [(b"Content-Type", b"text/plain; charset=utf-8"), *error.headers]
            self.refuse(error.status, headers, f"{error.message}\n".encode())
            return
        self._scope = self._build_scope(request)
        self._start_application(self._scope)

    def _http_version(self) -> str:
        # uvicorn rewrites every request line to HTTP/1.1; the class that read it, which still
        # owns the transport at this moment, knows better.
        http_protocol = self._transport.get_protocol()
        scope: dict[str, Any] = getattr(http_protocol, "scope", None) or {}
        version: str = scope.get("http_version", "1.1")
        return version

    def _build_scope(self, request: handshake.UpgradeRequest) -> dict[str, Any]:
        raw_path, _, query_string = request.target.partition(b"?")
        root_path = self._config.root_path
        self._interface = AsgiInterface(self)
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": request.http_version,
            "scheme": "wss" if is_ssl(self._transport) else "ws",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "root_path": root_path,
            "path": root_path + unquote(raw_path.decode("ascii")),
            "raw_path": root_path.encode("ascii") + raw_path,
            "query_string": query_string,
            "headers": request.headers,
            "subprotocols": handshake.offered_subprotocols(request.headers),
            "state": self._state.copy(),
            "extensions": self._interface.extensions(),
        }

    def _start_application(self, scope: dict[str, Any]) -> None:
        task = self.loop.create_task(self._run_application(scope))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    async def _run_application(self, scope: dict[str, Any]) -> None:
        assert self._interface is not None
        app: Any = self._config.loaded_app
        try:
            await app(scope, self._interface.receive, self._interface.send)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            self._end_by_application(CloseCode.SERVICE_RESTART)
            raise
        except Exception:
            logger.exception("Exception in ASGI application\n")
            self._end_by_application(CloseCode.INTERNAL_ERROR)
        else:
            if not self.accepted and not self.refused and not self.ended:
                logger.error("ASGI callable returned without answering the handshake.")
            self._end_by_application(CloseCode.NORMAL_CLOSURE)
        finally:
            self._scope = scope = {}
            self._interface = None

    def _end_by_application(self, code: CloseCode) -> None:
        """Close what the application has left open."""
        if self.accepted:
            self.close(code)
        elif not self.refused:
            self.refuse(500, [(b"Content-Type", b"text/plain")], b"Internal Server Error\n")

    # What the facades call

    def accept(self, subprotocol: str | None = None, headers: Headers = ()) -> None:
        """Answer the handshake with 101; nothing is sent if the peer has gone meanwhile."""
        self.check_unanswered()
        if not self.ended:
            headers = [*self._server_state.default_headers, *headers, *self._agree_on_deflate()]
            self._transport.write(handshake.encode_accept(self._key, subprotocol, headers))
            self._connection.accept()
            self._connection.max_message_size = self.limits.max_message_size
            self._transport.set_write_buffer_limits(self.limits.outbox_bytes)
            self._log_access(101)
        self.accepted = True
        self.subprotocol = subprotocol
        if self._unread:
            unread, self._unread = self._unread, b""
            self._transport.resume_reading()
            self.data_received(unread)

    def _agree_on_deflate(self) -> Headers:
        assert self._scope is not None
        agreed = negotiate(self._scope["headers"], self.limits.compression)
        if agreed is None:
            return ()
        answer, self._connection.deflate = agreed
        self.prepare = self._connection.prepare
        return ((b"Sec-WebSocket-Extensions", answer.encode()),)

    def refuse(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer the handshake with an ordinary HTTP response, and close."""
        self.check_unanswered()
        self._send_refusal(status, headers, body)
        self.refused = True

    def _send_refusal(self, status: int, headers: Headers, body: bytes) -> None:
        if not self.ended:
            headers = [*self._server_state.default_headers, *headers]
            self._transport.write(handshake.encode_refusal(status, headers, body))
            self._connection.refuse()
            self._log_access(status)
            self._finish_transport()
            self.end(CloseCode.ABNORMAL_CLOSURE, "")

    def write(self, prepared: Prepared) -> None:
        """Write a frame, unless the connection is over."""
        if self._connection.state is _OPEN:
            if self._transport.is_closing():
                # After a failed write the transport drops the rest in silence, and only a sender
                # that waits lets the loop come to connection_lost().
                self.set_writable(False)
                return
            if isinstance(prepared, tuple):
                prepared = self._connection.finish(prepared)
            self._transport.write(prepared)

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Begin the closing handshake; the peer has ``limits.close_timeout`` to answer."""
        if self._connection.state is not _OPEN:
            return
        self._connection.send_close(code, reason)
        self._transport.write(self._connection.data_to_send())
        self.end(code, reason)
        # The peer's close frame may stand behind messages that nobody will take.
        self._transport.resume_reading()
        self._start_close_timer()

    def pause_reading(self) -> None:
        """Stop reading from the peer: the inbox is full."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading, if the inbox has room again."""
        is_wanted = self.inbox.resume_if_low() and not self._transport.is_closing()
        # With pongs that wait to be written, reading goes on when they are.
        if is_wanted and not self._connection.output:
            self._transport.resume_reading()

    # The end

    def _finish_transport(self) -> None:
        """Close the byte stream behind the last bytes (RFC 6455 section 7.1.1).

        Where the peer broke the protocol it may still be sending. Closing a socket with unread
        input makes the kernel send RST, which can destroy our close frame on its way; so we only
        end our half, and discard input until the peer ends its own or the time is up.
        """
        transport = self._transport
        self._start_close_timer()
        if self._connection.state is State.FAILED and transport.can_write_eof():
            if not transport.is_closing():
                transport.write_eof()
                transport.resume_reading()
        else:
            transport.close()

    def _start_close_timer(self) -> None:
        if self._close_timer is None:
            self._close_timer = self.loop.call_later(
                self.limits.close_timeout, self._transport.abort
            )

    def _log_access(self, status: int) -> None:
        scope = self._scope
        if self._config.access_log and scope:
            path = quote(scope["path"])
            if scope["query_string"]:
                path = f"{path}?{scope['query_string'].decode('latin-1')}"
            client = ":".join(map(str, scope["client"])) if scope["client"] else ""
            access_logger.info(
                '%s - "%s %s HTTP/%s" %d', client, "GET", path, scope["http_version"], status
            )
