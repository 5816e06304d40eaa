"""The limit: a uvloop server that reads no frame, and answers with one prepared beforehand.

The catalogue runs it as a module. It counts bytes to know when a message is complete; whatever
a real server does beyond this is the price of being one, and no server in Python can be faster.
"""

import argparse
import asyncio
from typing import cast

import uvloop

# RFC 6455, section 1.3: the answer to the sample key, which is the one that the generator sends.
HANDSHAKE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
MASK_SIZE = 4


def make_frame(size: int, binary: bool) -> bytes:
    """Return the frame that the generator expects when it runs with ``--same-payload``."""
    if size < 126:
        length = bytes([size])
    elif size < 65536:
        length = bytes([126]) + size.to_bytes(2, "big")
    else:
        length = bytes([127]) + size.to_bytes(8, "big")
    payload = bytes(ord("a") + index % 26 for index in range(size))
    return bytes([0x82 if binary else 0x81]) + length + payload


class NoParsing(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._question_size = len(answer) + MASK_SIZE
        self._missing = self._question_size
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is not a subclass of asyncio.Transport.
        self._write = cast("asyncio.Transport", transport).write

    def data_received(self, data: bytes) -> None:
        if not self._upgraded:
            # The handshake fits one segment, and its client waits for the answer.
            self._upgraded = True
            self._write(HANDSHAKE)
            return
        self._missing -= len(data)
        if self._missing <= 0:
            self._missing += self._question_size
            self._write(self._answer)


async def serve(host: str, port: int, answer: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: NoParsing(answer), host, port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--binary", action="store_true")
    options = parser.parse_args()
    uvloop.run(serve(options.host, options.port, make_frame(options.size, options.binary)))
