"""Whose word counts about the client's address and scheme: that of trusted proxies alone.

uvicorn puts it into the scope, in front of our application; here it must arrive in the request of
a WebSocket as in that of a page, and must not cost the direct path.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.processes import ServerProcess, serve

from .clients import bounded, connect, fetch_json
from .hosts import FOLDER, runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Database

PATH = "request/42/some-slug/"
CLIENT = "198.51.100.7"
CLAIMS = {"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"}

both_colours = pytest.mark.parametrize("colour", ["sync", "async"])


class Seen(NamedTuple):
    """What a view saw of its client."""

    address: str | None
    scheme: str
    is_secure: bool


OVERHEARD = Seen("127.0.0.1", "http", is_secure=False)
BELIEVED = Seen(CLIENT, "https", is_secure=True)


@pytest.fixture(scope="module")
def servers(
    database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., ServerProcess]]:
    """Return what starts a runner with some options, or gives the one that has them."""
    running: dict[tuple[str, ...], ServerProcess] = {}
    with ExitStack() as stack:

        def start(*options: str) -> ServerProcess:
            if options not in running:
                unix_socket = None
                if "{socket}" in options:
                    unix_socket = tmp_path_factory.mktemp("uds") / "socket"
                running[options] = stack.enter_context(
                    serve(
                        runner("--port", "{port}", *options),
                        cwd=FOLDER,
                        env=database.environment,
                        unix_socket=unix_socket,
                    )
                )
            return running[options]

        yield start


async def sights_of(
    server: ServerProcess,
    colour: str,
    headers: dict[str, str],
    *,
    also_of_page: bool = True,
    **options: Any,
) -> Seen:
    """Return what a WebSocket's view sees, and expect the view of a page to see the same."""
    path = f"/{colour}/{PATH}"
    async with connect(server, path, additional_headers=headers, **options) as client:
        seen = seen_in(json.loads(await client.recv()))
    if also_of_page:
        assert seen_in(await fetch_json(server, path, headers=headers)) == seen
    return seen


def seen_in(facts: dict[str, Any]) -> Seen:
    host = facts["host"]
    assert facts["absolute_uri"] == f"{facts['scheme']}://{host}/elsewhere/"
    return Seen(facts["meta"].get("REMOTE_ADDR"), facts["scheme"], facts["is_secure"])


@both_colours
@pytest.mark.parametrize(
    ("options", "seen"),
    [
        pytest.param([], BELIEVED, id="by-default"),
        pytest.param(["--forwarded-allow-ips", "127.0.0.1"], BELIEVED, id="by-address"),
        pytest.param(["--forwarded-allow-ips", "10.1.2.3,127.0.0.0/8"], BELIEVED, id="by-network"),
        pytest.param(["--forwarded-allow-ips", "*"], BELIEVED, id="as-everybody"),
        pytest.param(["--forwarded-allow-ips", "192.0.2.1"], OVERHEARD, id="not-the-one-named"),
        pytest.param(["--no-proxy-headers"], OVERHEARD, id="not-at-all"),
        pytest.param(
            ["--uds", "{socket}", "--forwarded-allow-ips", "*"], BELIEVED, id="at-a-unix-socket"
        ),
        pytest.param(
            ["--uds", "{socket}"],
            Seen(None, "http", is_secure=False),
            id="not-at-a-unix-socket-by-default",
        ),
    ],
)
@bounded
async def test_proxy_on_this_machine_is_believed(
    servers: Callable[..., ServerProcess], colour: str, options: list[str], seen: Seen
) -> None:
    assert await sights_of(servers(*options), colour, CLAIMS) == seen


@both_colours
@bounded
async def test_client_that_is_no_trusted_proxy_is_not_believed(
    servers: Callable[..., ServerProcess], colour: str
) -> None:
    # All of 127.0.0.0/8 is this machine, and only 127.0.0.1 is trusted.
    origin = ("127.0.0.2", 0)
    seen = await sights_of(servers(), colour, CLAIMS, also_of_page=False, local_addr=origin)
    assert seen == Seen("127.0.0.2", "http", is_secure=False)


@both_colours
@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        pytest.param({}, OVERHEARD, id="nothing"),
        pytest.param({"X-Forwarded-Proto": "wss"}, OVERHEARD._replace(scheme="https"), id="wss"),
        pytest.param({"X-Forwarded-Proto": "gopher"}, OVERHEARD, id="odd-scheme"),
        pytest.param({"X-Forwarded-For": ""}, OVERHEARD, id="no-address"),
        pytest.param(
            # Each proxy adds whom it heard; what stands before that, the client may have made up.
            {"X-Forwarded-For": f"203.0.113.1, {CLIENT}"},
            OVERHEARD._replace(address=CLIENT),
            id="made-up-address-in-front",
        ),
        pytest.param(
            {"X-Forwarded-For": f"{CLIENT}, 127.0.0.1"},
            OVERHEARD._replace(address=CLIENT),
            id="trusted-proxy-behind",
        ),
        pytest.param(
            {"X-Forwarded-Host": "elsewhere.example", "Forwarded": f"for={CLIENT};proto=https"},
            OVERHEARD,
            id="other-headers",
        ),
    ],
)
@bounded
async def test_trusted_proxy_is_understood(
    servers: Callable[..., ServerProcess], colour: str, headers: dict[str, str], seen: Seen
) -> None:
    seen = seen._replace(is_secure=seen.scheme == "https")
    # No proxy says "wss" of a page.
    also_of_page = headers.get("X-Forwarded-Proto") != "wss"
    assert await sights_of(servers(), colour, headers, also_of_page=also_of_page) == seen


@both_colours
@bounded
async def test_origin_of_the_page_is_compared_with_the_scheme_that_the_proxy_tells(
    servers: Callable[..., ServerProcess], colour: str
) -> None:
    server = servers()
    origin = f"https://127.0.0.1:{server.port}"
    path = f"/{colour}/echo/"
    async with connect(server, path, origin=origin, additional_headers=CLAIMS) as client:
        await client.send("hello")
        assert await client.recv() == "hello"


@bounded
async def test_direct_path_is_taken_and_the_access_log_names_the_client(
    servers: Callable[..., ServerProcess],
) -> None:
    server = servers()
    async with connect(server, "/channel/", additional_headers=CLAIMS) as client:
        assert await client.recv() == "WebSocketProtocol"
    assert f'{CLIENT}:0 - "GET /channel/ HTTP/1.1" 101' in server.output()
