"""The server's side of the opening handshake, sans-I/O (RFC 6455 section 4.2).

The protocol class reads requests and writes answers with it; the ASGI application uses the same
check to say what is wrong with an HTTP request that wanted to be a WebSocket. Nothing here knows
who asked or which view will answer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from ..exceptions import HandshakeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

Headers: TypeAlias = "Iterable[tuple[bytes, bytes]]"

# RFC 6455 section 1.3
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# RFC 9110 section 5.6.2
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_REQUEST_LINE: Final = "The request line must have a method, a target and a version."
_ORIGIN: Final = re.compile(rb"\A(?:http|ws)s?://[^/?#]*", re.IGNORECASE)
_BAD_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_OPENING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: "
)

# Headers that are the same for many clients, and no secret of any (a subprotocol may be one).
_COMMON: Final = frozenset(
    b"accept-encoding accept-language cache-control connection host origin pragma "
    b"sec-websocket-extensions sec-websocket-version upgrade "
    b"user-agent x-forwarded-host x-forwarded-proto".split()
)
# Their lines, read once for all connections: a browser's make 1.5 KB of each idle one.
_known_lines: Final[dict[bytes, tuple[bytes, bytes]]] = {}
_MOST_KNOWN_LINES: Final = 512


class UpgradeRequest(NamedTuple):
    """The head of an HTTP request, header names in lower case."""

    method: str
    target: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]


def parse_request(head: bytes, max_size: int | None = None) -> UpgradeRequest:
    """Read a request line and headers, as an HTTP parser in front has passed them on.

    Arguments:
        head: all of it, with the empty line.
        max_size: bytes that it may have, None for any number.

    Raises:
        HandshakeError: they are not what RFC 9112 sections 3 and 5 describe, or too long (431).
    """
    if max_size is not None and len(head) > max_size:
        raise HandshakeError(
            f"The request line and the headers may have {max_size} bytes, got {len(head)}.",
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        )
    request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    parts = request_line.split(b" ")
    if len(parts) != 3:
        raise HandshakeError(_BAD_REQUEST_LINE)
    method, target, version = parts
    if not _TOKEN.fullmatch(method) or not version.startswith(b"HTTP/") or not target.isascii():
        raise HandshakeError(_BAD_REQUEST_LINE)
    # A client may send the absolute form (RFC 9112 section 3.2.2); only proxies need its host.
    target = _ORIGIN.sub(b"", target) or b"/"
    return UpgradeRequest(
        method.decode("ascii"),
        target,
        version[5:].decode("latin-1"),
        [_parse_header(line) for line in lines],
    )


def _parse_header(line: bytes) -> tuple[bytes, bytes]:
    known = _known_lines.get(line)
    if known is not None:
        return known
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or not _TOKEN.fullmatch(name) or _BAD_VALUE.search(value):
        raise HandshakeError("Every header must be a name, a colon and a value on one line.")
    header = name.lower(), value
    if header[0] in _COMMON and len(line) <= 256:
        if len(_known_lines) >= _MOST_KNOWN_LINES:
            # Else whoever sends so many hosts would end the sharing for as long as we run.
            _known_lines.clear()
        _known_lines[line] = header
    return header


def wants_websocket(headers: Headers) -> bool:
    """Tell whether a request asks for a WebSocket at all, well or badly."""
    return any(name == b"upgrade" and b"websocket" in value.lower() for name, value in headers)


def check_upgrade(method: str, http_version: str, headers: Headers) -> bytes:
    """Check a request against RFC 6455 section 4.2.1, and give its ``Sec-WebSocket-Key``.

    Raises:
        HandshakeError: with one sentence that says what was expected and what came.
    """
    if method != "GET":
        raise HandshakeError(f"A WebSocket handshake must be a GET request, got {method}.")
    if http_version in ("0.9", "1.0"):
        raise HandshakeError(f"A WebSocket handshake needs HTTP/1.1, got HTTP/{http_version}.")
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    if len(values.get(b"host", ())) != 1:
        raise HandshakeError("A WebSocket handshake needs exactly one Host header.")
    if b"websocket" not in _tokens(values.get(b"upgrade", ())):
        raise HandshakeError('The Upgrade header must name "websocket".')
    if b"upgrade" not in _tokens(values.get(b"connection", ())):
        raise HandshakeError('The Connection header must name "Upgrade".')
    version = b", ".join(values.get(b"sec-websocket-version", ()))
    if not version:
        raise HandshakeError("The Sec-WebSocket-Version header is missing; it must be 13.")
    if version != b"13":
        raise HandshakeError(
            f"The Sec-WebSocket-Version must be 13, got {version.decode('latin-1')[:40]!r}.",
            HTTPStatus.UPGRADE_REQUIRED,
            ((b"sec-websocket-version", b"13"),),
        )
    return _check_key(values.get(b"sec-websocket-key", []))


def _check_key(keys: Sequence[bytes]) -> bytes:
    if len(keys) != 1:
        raise HandshakeError(
            f"A WebSocket handshake needs exactly one Sec-WebSocket-Key header, got {len(keys)}."
        )
    try:
        nonce = base64.b64decode(keys[0], validate=True)
    except binascii.Error:
        nonce = b""
    if len(nonce) != 16:
        raise HandshakeError("The Sec-WebSocket-Key header must be 16 bytes in base64.")
    return keys[0]


def _tokens(values: Iterable[bytes]) -> list[bytes]:
    """Split header values at their commas; a field may come in several lines (RFC 9110 5.3)."""
    return [token.strip().lower() for value in values for token in value.split(b",")]


def offered_subprotocols(headers: Headers) -> list[str]:
    """Give the subprotocols of ``Sec-WebSocket-Protocol``, in the client's order of preference."""
    return [
        token.strip().decode("latin-1")
        for name, value in headers
        if name == b"sec-websocket-protocol"
        for token in value.split(b",")
        if token.strip()
    ]


def choose_subprotocol(offered: Sequence[str], supported: Sequence[str]) -> str | None:
    """Give the first subprotocol of ``supported``, the server's preference, that was offered."""
    return next((subprotocol for subprotocol in supported if subprotocol in offered), None)


def encode_accept(key: bytes, subprotocol: str | None, headers: Headers = ()) -> bytes:
    """Write the answer that opens the connection (section 4.2.2).

    Raises:
        ValueError: a header cannot stand in an HTTP response.
    """
    digest = hashlib.sha1(key + _GUID, usedforsecurity=False).digest()
    if subprotocol is not None:
        headers = [(b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1")), *headers]
    return b"%b%b\r\n%b\r\n" % (_OPENING, base64.b64encode(digest), _encode_headers(headers))


def encode_refusal(status: int, headers: Headers = (), body: bytes = b"") -> bytes:
    """Write an ordinary HTTP response in place of the 101, after which the connection closes.

    Raises:
        ValueError: a header cannot stand in an HTTP response.
    """
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() not in (b"connection", b"content-length", b"transfer-encoding")
    ]
    kept.append((b"Content-Length", str(len(body)).encode()))
    kept.append((b"Connection", b"close"))
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    status_line = f"HTTP/1.1 {int(status)} {phrase}".encode()
    return b"%b\r\n%b\r\n%b" % (status_line, _encode_headers(kept), body)


def check_header(name: bytes, value: bytes) -> None:
    """Check that a header can stand in an HTTP response.

    Raises:
        ValueError: it cannot.
    """
    if not _TOKEN.fullmatch(name) or _BAD_VALUE.search(value):
        raise ValueError(f"cannot send the header {name!r}: {value!r}")


def _encode_headers(headers: Headers) -> bytes:
    lines = []
    for name, value in headers:
        check_header(name, value)
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)
