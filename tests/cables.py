"""The network between a browser and its server, for tests that cut it.

A proxy of TCP that reads nothing of what it carries. The address on its near side never changes,
whatever is plugged in on the far side.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import Any


class Cable(socketserver.ThreadingTCPServer):
    """The network between one browser and the server, with an address that never changes.

    It can be pulled out, which ends every connection with no close frame, and put in again, also
    into another server; and it can be stalled, so that nothing arrives and nobody is told.
    """

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Strand)
        self.far_port: int | None = port
        self.ends: set[socket.socket] = set()
        self.flowing = threading.Event()
        self.flowing.set()
        self.thread = threading.Thread(target=self.serve_forever, args=[0.05])
        self.thread.start()

    def url(self, scheme: str, path: str = "/") -> str:
        """Return the address of a path on the near side."""
        return f"{scheme}://127.0.0.1:{self.server_address[1]}{path}"

    def plug(self, port: int) -> None:
        self.far_port = port
        self.flowing.set()

    def pull(self) -> None:
        self.far_port = None
        for end in list(self.ends):
            hang_up(end)
        # Behind it: what was on its way is lost.
        self.flowing.set()

    def stall(self) -> None:
        """Carry nothing any more, until it is plugged in or pulled out."""
        self.flowing.clear()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: connections that fail are what a cable without a server is for."""

    def server_close(self) -> None:
        self.pull()
        self.shutdown()
        self.thread.join()
        super().server_close()


class Strand(socketserver.BaseRequestHandler):
    """One connection through the cable."""

    server: Cable

    def handle(self) -> None:
        if (port := self.server.far_port) is None:
            return
        near: socket.socket = self.request
        with socket.create_connection(("127.0.0.1", port)) as far:
            self.server.ends |= {near, far}
            # It may have been pulled out before these two were known to it.
            if self.server.far_port is not None:
                back = threading.Thread(target=self.carry, args=(far, near))
                back.start()
                self.carry(near, far)
                back.join()
            self.server.ends -= {near, far}

    def carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.server.flowing.wait()
                target.sendall(data)
        hang_up(source)
        hang_up(target)


def hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
