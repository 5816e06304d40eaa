"""The WebSocket protocol class for uvicorn: ``--ws adwebsocket:WebSocketProtocol``.

uvicorn creates one for each upgrade request and gives it the transport. It is the asyncio driver
of the sans-I/O connection, the channel of our facades, and the ASGI server of any other
application. It knows nothing of Django.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from ..exceptions import HandshakeError
from ..protocol import handshake
from ..protocol.codes import CloseCode
from ..protocol.connection import Connection
from ..protocol.deflate import negotiate
from ..protocol.events import Close, Pong
from ..protocol.frames import encode_message
from ..protocol.state import State
from .asgi_interface import AsgiInterface
from .channel import Channel
from .keepalive import NO_KEEPALIVE, get_keepalive
from .kernel import queued_bytes
from .pings import PingQueue
from .uvicorn_scope import build_scope, http_version_of, limits_of, log_access

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from ..protocol.connection import Prepared
    from ..protocol.frames import Message
    from ..protocol.handshake import Headers
    from .keepalive import Keepalive, NoKeepalive
    from .pings import Ping


_CONNECTING: Final = State.CONNECTING
_OPEN: Final = State.OPEN
_CLOSED: Final = State.CLOSED

# Seconds that a view has, after the peer broke the protocol, for the messages that came before; and
# that the peer has, where the byte stream has no halves, to read our close frame.
_GRACE: Final = 1.0


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
        "_failure",
        "_keepalive",
        "_key",
        "_pings",
        "_scope",
        "_server_state",
        "_state",
        "_transport",
        "_unread",
        "heard_at",
        "keepalive_slot",
        "pinged_at",
        "prepare",
    )
    can_ping: ClassVar[bool] = True
    # A message goes straight to what encodes it: a method in between would cost 1 % of an echo.
    prepare: Callable[[Message], Prepared]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        limits = limits_of(config)
        Channel.__init__(self, _loop or asyncio.get_running_loop(), limits)
        self._config = config
        self._server_state = server_state
        self._state = app_state
        self._connection = Connection(limits)
        self._transport: asyncio.Transport
        self._scope: dict[str, Any] | None = None
        self._key = b""
        self._unread = b""
        self.prepare = encode_message
        self._close_timer: asyncio.TimerHandle | None = None
        self._failure: Close | None = None  # while its close frame is held back
        self._pings: PingQueue | None = None
        self._keepalive: Keepalive | NoKeepalive = NO_KEEPALIVE
        self.heard_at = 0
        self.pinged_at: int | None = None
        self.keepalive_slot = 0

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport of an HTTP connection."""
        self._transport = cast("asyncio.Transport", transport)
        # uvicorn's annotation names its own classes; it calls shutdown() on what is in here.
        cast("set[Any]", self._server_state.connections).add(self)

    def data_received(self, data: bytes) -> None:
        """Read frames; before them, the request that uvicorn passes on."""
        connection = self._connection
        if connection.state is _CONNECTING:
            self._receive_early(data)
            return
        self.heard_at = self._keepalive.now
        put = self.inbox.put
        for event in connection.receive_data(data):
            if isinstance(event, (str, bytes)):
                put(event)
            elif isinstance(event, Close):
                self._receive_close(event)
            elif isinstance(event, Pong) and self._pings is not None:
                self._pings.answer(event.payload)
        if connection.output and self._failure is None:
            self._write_output()
        if connection.state is _CLOSED:
            self._finish_transport()

    def _receive_close(self, event: Close) -> None:
        if self._connection.state is State.FAILED and not self.ended:
            # Our close frame stays in the connection's output: sent now, it would overtake what
            # the view has to say to the messages before the fault. It goes out when the view has
            # come to the end of them, or when its time is up.
            self._failure = event
            self._close_timer = self.loop.call_later(_GRACE, self._finish_failure)
            self.inbox.on_end = self._end_taken
            self.inbox.finish_when_taken()
        else:
            self.end(event.code, event.reason)
            if self._connection.state is State.FAILED:
                self._finish_transport()

    def _end_taken(self) -> None:
        """Let out the close frame that waited for the view. In the view's thread."""
        failure = self._failure
        if failure is not None:
            self.close_code, self.close_reason = failure
            # A closed loop has taken the connection with it.
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._finish_failure)

    def _finish_failure(self) -> None:
        """Send the close frame that was held back, and end the connection; once."""
        if self._failure is not None:
            self._stop_close_timer()
            self.end(*self._failure)
            if not self._transport.is_closing():
                self._transport.write(self._connection.data_to_send())
            self._finish_transport()

    def _write_output(self) -> None:
        """Write pongs and close frames; pongs only to a peer that takes them."""
        connection = self._connection
        if self.writable or connection.is_over():
            self._transport.write(connection.data_to_send())
        else:
            # It pings and does not read: until it does, we do not read either, nor store pongs.
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """Let the transport close behind its last bytes: half a connection is of no use here."""
        self._finish_failure()
        self._connection.receive_eof()
        self.end(CloseCode.ABNORMAL_CLOSURE, "")
        self._start_close_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits, and let go of uvicorn's books."""
        self._server_state.connections.discard(self)
        self._stop_close_timer()
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
        self.heard_at = self._keepalive.now
        if self._connection.output and self._failure is None:
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
            request = handshake.parse_request(data, max_size=self.limits.max_header_size)
            request = request._replace(http_version=http_version_of(self._transport))
            self._scope = build_scope(
                self._config, self._transport, request, self._state, AsgiInterface.extensions()
            )
            self._key = handshake.check_upgrade(
                request.method, request.http_version, request.headers
            )
        except HandshakeError as error:
            headers = [(b"Content-Type", b"text/plain; charset=utf-8"), *error.headers]
            self.refuse(error.status, headers, f"{error.message}\n".encode())
            return
        conversation = AsgiInterface(self).run(self._config.loaded_app, self._scope)
        task = self.loop.create_task(conversation)
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    # What the facades call

    def accept(self, subprotocol: str | None = None, headers: Headers = ()) -> None:
        """Answer the handshake with 101; nothing is sent if the peer has gone meanwhile."""
        self.check_unanswered()
        if not self.ended:
            headers = [*self._server_state.default_headers, *headers, *self._agree_on_deflate()]
            self._transport.write(handshake.encode_accept(self._key, subprotocol, headers))
            self._connection.accept()
            self._connection.set_limits(self.limits)
            self._transport.set_write_buffer_limits(self.limits.outbox_bytes)
            self._keepalive = get_keepalive(self.loop, self.limits)
            self._keepalive.add(self)
            log_access(self._config, self._scope, 101)
        self.accepted, self.subprotocol = True, subprotocol
        # An idle connection keeps nothing of its handshake.
        self._scope, self._key = None, b""
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
            log_access(self._config, self._scope, status)
            self._finish_transport()
            self.end(CloseCode.ABNORMAL_CLOSURE, "")
        self._scope = None

    def write(self, prepared: Prepared) -> None:
        """Write a frame, unless the connection is over."""
        if self._connection.state is _OPEN or self._failure is not None:
            if self._transport.is_closing():
                # After a failed write the transport drops the rest in silence, and only a sender
                # that waits lets the loop come to connection_lost().
                self.set_writable(False)
                return
            if isinstance(prepared, tuple):
                prepared = self._connection.finish(prepared)
            self._transport.write(prepared)

    def ping(self, ping: Ping) -> None:
        """Send a ping, and finish it when its pong comes or the connection is over."""
        if self._connection.state is not _OPEN:
            ping.wake(None)
            return
        if self._pings is None:
            self._pings = PingQueue()
        self._pings.append(ping)
        self._connection.send_ping(ping.payload)
        self._write_output()

    def withdraw_ping(self, ping: Ping) -> None:
        """Forget a ping that nobody waits for any more. From any thread."""
        if self._pings is not None:
            self._pings.withdraw(ping)

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Begin the closing handshake; the peer has ``limits.close_timeout`` to answer."""
        if self._connection.state is not _OPEN:
            self._finish_failure()
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
        self.heard_at = self._keepalive.now
        # With pongs that wait to be written, reading goes on when they are.
        if is_wanted and not self._connection.output:
            self._transport.resume_reading()

    def unsent_bytes(self) -> int:
        """Count the bytes that the peer has not taken."""
        return self._transport.get_write_buffer_size() + queued_bytes(self._transport)

    # What the keepalive calls

    def is_excused(self) -> bool:
        """Tell whether the peer's silence may be our fault: it is not read, or not reached."""
        return self.inbox.paused or not self.writable

    def send_keepalive(self) -> None:
        """Ping the peer; its pong, or anything else, shows that it is there."""
        self._connection.send_ping()
        self._write_output()

    def take_for_gone(self) -> None:
        """Close with 1011; the close timer sees to the rest."""
        seconds = self.limits.ping_timeout
        self.close(CloseCode.INTERNAL_ERROR, f"no sign of life {seconds:g} seconds after a ping")

    # The end

    def end(self, code: int, reason: str) -> None:
        """Settle how the connection ended, wake everybody who waits, and stop looking after it."""
        if self._failure is not None:
            code, reason = self._failure
            self._failure = None
        super().end(code, reason)
        self._keepalive.discard(self)
        if self._pings is not None:
            self._pings.give_up()

    def _finish_transport(self) -> None:
        """Close the byte stream behind the last bytes (RFC 6455 section 7.1.1).

        A peer that broke the protocol may still be sending, and closing a socket with unread input
        makes the kernel send RST, which can destroy our close frame: so we only end our half, and
        discard input until the peer ends its own or the time is up. TLS has no halves.
        """
        transport = self._transport
        self._start_close_timer()
        if self._connection.state is not State.FAILED:
            transport.close()
        elif not transport.is_closing():
            if transport.can_write_eof():
                transport.write_eof()
            else:
                self.loop.call_later(_GRACE, transport.close)
            transport.resume_reading()

    def _start_close_timer(self) -> None:
        if self._close_timer is None:
            self._close_timer = self.loop.call_later(
                self.limits.close_timeout, self._transport.abort
            )

    def _stop_close_timer(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
