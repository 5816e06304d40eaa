"""websockets: ``broadcast`` of each message to all connections, on uvloop; no ASGI.

The catalogue runs it as a module. It has no compression, which the clients do not offer anyway.
"""

import argparse
import asyncio

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

members: set[ServerConnection] = set()


async def relay(connection: ServerConnection) -> None:
    members.add(connection)
    try:
        async for message in connection:
            broadcast(members, message)
    finally:
        members.discard(connection)


async def run(host: str, port: int) -> None:
    async with serve(relay, host, port, compression=None, max_size=None):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    options, _ = parser.parse_known_args()
    uvloop.run(run(options.host, options.port))
