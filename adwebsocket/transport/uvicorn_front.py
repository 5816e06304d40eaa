"""The first look at a connection: WebSocket handshakes go straight to the class that serves them.

Our runner gives it to uvicorn as its HTTP protocol. A handshake that came whole and is in order
needs nothing of uvicorn's HTTP: to parse it there, to write it anew and to parse that took a third
of a connection's life from handshake to close. All else goes to ``HttpProtocol``, and so does
every handshake about which there is anything to say.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final, cast

from ..exceptions import HandshakeError
from ..protocol import handshake
from .uvicorn_http import LINGER, HttpProtocol
from .uvicorn_protocol import WebSocketProtocol
from .uvicorn_scope import limits_of

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from ..protocol.handshake import UpgradeRequest

_END_OF_HEAD: Final = b"\r\n\r\n"
# Targets that need no second opinion; other forms and characters are a matter for an HTTP parser.
_PLAIN_TARGET: Final = re.compile(rb"/[!$-~]*")
# What would give a handshake a body (RFC 9112 section 6).
_BODY_HEADERS: Final = {b"content-length", b"transfer-encoding"}


class FrontProtocol(asyncio.Protocol):
    """Wait for the first bytes of a connection, and pass it on to the protocol that they are for.

    Arguments:
        config: uvicorn's configuration. Its attribute ``limits``, where it has one, gives
            ``max_header_size`` and ``handshake_timeout``; ``on_connection`` is called, once.
        server_state, app_state: uvicorn's own, passed on.
    """

    __slots__ = ("_app_state", "_config", "_loop", "_server_state", "_timer", "_transport")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        on_connection = getattr(config, "on_connection", None)
        if on_connection is not None:
            on_connection()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client its time to begin."""
        self._transport = cast("asyncio.Transport", transport)
        # uvicorn's annotation names its own classes; it calls shutdown() on what is in here.
        cast("set[Any]", self._server_state.connections).add(self)
        timeout = limits_of(self._config).handshake_timeout
        if timeout is not None:
            self._timer = self._loop.call_later(timeout, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Pass the connection on, with the bytes that have come."""
        if self._transport.is_closing():
            # TLS reads on until the peer has agreed to the end.
            return
        self._let_go()
        found = self._read_handshake(data)
        if found is None:
            self._pass_on_to_http(data)
            return
        request, key, early_frames = found
        protocol_class = cast("type[WebSocketProtocol]", self._config.ws_protocol_class)
        websocket = protocol_class(self._config, self._server_state, self._app_state, self._loop)
        self._transport.set_protocol(websocket)
        websocket.connection_made(self._transport)
        websocket.serve(request, key)
        if early_frames:
            websocket.data_received(early_frames)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a client that has gone without a word."""
        self._let_go()

    def shutdown(self) -> None:
        """Close, since uvicorn wants to stop and nothing has been asked for yet."""
        self._transport.close()

    def _give_up(self) -> None:
        """Close, and do not wait for long until the peer has done so: TLS would, for 30 seconds."""
        self._transport.close()
        self._timer = self._loop.call_later(LINGER, self._transport.abort)

    def _let_go(self) -> None:
        cast("set[Any]", self._server_state.connections).discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def _pass_on_to_http(self, data: bytes) -> None:
        http = HttpProtocol(
            self._config,
            server_state=self._server_state,
            app_state=self._app_state,
            _loop=self._loop,
        )
        if self._timer is not None:
            http.await_head_until(self._timer.when())
        self._transport.set_protocol(http)
        http.connection_made(self._transport)
        http.data_received(data)

    def _read_handshake(self, data: bytes) -> tuple[UpgradeRequest, bytes, bytes] | None:
        """Read a handshake that is whole and in order; give its key too, and what came behind."""
        head, end, rest = data.partition(_END_OF_HEAD)
        if not (
            end
            and data.startswith(b"GET /")
            and len(head) + len(end) <= limits_of(self._config).max_header_size
            and b"websocket" in head.lower()
            and self._is_websocket_ours()
        ):
            return None
        try:
            request = handshake.parse_request(head)
            key = handshake.check_upgrade(request.method, request.http_version, request.headers)
        except HandshakeError:
            return None
        is_plain = (
            request.http_version == "1.1"
            and _PLAIN_TARGET.fullmatch(request.target)
            and _BODY_HEADERS.isdisjoint(name for name, _ in request.headers)
        )
        return (request, key, rest) if is_plain else None

    def _is_websocket_ours(self) -> bool:
        protocol_class: Any = self._config.ws_protocol_class
        return isinstance(protocol_class, type) and issubclass(protocol_class, WebSocketProtocol)
