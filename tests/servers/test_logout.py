"""A logout on a page closes the sockets of its session, on a server as it is deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.processes import ServerProcess, serve

from .clients import bounded, connect, ending_of, fetch
from .hosts import FOLDER, runner, uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Database


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(runner("--port", "{port}"), id="runner"),
        pytest.param(uvicorn("listened_application", "websockets-sansio"), id="uvicorn"),
    ],
)
def server(request: pytest.FixtureRequest, database: Database) -> Iterator[ServerProcess]:
    environment = {**database.environment, "PROJECT_CLOSE_ON_LOGOUT": "yes"}
    with serve(request.param, cwd=FOLDER, env=environment) as server:
        yield server


async def log_in(server: ServerProcess) -> dict[str, str]:
    """Begin a session, and return the header of its cookie."""
    answer = await fetch(server, "/session/begin/")
    return {"Cookie": f"sessionid={answer.text}"}


@pytest.mark.parametrize("colour", ["sync", "async"])
@bounded
async def test_logout_on_a_page_closes_the_sockets_of_its_session(
    server: ServerProcess, colour: str
) -> None:
    path = f"/{colour}/echo/"
    browser, phone = await log_in(server), await log_in(server)
    async with (
        connect(server, path, additional_headers=browser) as own,
        connect(server, path, additional_headers=phone) as other,
        connect(server, path) as stranger,
    ):
        await fetch(server, "/session/end/", headers=browser)
        assert await ending_of(own) == ([], 4401, "logged out")
        for client in (other, stranger):
            await client.send("still there")
            assert await client.recv() == "still there"
