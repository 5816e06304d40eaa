"""What the protocol class has to know of uvicorn: its limits, its scope, its access log.

Called once for each connection. The functions look at uvicorn's objects and at the request, and
keep nothing of them.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from ..protocol.deflate import DeflateOptions
from ..protocol.handshake import offered_subprotocols
from .limits import Limits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from uvicorn.config import Config

    from ..protocol.handshake import UpgradeRequest

access_logger = logging.getLogger("uvicorn.access")


@lru_cache(maxsize=1)
def limits_of(config: Config) -> Limits:
    """Give what our runner has set, or the little that uvicorn's own configuration says."""
    limits: Limits | None = getattr(config, "limits", None)
    return limits or Limits(
        max_message_size=config.ws_max_size,
        compression=DeflateOptions() if config.ws_per_message_deflate else None,
        ping_interval=config.ws_ping_interval or None,
        ping_timeout=config.ws_ping_timeout or None,
    )


def http_version_of(transport: asyncio.Transport) -> str:
    """Give the HTTP version of the request that has just been read from a transport.

    uvicorn rewrites every request line to HTTP/1.1; the class that read it, which still owns the
    transport at this moment, knows better.
    """
    scope: dict[str, Any] = getattr(transport.get_protocol(), "scope", None) or {}
    version: str = scope.get("http_version", "1.1")
    return version


def build_scope(
    config: Config,
    transport: asyncio.Transport,
    request: UpgradeRequest,
    state: Mapping[str, Any],
    extensions: Mapping[str, Any],
) -> dict[str, Any]:
    """Describe a handshake as the ASGI specification has it (HTTP & WebSocket 2.5)."""
    raw_path, _, query_string = request.target.partition(b"?")
    root_path = config.root_path
    return {
        "type": "websocket",
        "asgi": _asgi(config.asgi_version),
        "http_version": request.http_version,
        "scheme": "wss" if transport.get_extra_info("sslcontext") else "ws",
        "server": _shared(_address(transport.get_extra_info("sockname"))),
        "client": _address(transport.get_extra_info("peername")),
        "root_path": root_path,
        "path": root_path + unquote(raw_path.decode("ascii")),
        "raw_path": root_path.encode("ascii") + raw_path,
        "query_string": query_string,
        "headers": request.headers,
        "subprotocols": offered_subprotocols(request.headers),
        "state": dict(state),
        "extensions": extensions,
    }


def _address(name: Any) -> tuple[str, int | None] | None:
    """Give a socket's name as ASGI has it: host and port, or the path of a unix socket."""
    if isinstance(name, tuple):
        return name[0], name[1]
    return (name, None) if name and isinstance(name, str) else None


@lru_cache
def _asgi(version: str) -> dict[str, str]:
    """Give a part of the scope that is the same for all connections of a server."""
    return {"version": version, "spec_version": "2.4"}


@lru_cache(maxsize=16)
def _shared(address: tuple[str, int | None] | None) -> tuple[str, int | None] | None:
    """Give one object for all equal addresses."""
    return address


def log_access(config: Config, scope: Mapping[str, Any] | None, status: int) -> None:
    """Write the line of a handshake that could be read to uvicorn's access log, if wanted."""
    if not config.access_log or scope is None:
        return
    path = quote(scope["path"])
    if scope["query_string"]:
        path = f"{path}?{scope['query_string'].decode('latin-1')}"
    client = ":".join(map(str, scope["client"])) if scope["client"] else ""
    access_logger.info(
        '%s - "%s %s HTTP/%s" %d',
        _on_one_line(client),
        "GET",
        _on_one_line(path),
        scope["http_version"],
        status,
    )


def _on_one_line(text: str) -> str:
    """Escape what would begin a line of its own in a log, or move a terminal's cursor."""
    return text if text.isprintable() else ascii(text)[1:-1]
