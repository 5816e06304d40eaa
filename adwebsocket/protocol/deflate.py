"""permessage-deflate: compression of messages (RFC 7692).

The handshake negotiates it, the connection applies it. ``websockets`` does the negotiation, which
is rules about parameters; compressing and bounded inflating are ours, so that an idle connection
keeps nothing and a bomb costs no more than the message limit.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from ..exceptions import ProtocolError
from .codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .handshake import Headers

# RFC 7692 section 7.2.1: what a sync flush ends with, left out on the wire.
_TAIL: Final = b"\x00\x00\xff\xff"
# Section 7.2.3.4: a sender may mark a block as the last and put an empty one behind it. zlib ends
# there, so what else stands behind it cannot be read.
_BEHIND_FINAL_BLOCK: Final = (b"", b"\x00", _TAIL, b"\x00" + _TAIL)


@dataclass(frozen=True, slots=True)
class DeflateOptions:
    """How to compress, where the client offers to.

    Attributes:
        window_bits: size of the window both ways, 9 to 15 (2**bits bytes each).
        memory_level: 1 to 9, memory of the compressor (2**(level + 9) bytes).
        level: 1 (fast) to 9 (small).
        context_takeover: keep the window from message to message. Repetitive short messages get
            much smaller; each connection then holds a compressor and a decompressor for life.
        minimum_size: bytes of a message below which it is sent as it is.
    """

    window_bits: int = 12
    memory_level: int = 5
    level: int = 6
    context_takeover: bool = False
    minimum_size: int = 256


class Deflate:
    """The compression of one connection, as it was negotiated."""

    __slots__ = (
        "_deflater",
        "_inflater",
        "_keeps_received",
        "_keeps_sent",
        "_options",
        "_received_bits",
        "_sent_bits",
    )

    def __init__(
        self,
        options: DeflateOptions,
        *,
        keeps_received: bool,
        keeps_sent: bool,
        received_bits: int,
        sent_bits: int,
    ) -> None:
        self._options = options
        self._keeps_received = keeps_received
        self._keeps_sent = keeps_sent
        self._received_bits = received_bits
        self._sent_bits = sent_bits
        self._inflater: zlib._Decompress | None = None
        self._deflater: zlib._Compress | None = None

    @property
    def is_stateful(self) -> bool:
        """Whether a message can be compressed only when all before it have been."""
        return self._keeps_sent

    @property
    def form(self) -> Hashable:
        """Give what is equal for connections that compress a message to the same bytes."""
        return self._options, self._keeps_sent, self._sent_bits

    def compresses(self, payload: bytes) -> bool:
        """Tell whether a payload is long enough to be worth it."""
        return len(payload) >= self._options.minimum_size

    def compress(self, payload: bytes) -> bytes:
        """Compress a whole message (section 7.2.1). From any thread unless ``is_stateful``."""
        deflater = self._deflater or zlib.compressobj(
            self._options.level, zlib.DEFLATED, -self._sent_bits, self._options.memory_level
        )
        if self._keeps_sent:
            self._deflater = deflater
        compressed = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
        return compressed[: -len(_TAIL)]

    def inflate(self, piece: bytes, *, final: bool, room: int) -> bytes:
        """Inflate a piece of a message (section 7.2.2), never to more than ``room`` bytes.

        Raises:
            ProtocolError: it inflates to more (1009), or is no deflate data (1002).
        """
        inflater = self._inflater
        if inflater is None:
            inflater = self._inflater = zlib.decompressobj(-self._received_bits)
        try:
            # One byte more than allowed tells "too much" from "exactly full"; zero would mean
            # no limit to zlib.
            inflated = inflater.decompress(piece, room + 1)
            if final and len(inflated) <= room:
                inflated += inflater.decompress(_TAIL, room + 1 - len(inflated))
        except zlib.error as error:
            raise ProtocolError(
                CloseCode.PROTOCOL_ERROR, "a compressed message cannot be inflated"
            ) from error
        if len(inflated) > room or inflater.unconsumed_tail:
            raise ProtocolError(
                CloseCode.MESSAGE_TOO_BIG, "a compressed message inflates to more than is allowed"
            )
        if inflater.eof and inflater.unused_data not in _BEHIND_FINAL_BLOCK:
            raise ProtocolError(
                CloseCode.PROTOCOL_ERROR, "data stood behind the final block of a message"
            )
        if final and (inflater.eof or not self._keeps_received):
            self._inflater = None
        return inflated


def negotiate(headers: Headers, options: DeflateOptions | None) -> tuple[str, Deflate] | None:
    """Agree with a client's offers (section 7.1), or give None for no compression.

    Returns:
        The value of ``Sec-WebSocket-Extensions`` to answer with, and the compression.
    """
    values = [value for name, value in headers if name == b"sec-websocket-extensions"]
    if options is None or not values:
        return None
    factory = ServerPerMessageDeflateFactory(
        server_no_context_takeover=not options.context_takeover,
        client_no_context_takeover=not options.context_takeover,
        server_max_window_bits=options.window_bits,
        client_max_window_bits=options.window_bits,
    )
    try:
        offers = parse_extension(b", ".join(values).decode("latin-1"))
    except InvalidHeader:
        return None
    for name, parameters in offers:
        if name != factory.name:
            continue
        try:
            answer, agreed = factory.process_request_params(parameters, [])
        except NegotiationError:
            continue
        deflate = Deflate(
            options,
            keeps_received=not agreed.remote_no_context_takeover,
            keeps_sent=not agreed.local_no_context_takeover,
            received_bits=agreed.remote_max_window_bits,
            sent_bits=agreed.local_max_window_bits,
        )
        return build_extension([(factory.name, answer)]), deflate
    return None
