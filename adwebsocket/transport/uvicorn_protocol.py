"""The WebSocket protocol class for uvicorn: ``--ws adwebsocket:WebSocketProtocol``.

uvicorn creates one for each upgrade request and gives it the transport. It does the handshake, and
is the ASGI server of the application; the frames are its base's. It knows nothing of Django.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from ..exceptions import HandshakeError
from ..protocol import handshake
from ..protocol.codes import CloseCode
from ..protocol.deflate import negotiate
from ..protocol.state import State
from .asgi_interface import AsgiInterface
from .stream_channel import StreamChannel
from .tally import tally
from .uvicorn_scope import build_scope, http_version_of, limits_of, log_access

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from ..protocol.handshake import Headers, UpgradeRequest


class WebSocketProtocol(StreamChannel):
    """Serve one WebSocket connection on a transport that uvicorn hands over.

    Arguments:
        config: uvicorn's configuration.
        server_state: uvicorn's connections, tasks and default headers.
        app_state: the lifespan state, copied into the scope.
    """

    __slots__ = ("_config", "_key", "_scope", "_server_state", "_state", "_unread")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(_loop or asyncio.get_running_loop(), limits_of(config))
        self._config = config
        self._server_state = server_state
        self._state = app_state
        self._scope: dict[str, Any] | None = None
        self._key = b""
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport of an HTTP connection."""
        super().connection_made(transport)
        # uvicorn's annotation names its own classes; it calls shutdown() on what is in here.
        cast("set[Any]", self._server_state.connections).add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits, and let go of uvicorn's books."""
        self._server_state.connections.discard(self)
        self._unread = b""
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close with 1012, since uvicorn wants to stop."""
        if self._connection.state is State.CONNECTING:
            # To the application this is a client that went away: it may still be about to answer.
            tally.reasons.count("shutdown")
            self._send_refusal(503, (), b"The server is shutting down.\n")
        else:
            self.close(CloseCode.SERVICE_RESTART, "")

    # The handshake

    def receive_early(self, data: bytes) -> None:
        """Read the request that uvicorn passes on, and keep what a hasty client sends behind it."""
        if self._scope is not None:
            # A client that does not wait for our answer; read when that is out.
            self._unread += data
            if len(self._unread) > self.limits.inbox_bytes:
                self._transport.pause_reading()
            return
        try:
            request = handshake.parse_request(data, max_size=self.limits.max_header_size)
            request = request._replace(http_version=http_version_of(self._transport))
            self._scope = self._describe(request)
            key = handshake.check_upgrade(request.method, request.http_version, request.headers)
        except HandshakeError as error:
            tally.reasons.count("handshake")
            headers = [(b"Content-Type", b"text/plain; charset=utf-8"), *error.headers]
            self.refuse(error.status, headers, f"{error.message}\n".encode())
            return
        self.serve(request, key)

    def _describe(self, request: UpgradeRequest) -> dict[str, Any]:
        extensions = AsgiInterface.extensions()
        return build_scope(self._config, self._transport, request, self._state, extensions)

    def serve(self, request: UpgradeRequest, key: bytes) -> None:
        """Call the application for a handshake that is in order and has this key."""
        self._key = key
        if self._scope is None:
            self._scope = self._describe(request)
        conversation = AsgiInterface(self).run(self._config.loaded_app, self._scope)
        task = self.loop.create_task(conversation)
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def accept(self, subprotocol: str | None = None, headers: Headers = ()) -> None:
        """Answer the handshake with 101; nothing is sent if the peer has gone meanwhile."""
        self.check_unanswered()
        if not self.ended:
            headers = [*self._server_state.default_headers, *headers, *self._agree_on_deflate()]
            self._transport.write(handshake.encode_accept(self._key, subprotocol, headers))
            self.open_stream()
            tally.accepted += 1
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
            tally.refusals.count(str(status))
            log_access(self._config, self._scope, status)
            self._finish_transport()
            self.end(CloseCode.ABNORMAL_CLOSURE, "")
        self._scope = None
