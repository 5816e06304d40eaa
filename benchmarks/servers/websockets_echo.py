"""websockets: the library that most of Python's WebSockets are made with, on uvloop; no ASGI.

The catalogue runs it as a module. It has no compression, which the clients do not offer anyway.
"""

import argparse
import asyncio

import uvloop
from websockets.asyncio.server import ServerConnection, serve


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


async def run(host: str, port: int) -> None:
    async with serve(echo, host, port, compression=None, max_size=None):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    options, _ = parser.parse_known_args()
    uvloop.run(run(options.host, options.port))
