"""What is wrong with a handshake is answered with the right status and one sentence about it.

Real bytes reach our runner over raw sockets, behind either of uvicorn's HTTP parsers. Some faults
are found by the parser, some by the protocol class, some by the ASGI application; which one it is
does not matter here. Behind each of them the server goes on serving.
"""

from __future__ import annotations

import http.client
import socket
import struct
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from tests.processes import DEADLINE, Response, ServerProcess, serve

from .clients import HANDSHAKE, read_answer
from .hosts import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Database

KEY = HANDSHAKE["Sec-WebSocket-Key"]
# RFC 6455 section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

RUNNERS = {
    "httptools": ["-m", "adwebsocket", "project:application", "--port", "{port}"],
    "h11": [
        *("-m", "uvicorn", "project:application", "--port", "{port}", "--http", "h11"),
        *("--ws", "adwebsocket:WebSocketProtocol"),
    ],
}


@pytest.fixture(scope="module", params=RUNNERS)
def server(request: pytest.FixtureRequest, database: Database) -> Iterator[ServerProcess]:
    """Serve the project; nothing that clients send may make the server log a traceback."""
    arguments = RUNNERS[request.param]
    with serve(arguments, cwd=FOLDER, env=database.environment) as server:
        yield server
        server.stop()
        assert "Traceback" not in server.output(), server.output()


@pytest.fixture(autouse=True)
def serves_afterwards(server: ServerProcess) -> Iterator[None]:
    """Let a client without faults come behind each one with."""
    yield
    url = server.url("ws", "/async/echo/")
    with connect(url, proxy=None, ping_interval=None, open_timeout=DEADLINE) as client:
        client.send("still there?")
        assert client.recv(timeout=DEADLINE) == "still there?"


def request_with(
    changes: dict[str, str | list[str] | None] | None = None,
    *,
    line: str = "GET /async/echo/ HTTP/1.1",
) -> bytes:
    """Write a handshake with some headers changed, repeated, or left out (None)."""
    headers: dict[str, str | list[str] | None] = {"Host": "127.0.0.1", **HANDSHAKE}
    headers |= changes or {}
    lines = [line]
    for name, value in headers.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        lines += [f"{name}: {single}" for single in values]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def open_socket(server: ServerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)


def answer_to(server: ServerProcess, data: bytes) -> Response:
    """Send bytes and return the response."""
    with open_socket(server) as connection:
        connection.sendall(data)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return read_answer(answer)


class TestFaults:
    """Handshakes that must be refused (RFC 6455 section 4.2.1)."""

    @pytest.mark.parametrize(
        ("data", "word"),
        [
            pytest.param(
                request_with({"Sec-WebSocket-Key": None}), "Sec-WebSocket-Key", id="no-key"
            ),
            pytest.param(
                request_with({"Sec-WebSocket-Key": [KEY, KEY]}), "Sec-WebSocket-Key", id="two-keys"
            ),
            pytest.param(
                request_with({"Sec-WebSocket-Key": "c2hvcnQ="}), "16 bytes", id="short-key"
            ),
            pytest.param(
                request_with({"Sec-WebSocket-Key": f"{KEY}{KEY}"}), "16 bytes", id="long-key"
            ),
            pytest.param(
                request_with({"Sec-WebSocket-Key": "no base64!"}), "base64", id="key-not-base64"
            ),
            pytest.param(
                request_with({"Sec-WebSocket-Version": None}),
                "Sec-WebSocket-Version",
                id="no-version",
            ),
            pytest.param(request_with(line="POST /async/echo/ HTTP/1.1"), "GET", id="post"),
            pytest.param(
                request_with({"Content-Length": "5"}, line="POST /async/echo/ HTTP/1.1") + b"hello",
                "GET",
                id="post-with-body",
            ),
            pytest.param(request_with({"Connection": None}), "Connection", id="no-connection"),
            pytest.param(
                request_with({"Connection": "keep-alive"}),
                "Connection",
                id="connection-without-upgrade",
            ),
            pytest.param(request_with(line="GET /async/echo/ HTTP/1.0"), "HTTP/1.1", id="http-1.0"),
        ],
    )
    def test_fault_is_named_with_400(self, server: ServerProcess, data: bytes, word: str) -> None:
        answer = answer_to(server, data)
        assert answer.status == 400
        assert word in answer.text
        assert answer.text.endswith(".\n")
        assert answer.text.count("\n") == 1
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"

    @pytest.mark.parametrize("version", ["12", "14", "0", "thirteen", "13, 13", ["13", "8"]])
    def test_other_version_is_426_and_told_which_one_is_spoken(
        self, server: ServerProcess, version: str | list[str]
    ) -> None:
        answer = answer_to(server, request_with({"Sec-WebSocket-Version": version}))
        assert answer.status == 426
        assert answer.headers["sec-websocket-version"] == "13"
        assert "must be 13" in answer.text

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(request_with({"Host": None}), id="no-host"),
            pytest.param(request_with({"Host": ["127.0.0.1", "localhost"]}), id="two-hosts"),
            pytest.param(request_with({"Bad Name": "x"}), id="space-in-header-name"),
            pytest.param(request_with({"X-Bell": "ding\adong"}), id="control-character-in-header"),
            pytest.param(request_with({"X-Nothing": "a\0b"}), id="null-in-header"),
            pytest.param(request_with(line="GET /async/echo/"), id="no-http-version"),
            pytest.param(request_with(line="GET /async/ec ho/ HTTP/1.1"), id="space-in-path"),
            pytest.param(request_with(line="GET /async/\xe9/ HTTP/1.1"), id="path-not-ascii"),
            pytest.param(b"garbage\r\n\r\n", id="garbage-line"),
            pytest.param(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\xff\r\n\r\n", id="tls"),
            pytest.param(b"\x81\x85\0\0\0\0hello\r\n\r\n", id="frame"),
        ],
    )
    def test_what_is_not_http_gets_400(self, server: ServerProcess, data: bytes) -> None:
        answer = answer_to(server, data)
        assert answer.status == 400
        assert answer.text.rstrip().endswith(".")
        assert answer.text.rstrip().count("\n") == 0

    def test_request_line_of_100_kilobytes_gets_an_answer(self, server: ServerProcess) -> None:
        line = f"GET /async/echo/{'x' * 100_000} HTTP/1.1"
        assert answer_to(server, request_with(line=line)).status in {400, 404, 414, 431}


class TestUnusual:
    """Handshakes that look odd and are right."""

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(request_with({"Connection": "keep-alive, Upgrade"}), id="two-tokens"),
            pytest.param(request_with({"Connection": "upgrade"}), id="lower-case"),
            pytest.param(request_with({"Upgrade": "WebSocket"}), id="mixed-case"),
            pytest.param(request_with({"X-Long": "x" * 20_000}), id="long-header"),
            pytest.param(request_with({"X-Umlaut": "\xfc"}), id="header-not-ascii"),
            pytest.param(
                request_with(line="GET /async/echo/?a=%FF&b HTTP/1.1"), id="odd-query-string"
            ),
            pytest.param(
                request_with({"Sec-WebSocket-Protocol": ["a,, b ", "c"]}), id="odd-subprotocols"
            ),
            pytest.param(
                # RFC 9112 section 3.2.2 and RFC 6455 section 4.2.1
                request_with(line="GET http://127.0.0.1/async/echo/?a=b HTTP/1.1"),
                id="absolute-target",
            ),
        ],
    )
    def test_handshake_is_accepted(self, server: ServerProcess, data: bytes) -> None:
        answer = answer_to(server, data)
        assert answer.status == 101
        assert answer.headers["sec-websocket-accept"] == ACCEPT


@pytest.mark.parametrize("length", [1, 20, 60, len(request_with()) - 1])
class TestTruncated:
    """Clients that go away in the middle of the handshake."""

    def test_client_that_sends_no_more_is_let_go(self, server: ServerProcess, length: int) -> None:
        with open_socket(server) as connection:
            connection.sendall(request_with()[:length])
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    def test_client_that_vanishes_is_forgotten(self, server: ServerProcess, length: int) -> None:
        with open_socket(server) as connection:
            connection.sendall(request_with()[:length])
            reset(connection)


def test_client_that_vanishes_behind_its_handshake_is_forgotten(server: ServerProcess) -> None:
    with open_socket(server) as connection:
        connection.sendall(request_with(line="GET /sync/echo/ HTTP/1.1"))
        reset(connection)


def reset(connection: socket.socket) -> None:
    """Close a connection with a TCP reset, as if the machine behind it were gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
