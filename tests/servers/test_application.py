"""Our ASGI application behaves the same on every server, over plain ASGI or the direct path."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed

from tests.processes import ServerProcess, serve

from . import hosts
from .clients import (
    HANDSHAKE,
    answer_to_handshake,
    bounded,
    connect,
    ending_of,
    fetch,
    fetch_json,
)
from .hosts import FOLDER, HOSTS, Host, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import Certificate

    from .conftest import Database

pytestmark = pytest.mark.parametrize("host", HOSTS, indirect=True, scope="module")

COLOURS = ["sync", "async"]
both_colours = pytest.mark.parametrize("colour", COLOURS)


@pytest.fixture(scope="module")
def host(request: pytest.FixtureRequest) -> Host:
    """Return the server under test."""
    host = HOSTS[request.param]
    require(host.packages)
    return host


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    host: Host,
    database: Database,
) -> Iterator[ServerProcess]:
    """Serve the project, and find in the log what only the end can tell."""
    arguments, options = list(host.arguments), {}
    if host.listens == "with TLS":
        certificate: Certificate = request.getfixturevalue("certificate")
        arguments += certificate.options
        options["tls"] = certificate.trust
    elif host.listens == "at a UNIX domain socket":
        options["unix_socket"] = tmp_path_factory.mktemp("uds") / "socket"
    with serve(arguments, cwd=FOLDER, env=database.environment, **options) as server:
        yield server
        server.stop()
        check_log(server.output(), host)


def check_log(output: str, host: Host) -> None:
    """Check that broken views were logged once each, and nothing else but what belongs there."""
    assert "was never awaited" not in output, output
    assert "Task was destroyed" not in output, output
    errors = Counter(errors_in(output))
    broken_views = {error for error in errors if error.startswith("ZeroDivisionError: ")}
    assert all(errors[error] == 1 for error in broken_views), output
    others = {error for error in errors if not error.startswith((*LOGGED, *host.errors))}
    assert others == broken_views, output


# Django logs these for a page, too.
LOGGED = (
    "django.core.exceptions.PermissionDenied",
    "ValueError: cannot send the header b'X-Room': b'a",
)


def errors_in(output: str) -> list[str]:
    """Return the last line of every traceback."""
    errors = []
    inside = False
    for line in output.splitlines():
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and not line.startswith(" "):
            errors.append(line)
            inside = False
    return errors


@bounded
async def test_direct_path_is_taken_where_nobody_listens_in(
    host: Host, server: ServerProcess
) -> None:
    async with connect(server, "/channel/") as client:
        assert await client.recv() == host.channel


@both_colours
class TestMessages:
    """What is sent arrives, whole and in order."""

    @pytest.mark.parametrize(
        "message",
        [
            pytest.param("Grüße, ☃ and 🐍", id="text"),
            pytest.param(bytes(range(256)), id="binary"),
            pytest.param("é" * 100_000, id="long-text"),
            pytest.param(b"\xff" * 100_000, id="long-binary"),
            pytest.param(bytes(range(256)) * 4096, id="longest-binary"),
        ],
    )
    @bounded
    async def test_message_comes_back_as_it_was(
        self, server: ServerProcess, colour: str, message: str | bytes
    ) -> None:
        async with connect(server, f"/{colour}/echo/") as client:
            await client.send(message)
            assert await client.recv() == message

    @bounded
    async def test_empty_messages_come_back(
        self, host: Host, server: ServerProcess, colour: str
    ) -> None:
        async with connect(server, f"/{colour}/echo/") as client:
            for message in ("", b"", "last"):
                await client.send(message)
            messages = [await client.recv()]
            while messages[-1] != "last":
                messages.append(await client.recv())
        assert messages in host.outcomes(hosts.EMPTY_MESSAGES, ["", b"", "last"], ["last"])

    @bounded
    async def test_200_messages_keep_their_order(self, server: ServerProcess, colour: str) -> None:
        messages = [f"message {number}" for number in range(200)]
        async with connect(server, f"/{colour}/echo/") as client:
            for message in messages:
                await client.send(message)
            assert [await client.recv() for _ in messages] == messages

    @bounded
    async def test_wait_with_timeout_gives_none_and_later_the_message(
        self, server: ServerProcess, colour: str
    ) -> None:
        async with connect(server, f"/{colour}/patience/") as client:
            assert await client.recv() == "nothing: None, False"
            await client.send("something")
            assert await client.recv() == "then: 'something'"


@both_colours
class TestHandshake:
    """What the handshake settles when it is accepted."""

    @pytest.mark.parametrize(
        ("offered", "chosen"),
        [
            (["chat.v1", "chat.v2"], "chat.v2"),
            (["chat.v0", "chat.v1"], "chat.v1"),
            (["chat.v0"], None),
            (None, None),
        ],
    )
    @bounded
    async def test_subprotocol_is_the_one_that_the_server_prefers(
        self, server: ServerProcess, colour: str, offered: list[str] | None, chosen: str | None
    ) -> None:
        async with connect(server, f"/{colour}/echo/", subprotocols=offered) as client:
            assert client.subprotocol == chosen

    @bounded
    async def test_view_that_accepts_by_hand_gives_subprotocol_and_headers(
        self, host: Host, server: ServerProcess, colour: str
    ) -> None:
        path = f"/{colour}/manual/?accept=blue"
        async with connect(server, path, subprotocols=["other", "by-hand"]) as client:
            assert await client.recv() == "accepted"
        assert client.subprotocol == "by-hand"
        assert client.response is not None
        room = client.response.headers.get("X-Room")
        assert room in host.outcomes(hosts.ACCEPT_HEADERS, "blue", None)


@both_colours
class TestEnd:
    """How a connection ends, seen from both sides."""

    @bounded
    async def test_view_that_closes_gives_code_and_reason(
        self, host: Host, server: ServerProcess, colour: str
    ) -> None:
        async with connect(server, f"/{colour}/closing/") as client:
            ending = await ending_of(client)
        assert ending in host.outcomes(
            hosts.CLOSE_REASONS, ([], 4001, "genug für heute"), ([], 4001, "")
        )

    @bounded
    async def test_view_that_returns_closes_with_1000(
        self, server: ServerProcess, colour: str
    ) -> None:
        async with connect(server, f"/{colour}/returning/") as client:
            assert await ending_of(client) == (["bye"], 1000, "")

    @bounded
    async def test_view_that_returns_before_all_is_read_closes_with_1000(
        self, host: Host, server: ServerProcess, colour: str
    ) -> None:
        async with connect(server, f"/{colour}/leaving/") as client:
            with suppress(ConnectionClosed):
                for _ in range(100):
                    await client.send("x" * 1000)
            messages, code, _ = await ending_of(client)
        assert messages == []
        assert code in host.outcomes(hosts.LINGERS, 1000, 1006)

    @bounded
    async def test_view_that_raises_closes_with_1011(
        self, server: ServerProcess, colour: str
    ) -> None:
        async with connect(server, f"/{colour}/failing/") as client:
            assert await ending_of(client) == (["hold on"], 1011, "")
        await asyncio.to_thread(
            server.wait_for_output, f"ZeroDivisionError: the {colour} view is broken on purpose"
        )

    @bounded
    async def test_messages_right_before_the_close_arrive(
        self, server: ServerProcess, colour: str
    ) -> None:
        async with connect(server, f"/{colour}/farewell/") as client:
            messages, code, _ = await ending_of(client)
        assert messages == [f"last words {number}" for number in range(100)]
        assert code == 4000

    @bounded
    async def test_close_of_the_client_reaches_the_view_behind_its_messages(
        self, host: Host, server: ServerProcess, colour: str
    ) -> None:
        name = uuid.uuid4().hex
        async with connect(server, f"/{colour}/reporting/{name}/") as client:
            assert await client.recv() == "ready"
            await client.send("one")
            await client.send("two")
            await client.close(4321, "genug für mich")
        report = await fetch_json(server, f"/reports/{name}/")
        assert report["messages"] == ["one", "two"]
        assert report["closed"]
        assert report["is_closed"]
        assert report["error"] == report["code"]
        assert report["code"] in host.outcomes(hosts.CLIENT_CODES, 4321, 1006)
        reason = "genug für mich" if report["code"] == 4321 else ""
        assert report["reason"] in host.outcomes(hosts.CLIENT_REASONS, reason, "")

    @bounded
    async def test_client_that_vanishes_ends_the_view(
        self, host: Host, server: ServerProcess, colour: str
    ) -> None:
        name = uuid.uuid4().hex
        async with connect(server, f"/{colour}/reporting/{name}/") as client:
            assert await client.recv() == "ready"
            client.transport.abort()
        report = await fetch_json(server, f"/reports/{name}/")
        assert report["messages"] == []
        assert report["closed"]
        assert report["is_closed"]
        assert report["error"] == report["code"]
        assert report["code"] in host.outcomes(hosts.LOSSES, 1006, 1005)


class TestRefusals:
    """What keeps a WebSocket from being opened answers the handshake as it would a page.

    Servers without the extension for it refuse with a bare 403, as the ASGI specification says.
    """

    @both_colours
    @bounded
    async def test_login_required_redirects_strangers(
        self, host: Host, server: ServerProcess, colour: str
    ) -> None:
        answer = await answer_to_handshake(server, f"/{colour}/private/")
        login = f"/login/?next=/{colour}/private/"
        assert (answer.status, answer.headers.get("location")) in host.outcomes(
            hosts.REFUSALS, (302, login), (403, None)
        )

    @both_colours
    @bounded
    async def test_login_required_lets_the_user_in(
        self, server: ServerProcess, database: Database, colour: str
    ) -> None:
        headers = {"Cookie": database.cookie}
        path = f"/{colour}/private/"
        async with connect(server, path, additional_headers=headers) as client:
            assert await client.recv() == "hello ada"

    @both_colours
    @bounded
    async def test_permission_denied_by_a_decorator_is_403(
        self, server: ServerProcess, colour: str
    ) -> None:
        assert (await answer_to_handshake(server, f"/{colour}/members/")).status == 403

    @both_colours
    @bounded
    async def test_decorator_that_queries_the_database_lets_the_user_in(
        self, server: ServerProcess, database: Database, colour: str
    ) -> None:
        headers = {"Cookie": database.cookie}
        path = f"/{colour}/members/"
        async with connect(server, path, additional_headers=headers) as client:
            assert await client.recv() == "hello ada"

    @both_colours
    @bounded
    async def test_page_of_another_site_is_told_why_it_may_not(
        self, host: Host, server: ServerProcess, colour: str
    ) -> None:
        answer = await answer_to_handshake(
            server, f"/{colour}/echo/", Origin="https://elsewhere.example"
        )
        assert answer.status == 403
        told = "https://elsewhere.example" in answer.text
        assert told in host.outcomes(hosts.REFUSALS, True, False)

    @both_colours
    @bounded
    async def test_page_of_the_same_host_is_let_in_unless_it_came_with_less_protection(
        self, server: ServerProcess, colour: str
    ) -> None:
        for scheme in ("https", "http"):
            answer = await answer_to_handshake(
                server, f"/{colour}/echo/", Origin=f"{scheme}://127.0.0.1:{server.port}"
            )
            is_stripped = server.tls is not None and scheme == "http"
            assert answer.status == (403 if is_stripped else 101)

    @bounded
    async def test_unknown_address_is_404(self, host: Host, server: ServerProcess) -> None:
        answer = await answer_to_handshake(server, "/nowhere/")
        assert answer.status in host.outcomes(hosts.REFUSALS, 404, 403)

    @bounded
    async def test_view_without_decorator_is_400_with_an_explanation(
        self, host: Host, server: ServerProcess
    ) -> None:
        answer = await answer_to_handshake(server, "/unmarked/")
        assert (answer.status, answer.text[:37]) in host.outcomes(
            hosts.REFUSALS, (400, "This URL does not speak WebSocket: it"), (403, answer.text[:37])
        )

    @both_colours
    @bounded
    async def test_view_that_refuses_by_hand_gives_its_response(
        self, host: Host, server: ServerProcess, colour: str
    ) -> None:
        answer = await answer_to_handshake(server, f"/{colour}/manual/?cookie=pot")
        if answer.status in host.outcomes(hosts.REFUSALS, 418, 403) and answer.status == 403:
            return
        assert (answer.status, answer.text) == (418, "short and stout")
        assert answer.headers["x-room"] == "kitchen"
        assert answer.headers["set-cookie"] == "pot=tea; Path=/"

    @both_colours
    @bounded
    async def test_refusal_sets_all_its_cookies(
        self, host: Host, server: ServerProcess, colour: str
    ) -> None:
        if hosts.REPEATED_HEADERS in host.lacks:
            pytest.skip("the server would crash")
        answer = await answer_to_handshake(server, f"/{colour}/manual/?cookie=pot&cookie=cup")
        assert answer.headers.get("set-cookie") in host.outcomes(
            hosts.REFUSALS, "pot=tea; Path=/, cup=tea; Path=/", None
        )

    @pytest.mark.parametrize("query", ["accept=a%0Ab", "room=a%01b"])
    @both_colours
    @bounded
    async def test_header_that_cannot_be_sent_is_an_error_of_the_view(
        self, host: Host, server: ServerProcess, colour: str, query: str
    ) -> None:
        answer = await answer_to_handshake(server, f"/{colour}/manual/?{query}")
        assert answer.status in {
            *host.outcomes(hosts.REFUSALS, 500, 403),
            *host.outcomes(hosts.ERRORS, 500, 403),
        }


# What a browser sends with a handshake and not with a page, or the other way round.
DIFFERENT_HEADERS = {"Accept-Encoding", "User-Agent", "Sec-WebSocket-Extensions", *HANDSHAKE}


@both_colours
class TestRequest:
    """The request is the one that an HTTP GET of the same address would be."""

    @bounded
    async def test_request_has_all_that_the_stock_middleware_gives(
        self, server: ServerProcess, database: Database, colour: str
    ) -> None:
        scheme = "http" if server.tls is None else "https"
        # At a UNIX domain socket nobody has an address, and Django makes "None" of no port.
        has_address = server.unix_socket is None
        port = str(server.port) if has_address else "None"
        headers = {"Cookie": f"{database.cookie}; taste=sweet", "X-Colour": "blue"}
        path = f"/{colour}/request/42/some-slug/?a=1&a=2&b=%C3%BC+x"
        async with connect(server, path, additional_headers=headers) as client:
            facts = json.loads(await client.recv())
        host = f"127.0.0.1:{server.port}"
        wanted = {
            "method": "GET",
            "scheme": scheme,
            "is_secure": server.tls is not None,
            "host": host,
            "port": port,
            "path": f"/{colour}/request/42/some-slug/",
            "full_path": path,
            "absolute_uri": f"{scheme}://{host}/elsewhere/",
            "query": {"a": ["1", "2"], "b": ["ü x"]},
            "form": {},
            "body": "",
            "user": "ada",
            "is_authenticated": True,
            "city": "Zürich",
            "arguments": {"number": 42, "word": "some-slug"},
            "match": {"number": 42, "word": "some-slug"},
            "view_name": f"{colour}:request",
            "route": f"{colour}/request/<int:number>/<slug:word>/",
            "address": f"/{colour}/request/7/back/",
        }
        assert {name: facts[name] for name in wanted} == wanted
        assert facts["cookies"]["taste"] == "sweet"
        meta = {
            "REMOTE_ADDR": "127.0.0.1" if has_address else None,
            "QUERY_STRING": "a=1&a=2&b=%C3%BC+x",
            "HTTP_HOST": host,
            "HTTP_X_COLOUR": "blue",
            "SERVER_PORT": port,
            "PATH_INFO": f"/{colour}/request/42/some-slug/",
        }
        assert {name: facts["meta"].get(name) for name in meta} == meta

    @bounded
    async def test_request_differs_from_that_of_a_page_in_the_handshake_only(
        self, server: ServerProcess, database: Database, colour: str
    ) -> None:
        headers = {"Cookie": database.cookie, "X-Colour": "blue"}
        path = f"/{colour}/request/42/some-slug/?a=1"
        async with connect(server, path, additional_headers=headers) as client:
            facts = json.loads(await client.recv())
        page = await fetch_json(server, path, headers=headers)
        for every_header in (facts["headers"], page["headers"]):
            for name in list(every_header):
                if name.title() in {header.title() for header in DIFFERENT_HEADERS}:
                    del every_header[name]
        for meta in (facts["meta"], page["meta"]):
            meta.pop("REMOTE_PORT", None)
            for header in DIFFERENT_HEADERS:
                meta.pop(f"HTTP_{header.upper().replace('-', '_')}", None)
        assert facts == page


@both_colours
class TestPages:
    """Plain HTTP requests to views for WebSockets."""

    @bounded
    async def test_view_that_accepts_websockets_answers_get(
        self, server: ServerProcess, colour: str
    ) -> None:
        answer = await fetch(server, f"/{colour}/page/")
        assert (answer.status, answer.text) == (200, "GET None")

    @bounded
    async def test_view_that_accepts_websockets_answers_post(
        self, server: ServerProcess, colour: str
    ) -> None:
        answer = await fetch(
            server,
            f"/{colour}/page/",
            method="POST",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body="word=gr%C3%BC%C3%9Fe",
        )
        assert (answer.status, answer.text) == (200, "POST grüße")

    @bounded
    async def test_view_that_requires_a_websocket_answers_400(
        self, server: ServerProcess, colour: str
    ) -> None:
        answer = await fetch(server, f"/{colour}/echo/")
        assert answer.status == 400
        assert answer.text == "This URL speaks WebSocket only; open it with a WebSocket client.\n"
