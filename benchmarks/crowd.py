"""A process with many WebSocket clients that take what they are sent, or leave at once.

``benchmarks.legacy`` starts it, so that its own clock is not held up by them. It must not know
which server answers, nor what is measured.
"""

import argparse
import os
import selectors
import socket
import sys

from benchmarks import BenchmarkError
from benchmarks.idle_clients import Clients

READY = "ready"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("count", type=int)
    parser.add_argument("--leave", action="store_true", help="do not stay until stdin ends")
    options = parser.parse_args()
    # Who measures shares the core with these and must not wait for them.
    os.nice(10)
    clients = Clients(options.host, options.port, options.path, False, False, echo=False)
    try:
        with clients.connected(options.count) as sockets:
            if not options.leave:
                print(READY, flush=True)
                drain(sockets)
        if options.leave:
            print(READY, flush=True)
            sys.stdin.read()
    except BenchmarkError as error:
        print(error, flush=True)
        return 1
    return 0


def drain(sockets: list[socket.socket]) -> None:
    """Take what comes, until standard input ends; raise where the server has closed one."""
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        for one in sockets:
            selector.register(one, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if not isinstance(key.fileobj, socket.socket):
                    return
                if not key.fileobj.recv(65536):
                    raise BenchmarkError("the server closed a connection")


if __name__ == "__main__":
    sys.exit(main())
