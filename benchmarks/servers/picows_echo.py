"""picows: a WebSocket server in Cython, the fastest that Python has; no ASGI, no framework.

The catalogue runs it as a module. It shows what a parser in C would bring at most.
"""

import argparse

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


def make_listener(request: WSUpgradeRequest) -> WSListener:
    return Echo()


async def serve(host: str, port: int) -> None:
    server = await ws_create_server(make_listener, host, port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    options, _ = parser.parse_known_args()
    uvloop.run(serve(options.host, options.port))
