"""examples/legacy: a project that was written for dwebsocket, as it was and with what is new in it.

Each host serves the same views and is asked the same things, over real sockets.
"""

from __future__ import annotations

import json
import re
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.processes import DEADLINE, ServerProcess, run, serve, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parent.parent / "examples" / "legacy"
NEW = re.compile(r"^.*# new$\n?", re.MULTILINE)
RUNNER = ["-m", "adwebsocket", "--settings", "legacysite.settings", "--port", "{port}"]
STOCK = [
    *("-m", "uvicorn", "--factory", "adwebsocket.asgi:get_asgi_application"),
    *("--ws", "websockets-sansio", "--port", "{port}"),
]
HOSTS = {
    "as it was": RUNNER,
    "runner": RUNNER,
    "runserver": ["manage.py", "runserver", "--noreload", "{port}"],
    "stock uvicorn": STOCK,
}


def copy_example(directory: Path, *, as_it_was: bool = False) -> Path:
    """Copy the project, for its caches to lie elsewhere; without what is new in it, if asked."""
    project = shutil.copytree(
        EXAMPLE, directory / "legacy", ignore=shutil.ignore_patterns("__pycache__")
    )
    if as_it_was:
        for file in project.rglob("*.py"):
            file.write_text(NEW.sub("", file.read_text()))
    return project


@pytest.fixture(scope="module", params=HOSTS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    project = copy_example(
        tmp_path_factory.mktemp("example"), as_it_was=request.param == "as it was"
    )
    environment = {"DJANGO_SETTINGS_MODULE": "legacysite.settings"}
    with serve(HOSTS[request.param], cwd=project, env=environment) as server:
        yield server
        # Whatever a test did was an ordinary end.
        output = server.output()
        assert "Traceback" not in output, output
        assert "ERROR" not in output, output


@contextmanager
def client(server: ServerProcess, path: str, **options: Any) -> Iterator[Any]:
    """Open a WebSocket whose ``recv`` has a deadline."""
    with connect(server.url("ws", path), open_timeout=DEADLINE, **options) as socket:
        receive = socket.recv
        socket.recv = lambda: receive(timeout=DEADLINE)  # type: ignore[assignment,misc]
        yield socket


def test_what_is_new_is_one_line_and_no_view() -> None:
    new = {
        str(file.relative_to(EXAMPLE)): len(NEW.findall(file.read_text()))
        for file in EXAMPLE.rglob("*.py")
        if NEW.search(file.read_text())
    }
    assert new == {"legacysite/settings.py": 1}


def test_page_is_served_beside_the_sockets(server: ServerProcess) -> None:
    page = server.get()
    assert page.status == 200
    assert "<title>聊天室</title>" in page.text


def test_everybody_gets_every_message_and_who_has_left_is_forgotten(
    server: ServerProcess,
) -> None:
    with client(server, "/echo/") as first:
        first.send("一")
        assert first.recv() == "一"
        with client(server, "/echo/") as second:
            second.send("二")
            assert (first.recv(), second.recv()) == ("二", "二")
        first.send(b"three")
        assert first.recv() == "three"


def test_room_talks_json_and_chinese_through_sockets_and_forms(server: ServerProcess) -> None:
    path = f"/room/{quote('书房')}/"
    with client(server, path) as first, client(server, path) as second:
        first.send(json.dumps({"type": "say", "text": "你好"}, ensure_ascii=False))
        for member in (first, second):
            assert json.loads(member.recv()) == {"名字": "匿名", "text": "你好"}
        assert json.loads(server.get(path).text) == {"房间": "书房", "人数": 2}

        first.send(json.dumps({"type": "quit"}))
        assert first.recv() == "再见"
        with pytest.raises(ConnectionClosed) as ended:
            first.recv()
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1000
    wait_until(lambda: json.loads(server.get(path).text)["人数"] == 0, "an empty room")


def test_post_through_the_same_view_reaches_the_sockets(server: ServerProcess) -> None:
    with client(server, "/room/post/") as member, server.connect() as form:
        body = f"text={quote('你好')}".encode()
        head = (
            "POST /room/post/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        form.sendall(head.encode() + body)
        assert form.makefile("rb").readline().split()[1] == b"200"
        assert json.loads(member.recv()) == {"名字": "表单", "text": "你好"}


def test_session_is_found_through_the_thread_of_the_view(server: ServerProcess) -> None:
    cookie = server.get(f"/login/?name={quote('小明')}").headers["set-cookie"].partition(";")[0]
    with client(server, "/room/names/", additional_headers={"Cookie": cookie}) as member:
        member.send(json.dumps({"type": "say", "text": ""}))
        assert json.loads(member.recv())["名字"] == "小明"


def test_thread_pushes_and_closes_while_the_view_waits(server: ServerProcess) -> None:
    with client(server, "/backup/") as socket:
        assert [json.loads(socket.recv()) for _ in range(5)] == [
            {"进度": percent} for percent in (0, 25, 50, 75, 100)
        ]
        with pytest.raises(ConnectionClosed) as ended:
            socket.recv()
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == 1000


def test_page_reaches_the_living_though_nobody_takes_the_dead_off_the_list(
    server: ServerProcess,
) -> None:
    with client(server, "/watch/") as first:
        before = int(first.recv())
    with client(server, "/watch/") as second:
        assert int(second.recv()) == before + 1
        assert json.loads(server.get("/notify/?text=hello").text) == {"人数": before + 1}
        assert second.recv() == "hello"


def test_plain_request_is_refused_where_a_socket_is_required(server: ServerProcess) -> None:
    assert server.get("/backup/").status == 400


def test_checks_and_inspection_know_the_project(tmp_path: Path) -> None:
    project = copy_example(tmp_path)
    check = run(["manage.py", "check"], cwd=project)
    assert check.returncode == 0, check.stdout
    assert re.findall(r"adwebsocket\.[EW]\d+", check.stdout) == [
        "adwebsocket.W001",
        "adwebsocket.W002",
    ]
    report = run(["manage.py", "websocket_port", "--format=json"], cwd=project)
    inspection = json.loads(report.stdout)
    assert [view["name"] for view in inspection["views"]] == [
        *("echo", "room", "backup", "watch", "clock"),
    ]
    assert [finding["kind"] for finding in inspection["findings"]] == [
        *("middleware-classes", "factory-setting", "registry", "registry", "registry", "push-loop"),
    ]


def test_project_as_it_was_passes_the_checks_of_manage_py(tmp_path: Path) -> None:
    check = run(["manage.py", "check"], cwd=copy_example(tmp_path, as_it_was=True))

    assert "System check identified no issues" in check.stdout, check.stdout
