"""Our protocol class serves applications that know nothing of it, by the ASGI specification.

What it must do is in the ASGI specification (HTTP & WebSocket, 2.5) and in what Starlette and
Channels rely on beyond it.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.processes import ServerProcess, serve

from .clients import answer_to_handshake, bounded, connect, ending_of, fetch_json
from .hosts import FOLDER, require

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """Serve the foreign applications."""
    arguments = ["-m", "uvicorn", "foreign:application", "--port", "{port}"]
    arguments += ["--ws", "adwebsocket:WebSocketProtocol", "--timeout-graceful-shutdown", "5"]
    with serve(arguments, cwd=FOLDER) as server:
        yield server
        server.stop()
        assert "was never awaited" not in server.output()
        assert "Task was destroyed" not in server.output()


class TestStarlette:
    """Starlette's WebSocket, endpoint class and responses."""

    @pytest.fixture(autouse=True)
    def package(self) -> None:
        """Need Starlette."""
        require(["starlette"])

    @pytest.mark.parametrize(
        ("encoding", "message"),
        [
            pytest.param("text", "Grüße, ☃ and 🐍", id="text"),
            pytest.param("text", "", id="empty-text"),
            pytest.param("text", "é" * 100_000, id="long-text"),
            pytest.param("bytes", bytes(range(256)), id="binary"),
            pytest.param("bytes", b"", id="empty-binary"),
            pytest.param("json", '{"some":["json",1,null]}', id="json"),
        ],
    )
    @bounded
    async def test_endpoint_echoes(
        self, server: ServerProcess, encoding: str, message: str | bytes
    ) -> None:
        async with connect(server, f"/starlette/{encoding}") as client:
            await client.send(message)
            assert await client.recv() == message

    @bounded
    async def test_200_messages_keep_their_order(self, server: ServerProcess) -> None:
        messages = [f"message {number}" for number in range(200)]
        async with connect(server, "/starlette/text") as client:
            for message in messages:
                await client.send(message)
            assert [await client.recv() for _ in messages] == messages

    @bounded
    async def test_endpoint_that_wants_json_closes_other_text_with_1003(
        self, server: ServerProcess
    ) -> None:
        async with connect(server, "/starlette/json") as client:
            await client.send("{")
            assert await ending_of(client) == ([], 1003, "")

    @bounded
    async def test_accept_takes_subprotocol_and_headers(self, server: ServerProcess) -> None:
        async with connect(server, "/starlette/accept", subprotocols=["v1", "v2"]) as client:
            assert client.subprotocol == "v2"
            assert client.response is not None
            assert client.response.headers["X-Room"] == "blue"
            assert await ending_of(client) == (['["v1","v2"]'], 1000, "")

    @bounded
    async def test_close_gives_code_and_reason(self, server: ServerProcess) -> None:
        async with connect(server, "/starlette/close") as client:
            assert await ending_of(client) == ([], 4002, "genug für heute")

    @bounded
    async def test_close_before_accept_is_403(self, server: ServerProcess) -> None:
        answer = await answer_to_handshake(server, "/starlette/close-early")
        assert (answer.status, answer.text) == (403, "")

    @bounded
    async def test_unknown_path_is_refused(self, server: ServerProcess) -> None:
        answer = await answer_to_handshake(server, "/starlette/nowhere")
        assert 400 <= answer.status < 500

    @bounded
    async def test_http_exception_is_the_answer_to_the_handshake(
        self, server: ServerProcess
    ) -> None:
        answer = await answer_to_handshake(server, "/starlette/forbid")
        assert (answer.status, answer.text) == (401, "say who you are")
        assert answer.headers["www-authenticate"] == "Basic"

    @bounded
    async def test_denial_response_is_the_answer_to_the_handshake(
        self, server: ServerProcess
    ) -> None:
        answer = await answer_to_handshake(server, "/starlette/deny")
        assert (answer.status, answer.text) == (409, '{"why":"the room is full"}')
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["content-length"] == str(len(answer.text))
        assert answer.headers["set-cookie"].count("Path=/") == 2

    @bounded
    async def test_disconnect_has_code_and_reason_of_the_client(
        self, server: ServerProcess
    ) -> None:
        name = uuid.uuid4().hex
        async with connect(server, f"/starlette/listen/{name}") as client:
            assert await client.recv() == "ready"
            await client.send("one")
            await client.close(4321, "genug für mich")
        report = await fetch_json(server, f"/{name}")
        assert report == {"code": 4321, "reason": "genug für mich", "messages": ["one"]}

    @bounded
    async def test_disconnect_of_a_client_that_vanishes_is_1006(
        self, server: ServerProcess
    ) -> None:
        name = uuid.uuid4().hex
        async with connect(server, f"/starlette/listen/{name}") as client:
            assert await client.recv() == "ready"
            client.transport.abort()
        report = await fetch_json(server, f"/{name}")
        assert report == {"code": 1006, "reason": "", "messages": []}

    @bounded
    async def test_sending_behind_the_end_is_a_disconnect(self, server: ServerProcess) -> None:
        name = uuid.uuid4().hex
        async with connect(server, f"/starlette/send-late/{name}") as client:
            assert await client.recv() == "ready"
        assert await fetch_json(server, f"/{name}") == {"error": "WebSocketDisconnect"}


@pytest.mark.parametrize("colour", ["sync", "async"])
class TestChannels:
    """The consumers of Channels."""

    @pytest.fixture(autouse=True)
    def package(self) -> None:
        """Need Channels."""
        require(["channels"])

    @pytest.mark.parametrize(
        "message",
        [
            pytest.param("Grüße, ☃ and 🐍", id="text"),
            pytest.param(bytes(range(256)), id="binary"),
            pytest.param("é" * 100_000, id="long-text"),
        ],
    )
    @bounded
    async def test_consumer_echoes(
        self, server: ServerProcess, colour: str, message: str | bytes
    ) -> None:
        async with connect(server, f"/channels/{colour}/{uuid.uuid4().hex}") as client:
            await client.send(message)
            assert await client.recv() == message

    @bounded
    async def test_200_messages_keep_their_order(self, server: ServerProcess, colour: str) -> None:
        messages = [f"message {number}" for number in range(200)]
        async with connect(server, f"/channels/{colour}/{uuid.uuid4().hex}") as client:
            for message in messages:
                await client.send(message)
            assert [await client.recv() for _ in messages] == messages

    @bounded
    async def test_consumer_chooses_the_subprotocol(
        self, server: ServerProcess, colour: str
    ) -> None:
        path = f"/channels/{colour}/{uuid.uuid4().hex}"
        async with connect(server, path, subprotocols=["v1", "v2"]) as client:
            assert client.subprotocol == "v2"

    @bounded
    async def test_close_gives_code_and_reason(self, server: ServerProcess, colour: str) -> None:
        name = uuid.uuid4().hex
        async with connect(server, f"/channels/{colour}/{name}") as client:
            await client.send("close")
            assert await ending_of(client) == ([], 4003, "genug für heute")
        assert await fetch_json(server, f"/{name}") == {"code": 4003}

    @bounded
    async def test_close_instead_of_accept_is_403(self, server: ServerProcess, colour: str) -> None:
        assert (await answer_to_handshake(server, f"/channels/{colour}/deny")).status == 403

    @bounded
    async def test_consumer_that_raises_closes_with_1011(
        self, server: ServerProcess, colour: str
    ) -> None:
        async with connect(server, f"/channels/{colour}/{uuid.uuid4().hex}") as client:
            await client.send("break")
            assert await ending_of(client) == ([], 1011, "")
        await asyncio.to_thread(
            server.wait_for_output, f"ZeroDivisionError: the {colour} consumer is broken on purpose"
        )

    @bounded
    async def test_disconnect_has_the_code_of_the_client(
        self, server: ServerProcess, colour: str
    ) -> None:
        name = uuid.uuid4().hex
        async with connect(server, f"/channels/{colour}/{name}") as client:
            await client.close(4321)
        assert await fetch_json(server, f"/{name}") == {"code": 4321}

    @bounded
    async def test_client_that_vanishes_disconnects_with_1006(
        self, server: ServerProcess, colour: str
    ) -> None:
        name = uuid.uuid4().hex
        async with connect(server, f"/channels/{colour}/{name}") as client:
            await client.send("hello")
            assert await client.recv() == "hello"
            client.transport.abort()
        assert await fetch_json(server, f"/{name}") == {"code": 1006}


class TestBareInterface:
    """What the specification says of scope and events."""

    @bounded
    async def test_scope_has_all_that_the_specification_names(self, server: ServerProcess) -> None:
        async with connect(
            server,
            "/raw/show_scope/%C3%BC%20x?a=%C3%BC",
            subprotocols=["v1", "v2"],
            additional_headers={"X-Colour": "blue"},
        ) as client:
            assert client.local_address is not None
            scope = json.loads(await client.recv())
            client_address = list(client.local_address)
        assert scope["type"] == "websocket"
        assert scope["asgi"]["version"] == "3.0"
        assert scope["asgi"]["spec_version"] >= "2.4"
        assert scope["http_version"] == "1.1"
        assert scope["scheme"] == "ws"
        assert scope["path"] == "/raw/show_scope/ü x"
        assert scope["raw_path"] == "/raw/show_scope/%C3%BC%20x"
        assert scope["query_string"] == "a=%C3%BC"
        assert scope["root_path"] == ""
        assert scope["client"] == client_address
        assert scope["server"] == ["127.0.0.1", server.port]
        assert scope["subprotocols"] == ["v1", "v2"]
        assert scope["state"] == {"greeting": "hello from the start"}
        assert "websocket.http.response" in scope["extensions"]
        headers = dict(scope["headers"])
        assert headers["x-colour"] == "blue"
        assert headers["host"] == f"127.0.0.1:{server.port}"
        assert scope["events"] == [{"type": "websocket.connect"}]

    @pytest.mark.parametrize("message", ["Grüße", "", b"\x00\xff", b""])
    @bounded
    async def test_echo_gives_back_what_came(
        self, server: ServerProcess, message: str | bytes
    ) -> None:
        async with connect(server, "/raw/echo") as client:
            await client.send(message)
            assert await client.recv() == message

    @bounded
    async def test_keys_that_may_be_missing_or_none_are(self, server: ServerProcess) -> None:
        async with connect(server, "/raw/accept_with_less") as client:
            assert await ending_of(client) == (["text", b"bytes", "", b""], 1001, "")

    @bounded
    async def test_refusal_may_come_in_pieces(self, server: ServerProcess) -> None:
        answer = await answer_to_handshake(server, "/raw/refuse_in_pieces")
        assert (answer.status, answer.text) == (429, "not so fast")
        assert answer.headers["set-cookie"] == "a=1, b=2"

    @bounded
    async def test_application_that_returns_open_closes_with_1000(
        self, server: ServerProcess
    ) -> None:
        async with connect(server, "/raw/return_open") as client:
            assert await ending_of(client) == ([], 1000, "")


class TestFaults:
    """What an application can do wrong, and what then happens to its client and to itself."""

    @pytest.mark.parametrize(
        "fault",
        [
            "return_silently",
            "return_in_the_middle_of_a_refusal",
            "break_early",
            "accept_with_a_bad_header",
            "refuse_with_a_bad_header",
        ],
    )
    @bounded
    async def test_handshake_that_gets_no_proper_answer_is_500(
        self, server: ServerProcess, fault: str
    ) -> None:
        answer = await answer_to_handshake(server, f"/raw/{fault}")
        assert (answer.status, answer.text) == (500, "Internal Server Error\n")

    @bounded
    async def test_application_that_does_not_answer_is_logged(self, server: ServerProcess) -> None:
        await answer_to_handshake(server, "/raw/return_silently")
        sentence = "returned without answering the handshake"
        await asyncio.to_thread(server.wait_for_output, sentence)

    @bounded
    async def test_application_that_raises_after_accept_closes_with_1011(
        self, server: ServerProcess
    ) -> None:
        async with connect(server, "/raw/break_late") as client:
            assert await ending_of(client) == ([], 1011, "")
        error = "ZeroDivisionError: an application is broken on purpose, late"
        await asyncio.to_thread(server.wait_for_output, error)

    @bounded
    async def test_event_out_of_place_raises_and_says_what_was_expected(
        self, server: ServerProcess
    ) -> None:
        async with connect(server, "/raw/misbehave") as client:
            answers = json.loads(await client.recv())
            assert await ending_of(client) == ([], 1000, "")
        handshake = (
            "RuntimeError: expected 'websocket.accept', 'websocket.close' or "
            "'websocket.http.response.start', got "
        )
        opened = "RuntimeError: expected 'websocket.send' or 'websocket.close', got "
        empty = "RuntimeError: 'websocket.send' needs 'bytes' or 'text'"
        assert answers[:7] == [
            f"{handshake}'websocket.send'",
            f"{handshake}'http.response.start'",
            f"{handshake}'websocket.http.response.body'",
            f"{opened}'websocket.accept'",
            f"{opened}'websocket.http.response.start'",
            empty,
            empty,
        ]
        assert answers[7].startswith("TypeError: a WebSocket message must be str")
        assert answers[8].startswith("ValueError: a close code must be")
        assert answers[9].startswith("ValueError: a close reason must fit")

    @bounded
    async def test_event_behind_a_refusal_raises(self, server: ServerProcess) -> None:
        name = uuid.uuid4().hex
        answer = await answer_to_handshake(server, f"/raw/refuse_and_go_on?{name}")
        assert answer.status == 403
        report = await fetch_json(server, f"/{name}")
        refused = "after the handshake was refused"
        assert report["accept"] == f"RuntimeError: got 'websocket.accept' {refused}"
        assert report["send"] == f"RuntimeError: got 'websocket.send' {refused}"
        assert report["event"] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}

    @bounded
    async def test_sending_to_a_client_that_has_gone_is_an_os_error(
        self, server: ServerProcess
    ) -> None:
        name = uuid.uuid4().hex
        async with connect(server, f"/raw/send_late?{name}") as client:
            assert await client.recv() == "ready"
            await client.close(4321, "enough")
        report = await fetch_json(server, f"/{name}")
        disconnect = {"type": "websocket.disconnect", "code": 4321, "reason": "enough"}
        assert report["events"] == [disconnect, disconnect]
        assert report["error"] == "the WebSocket connection is closed"

    @bounded
    async def test_client_that_vanishes_from_one_that_only_sends_is_not_logged(
        self, server: ServerProcess
    ) -> None:
        name = uuid.uuid4().hex
        async with connect(server, f"/raw/push?{name}") as client:
            await client.recv()
            client.transport.abort()
        await fetch_json(server, f"/{name}")
        assert "ClientDisconnected" not in server.output()
