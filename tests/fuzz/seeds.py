"""The inputs that fuzzing begins with: each kind of frame, header and block once or twice.

``python -m tests.fuzz.seeds`` writes them into the corpus. What a fuzzer finds is put beside them
by hand, under a name that says what went wrong.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from tests.protocol.client_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    client_frame,
    close_payload,
    length_form,
)

CORPUS = Path(__file__).parent / "corpus"

# The choices of ``fuzz_connection``.
DEFLATE, TAKEOVER, CLOSING = 1, 2, 4
ROOM_0, ROOM_16, ROOM_125, ROOM_1000, ROOM_65536 = (index << 3 for index in range(5))
SHORT_FRAMES, FEW_FRAGMENTS = 64, 128
COMPRESSED = 0x40


def stream(choices: int, *frames: bytes, cuts: bytes = b"") -> bytes:
    """Write an input for ``fuzz_connection``."""
    return bytes((choices, len(cuts))) + cuts + b"".join(frames)


def deflated(payload: bytes, mode: int = zlib.Z_SYNC_FLUSH, level: int = 6) -> bytes:
    """Compress a payload as section 7.2.1 of RFC 7692 says."""
    deflater = zlib.compressobj(level, wbits=-12)
    return (deflater.compress(payload) + deflater.flush(mode)).removesuffix(b"\0\0\xff\xff")


def compressed(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    return client_frame(opcode | COMPRESSED, payload, fin=fin)


def head(*lines: str, line: str = "GET /chat HTTP/1.1", choices: str = "\x03") -> bytes:
    """Write an input for ``fuzz_handshake``: a request with these headers in place of the usual."""
    usual = {
        "Host": "example.com",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    changed = {text.partition(":")[0] for text in lines}
    kept = [f"{name}: {value}" for name, value in usual.items() if name not in changed]
    return (choices + "\r\n".join([line, *kept, *lines]) + "\r\n\r\n").encode("latin-1")


def extension(value: str, choices: str = "\x03") -> bytes:
    return head(f"Sec-WebSocket-Extensions: {value}", choices=choices)


BOMB = deflated(b"\0" * 1_000_000)

CONNECTION = {
    "text": stream(ROOM_1000, client_frame(TEXT, b"Hello"), cuts=b"\x01\x05"),
    "text-of-all-widths": stream(ROOM_1000, client_frame(TEXT, "aé€𝄞".encode()), cuts=b"\x08"),
    "text-unmasked-by-zeros": stream(ROOM_1000, client_frame(TEXT, b"Hello", mask=bytes(4))),
    "text-cut-in-a-character": stream(
        ROOM_1000,
        client_frame(TEXT, b"\xe2\x82", fin=False),
        client_frame(CONTINUATION, b"\xac"),
        cuts=b"\x07",
    ),
    "text-not-utf-8": stream(ROOM_1000, client_frame(TEXT, b"abc\xff")),
    "text-with-a-surrogate": stream(ROOM_1000, client_frame(TEXT, b"\xed\xa0\x80")),
    "text-that-ends-early": stream(ROOM_1000, client_frame(TEXT, b"\xe2\x82")),
    "binary-of-126": stream(ROOM_1000, client_frame(BINARY, b"\xfe" * 126), cuts=b"\x03\x05"),
    "binary-of-65536-begun": stream(ROOM_65536, length_form(0x82, 65536, 8), bytes(9)),
    "binary-too-long": stream(ROOM_16, client_frame(BINARY, bytes(17))),
    "binary-of-16-exabytes": stream(ROOM_65536, length_form(0x82, (1 << 63) - 1, 8)),
    "empty-messages": stream(ROOM_0, client_frame(TEXT), client_frame(BINARY)),
    "fragments-with-control-frames-between": stream(
        ROOM_125,
        client_frame(BINARY, b"one", fin=False),
        client_frame(PING, b"?"),
        client_frame(CONTINUATION, fin=False),
        client_frame(PONG, b"!"),
        client_frame(CONTINUATION, b"three"),
        cuts=b"\x0a\x02\x08",
    ),
    "fragments-too-long": stream(
        ROOM_16, client_frame(BINARY, bytes(9), fin=False), client_frame(CONTINUATION, bytes(9))
    ),
    "fragments-too-many": stream(
        ROOM_1000 | FEW_FRAGMENTS,
        client_frame(TEXT, fin=False),
        *[client_frame(CONTINUATION, fin=False)] * 8,
    ),
    "fragment-too-long": stream(
        ROOM_1000 | SHORT_FRAMES,
        client_frame(BINARY, bytes(100), fin=False),
        client_frame(CONTINUATION, bytes(101)),
    ),
    "continuation-of-nothing": stream(ROOM_1000, client_frame(CONTINUATION, b"x")),
    "message-within-a-message": stream(
        ROOM_1000, client_frame(TEXT, b"x", fin=False), client_frame(TEXT, b"y")
    ),
    "pings": stream(ROOM_1000, *(client_frame(PING, bytes(size)) for size in (0, 1, 125))),
    "ping-fragmented": stream(ROOM_1000, client_frame(PING, fin=False)),
    "ping-of-126": stream(ROOM_1000, client_frame(PING, bytes(126))),
    "close": stream(ROOM_1000, client_frame(CLOSE, close_payload(1000, "bye")), cuts=b"\x07"),
    "close-empty-and-more-behind": stream(ROOM_1000, client_frame(CLOSE), client_frame(PING)),
    "close-of-one-byte": stream(ROOM_1000, client_frame(CLOSE, b"\x03")),
    "close-with-1005": stream(ROOM_1000, client_frame(CLOSE, close_payload(1005))),
    "close-reason-not-utf-8": stream(ROOM_1000, client_frame(CLOSE, b"\x03\xe8\xff")),
    "answer-to-our-close": stream(
        ROOM_1000 | CLOSING,
        client_frame(TEXT, b"late"),
        client_frame(PING, b"late"),
        client_frame(CLOSE, close_payload(1000)),
    ),
    "fault-behind-our-close": stream(ROOM_1000 | CLOSING, client_frame(3)),
    "opcode-reserved": stream(ROOM_1000, client_frame(0xB)),
    "bit-reserved": stream(ROOM_1000, client_frame(TEXT | 0x20)),
    "not-masked": stream(ROOM_1000, client_frame(TEXT, b"Hello", mask=None)),
    "length-not-shortest": stream(ROOM_1000, length_form(0x82, 125, 2), bytes(125)),
    "length-negative": stream(ROOM_1000, length_form(0x82, 1 << 63, 8)),
    "compressed": stream(
        ROOM_1000 | DEFLATE, compressed(TEXT, deflated(b"Hello")), client_frame(TEXT, b"plain")
    ),
    "compressed-with-takeover": stream(
        ROOM_1000 | DEFLATE | TAKEOVER,
        compressed(TEXT, bytes.fromhex("f248cdc9c90700")),
        compressed(TEXT, bytes.fromhex("f200110000")),
        cuts=b"\x09",
    ),
    "compressed-in-fragments": stream(
        ROOM_1000 | DEFLATE,
        compressed(TEXT, deflated(b"Hello")[:3], fin=False),
        client_frame(PING),
        client_frame(CONTINUATION, deflated(b"Hello")[3:]),
    ),
    "compressed-not-utf-8": stream(ROOM_1000 | DEFLATE, compressed(TEXT, deflated(b"abc\xff"))),
    "compressed-bomb": stream(ROOM_1000 | DEFLATE, compressed(BINARY, BOMB)),
    "compressed-final-block": stream(
        ROOM_1000 | DEFLATE, compressed(TEXT, deflated(b"Hello", zlib.Z_FINISH) + b"\0")
    ),
    "compressed-continuation": stream(
        ROOM_1000 | DEFLATE,
        compressed(TEXT, deflated(b"Hello"), fin=False),
        compressed(CONTINUATION, b""),
    ),
}

HANDSHAKE = {
    "plain": head(),
    "absolute-target": head(line="GET ws://example.com/chat?room=1 HTTP/1.1"),
    "post": head(line="POST / HTTP/1.1"),
    "http-1.0": head(line="GET / HTTP/1.0"),
    "tokens-in-lists": head("Connection: keep-alive, Upgrade", "Upgrade: h2c, WebSocket"),
    "two-hosts": head("Host: example.com", "Host: example.org"),
    "key-too-short": head("Sec-WebSocket-Key: c2hvcnQ="),
    "key-not-base64": head("Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="),
    "version-8": head("Sec-WebSocket-Version: 8"),
    "headers-too-long": head("X: " + "y" * 400, choices="\x10"),
    "header-without-colon": head("nonsense"),
    "header-with-a-zero": head("X: \0"),
    "header-of-latin-1": head("X: é"),
    "subprotocols": head("Sec-WebSocket-Protocol: chat.v2, chat.v1", "Sec-WebSocket-Protocol: é"),
    "deflate": extension("permessage-deflate; client_max_window_bits"),
    "deflate-with-all-parameters": extension(
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover; "
        'client_max_window_bits=15; server_max_window_bits="10", permessage-deflate'
    ),
    "deflate-with-takeover-one-way": extension(
        "permessage-deflate; client_no_context_takeover", choices="\x0e"
    ),
    "deflate-of-8-bits": extension("permessage-deflate; server_max_window_bits=8"),
    "deflate-with-an-unknown-parameter": extension("permessage-deflate; speed=9"),
    "extension-unknown": extension("x-webkit-deflate-frame"),
    "extension-with-a-quote-open": extension('permessage-deflate; a="'),
}


def message(bits: int, level: int, room: int, length: int, payload: bytes) -> bytes:
    """Write an input for ``fuzz_deflate``."""
    return bytes((bits, level, room, length)) + payload


DEFLATE_SEEDS = {
    "hello": message(3, 5, 255, 255, deflated(b"Hello")),
    "hello-byte-by-byte": message(3, 5, 255, 0, deflated(b"Hello")),
    "fixed-codes": message(6, 8, 255, 9, deflated(b"abcabcabcabc" * 9)),
    "dynamic-codes": message(6, 80, 255, 30, deflated(bytes(range(256)) * 2)),
    "stored": message(0, 0, 255, 255, deflated(b"Hello" * 30, level=0)),
    "final-block": message(3, 5, 255, 3, deflated(b"Hello", zlib.Z_FINISH) + b"\0"),
    "bytes-behind-the-final-block": message(3, 5, 255, 3, deflated(b"x", zlib.Z_FINISH) + b"xyz"),
    "full-flush": message(0x83, 5, 255, 4, deflated(b"Hello", zlib.Z_FULL_FLUSH)),
    "bomb": message(3, 5, 4, 255, BOMB),
    "no-room": message(3, 5, 0, 255, deflated(b"Hello")),
    "nonsense": message(0x80, 0, 255, 255, b"\xff" * 9),
    "distance-too-far": message(0, 0, 255, 255, bytes.fromhex("ab5e0500")),
}

SEEDS = {"connection": CONNECTION, "handshake": HANDSHAKE, "deflate": DEFLATE_SEEDS}


def write_seeds() -> None:
    """Write all inputs into the corpus."""
    for target, seeds in SEEDS.items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (CORPUS / target / name).write_bytes(data)


if __name__ == "__main__":
    write_seeds()
