"""Our runner behind a real nginx, both as ``docs/deploy.md`` has them.

The configuration and the options of the runner are read from the page, so neither can go stale;
what names a machine (paths, ports, certificates) is replaced.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.components import skip_or_fail
from tests.documentation.pages import DOCS, blocks
from tests.hostile.wire import TEXT, Peer, frame
from tests.processes import ServerProcess, fill_in, free_port, serve, write_files

from .clients import answer_to_handshake, bounded, connect, ending_of, fetch, fetch_json
from .hosts import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.certificates import Certificate

    from .conftest import Database

PAGE = DOCS / "deploy.md"
MEBIBYTE = 1024 * 1024

both_colours = pytest.mark.parametrize("colour", ["sync", "async"])

# Where nginx would else write into folders of the system.
TEMPORARY_FILES = "client_body proxy fastcgi uwsgi scgi"


def replace_all(text: str, replacements: Mapping[str, str]) -> str:
    """Replace what stands for a place on the page, all of which must be there."""
    missing = [old for old in replacements if old not in text]
    assert missing == [], f"{PAGE.name} no longer has {missing}"
    return fill_in(text, replacements)


def runner_options() -> list[str]:
    """Return how the unit of the page calls the runner, without the path of its socket."""
    (unit,) = blocks(PAGE, "ini")
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    program, *options = shlex.split(replace_all(command, {"/run/mysite/socket": "{socket}"}))
    assert Path(program).name == "adwebsocket"
    return options


def configuration(directory: Path, port: int, unix_socket: Path, certificate: Certificate) -> str:
    """Return the configuration of the page, made to run anywhere beside any other nginx."""
    main, site = blocks(PAGE, "nginx")
    site = replace_all(
        site,
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "/etc/ssl/mysite/certificate.pem": str(certificate.file),
            "/etc/ssl/mysite/key.pem": str(certificate.key_file),
            "/run/mysite/socket": str(unix_socket),
            "/srv/mysite/static/": f"{directory}/static/",
        },
    )
    paths = [f"{kind}_temp_path {directory}/{kind};" for kind in TEMPORARY_FILES.split()]
    # The workers of a root's nginx would be another user, who may not enter the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    return "\n".join(
        [
            *("daemon off;", user, f"pid {directory}/pid;", "error_log stderr warn;", main),
            *("http {", "access_log off;", *paths, site, "}"),
        ]
    )


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a static file, whose path is short enough for a socket in it."""
    directory = tmp_path_factory.mktemp("nginx")
    return write_files(directory, {"static/hello.txt": "hello from a file"})


@pytest.fixture(scope="module")
def runner(directory: Path, database: Database) -> Iterator[ServerProcess]:
    """Serve the project by our runner."""
    arguments = ["-m", "adwebsocket", "project:application", *runner_options()]
    with serve(
        arguments,
        cwd=FOLDER,
        env=database.environment,
        unix_socket=directory / "socket",
    ) as runner:
        yield runner
        runner.stop()
        assert "Traceback" not in runner.output(), runner.output()


@pytest.fixture(scope="module")
def server(
    directory: Path, runner: ServerProcess, certificate: Certificate
) -> Iterator[ServerProcess]:
    """Start nginx in front of it."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        skip_or_fail("needs nginx")
    port = free_port()
    assert runner.unix_socket is not None
    text = configuration(directory, port, runner.unix_socket, certificate)
    write_files(directory, {"nginx.conf": text})
    arguments = ["-p", str(directory), "-c", "nginx.conf", "-e", "stderr"]
    with serve(
        arguments, cwd=directory, program=program, port=port, tls=certificate.trust
    ) as nginx:
        yield nginx
        nginx.stop()
        assert "[error]" not in nginx.output(), nginx.output()


@both_colours
@bounded
async def test_messages_pass_both_ways_in_order(server: ServerProcess, colour: str) -> None:
    messages: list[str | bytes] = [f"Grüße {number}" for number in range(100)]
    messages += [bytes(range(256)), "", b""]
    async with connect(server, f"/{colour}/echo/") as client:
        for message in messages:
            await client.send(message)
        assert [await client.recv() for _ in messages] == messages


@both_colours
@bounded
async def test_message_of_a_mebibyte_passes_both_ways(server: ServerProcess, colour: str) -> None:
    message = os.urandom(MEBIBYTE)
    async with connect(server, f"/{colour}/echo/", compression=None) as client:
        await client.send(message)
        assert await client.recv() == message


@both_colours
@bounded
async def test_subprotocol_and_compression_are_agreed_on_through_it(
    server: ServerProcess, colour: str
) -> None:
    async with connect(server, f"/{colour}/echo/", subprotocols=["chat.v1", "other"]) as client:
        assert client.subprotocol == "chat.v1"
        assert client.response is not None
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]


@both_colours
@bounded
async def test_refusal_passes_with_status_headers_and_body(
    server: ServerProcess, colour: str
) -> None:
    redirect = await answer_to_handshake(server, f"/{colour}/private/")
    assert redirect.status == 302
    assert redirect.headers["location"] == f"/login/?next=/{colour}/private/"

    teapot = await answer_to_handshake(server, f"/{colour}/manual/?cookie=pot&cookie=cup")
    assert (teapot.status, teapot.text) == (418, "short and stout")
    assert teapot.headers["set-cookie"] == "pot=tea; Path=/, cup=tea; Path=/"


@both_colours
@bounded
async def test_own_page_is_let_in_and_a_foreign_one_is_told_why_not(
    server: ServerProcess, colour: str
) -> None:
    for origin, status in {
        f"https://127.0.0.1:{server.port}": 101,
        f"http://127.0.0.1:{server.port}": 403,
        "https://elsewhere.example": 403,
    }.items():
        answer = await answer_to_handshake(server, f"/{colour}/echo/", Origin=origin)
        assert answer.status == status
        assert status == 101 or origin in answer.text


@pytest.mark.parametrize("claimed", [None, "198.51.100.7", "198.51.100.7, 127.0.0.1"])
@both_colours
@bounded
async def test_address_and_scheme_are_the_clients_whatever_it_claims(
    server: ServerProcess, colour: str, claimed: str | None
) -> None:
    path = f"/{colour}/request/42/some-slug/"
    claims = {"X-Forwarded-For": claimed, "X-Forwarded-Proto": "http"} if claimed else {}
    # All of 127.0.0.0/8 is this machine, so that the address cannot be mistaken for a default.
    async with connect(
        server, path, additional_headers=claims, local_addr=("127.0.0.2", 0)
    ) as client:
        facts = json.loads(await client.recv())
    host = f"127.0.0.1:{server.port}"
    wanted = {
        "scheme": "https",
        "is_secure": True,
        "host": host,
        "absolute_uri": f"https://{host}/elsewhere/",
    }
    assert {name: facts[name] for name in wanted} == wanted
    assert facts["meta"]["REMOTE_ADDR"] == "127.0.0.2"

    page = await fetch_json(server, path, headers=claims)
    assert {name: page[name] for name in wanted} == wanted
    assert page["meta"]["REMOTE_ADDR"] == "127.0.0.1"


@both_colours
@bounded
async def test_direct_path_is_taken_behind_it(server: ServerProcess, colour: str) -> None:
    async with connect(server, "/channel/") as client:
        assert await client.recv() == "WebSocketProtocol"


@both_colours
@bounded
async def test_close_of_the_view_passes_with_code_and_reason(
    server: ServerProcess, colour: str
) -> None:
    async with connect(server, f"/{colour}/closing/") as client:
        assert await ending_of(client) == ([], 4001, "genug für heute")


@both_colours
@bounded
async def test_close_of_the_client_is_answered_with_its_code(
    server: ServerProcess, colour: str
) -> None:
    async with connect(server, f"/{colour}/echo/") as client:
        await client.close(4321, "genug für mich")
    # The code of the server's own close frame, which repeats what it was told.
    assert client.protocol.close_rcvd is not None
    assert client.protocol.close_rcvd.code == 4321


@both_colours
def test_client_that_breaks_the_protocol_is_told_its_fault(
    server: ServerProcess, colour: str
) -> None:
    with Peer(server) as peer:
        peer.open(f"/{colour}/echo/")
        peer.send(frame(TEXT, b"hello", mask=None))
        assert peer.read_close().code == 1002
        assert peer.read_end() == b""


@both_colours
@bounded
async def test_pages_pass_beside_websockets(server: ServerProcess, colour: str) -> None:
    async with connect(server, f"/{colour}/echo/") as client:
        get = await fetch(server, f"/{colour}/page/")
        assert (get.status, get.text) == (200, "GET None")
        post = await fetch(
            server,
            f"/{colour}/page/",
            method="POST",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body="word=gr%C3%BC%C3%9Fe",
        )
        assert (post.status, post.text) == (200, "POST grüße")
        await client.send("still there?")
        assert await client.recv() == "still there?"


@bounded
async def test_static_file_comes_from_nginx(server: ServerProcess) -> None:
    answer = await fetch(server, "/static/hello.txt")
    assert (answer.status, answer.text) == (200, "hello from a file")
    assert answer.headers["server"].startswith("nginx")


@bounded
async def test_workers_share_the_clients(server: ServerProcess) -> None:
    clients = [connect(server, "/async/echo/") for _ in range(40)]
    opened = await asyncio.gather(*(client.__aenter__() for client in clients))
    for number, client in enumerate(opened):
        await client.send(f"client {number}")
    for number, client in enumerate(opened):
        assert await client.recv() == f"client {number}"
    await asyncio.gather(*(client.close() for client in opened))
