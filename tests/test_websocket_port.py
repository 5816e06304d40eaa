"""``manage.py websocket_port`` and ``python -m adwebsocket.porting``, in processes of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.processes import run, write_files, write_project

if TYPE_CHECKING:
    from pathlib import Path

VIEWS = """\
from dwebsocket import accept_websocket

raise RuntimeError("imported")


@accept_websocket
def feed(request):
    while True:
        request.websocket.send("聊天")
"""
LOOP = (
    "push-loop: send() is silent after the end, so this loop outlives its client: leave it with "
    "'if request.websocket.is_closed(): break'"
)
MANAGE = ["manage.py", "websocket_port"]
MODULE = ["-m", "adwebsocket.porting"]


@pytest.fixture(params=[MANAGE, MODULE], ids=["manage.py", "module"])
def command(request: pytest.FixtureRequest) -> list[str]:
    given: list[str] = request.param
    return given


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Write a project whose views cannot be imported."""
    files = {
        "mysite/urls.py": "from shop import views\n",
        "shop/__init__.py": "",
        "shop/views.py": VIEWS,
        "requirements.txt": "django\ndwebsocket\n",
    }
    return write_project(tmp_path, files)


def test_report_has_a_line_for_each_view_and_place_by_file(
    command: list[str], project: Path
) -> None:
    result = run(command, cwd=project)
    assert result.stdout == (
        "requirements.txt:2: requirement: replace it: pip install adwebsocket, which answers to "
        "'import dwebsocket' as well\n"
        "\n"
        "shop/views.py:6: view feed (accept_websocket)\n"
        f"shop/views.py:8: {LOOP}\n"
        "\n"
        "1 dwebsocket view; 2 places that deserve a look; 7 files read.\n"
    )
    assert result.returncode == 0


def test_json_has_the_same(command: list[str], project: Path) -> None:
    result = run([*command, "--format", "json", "shop"], cwd=project)
    advice = LOOP.partition(": ")[2]
    assert json.loads(result.stdout) == {
        "views": [
            {
                "file": "shop/views.py",
                "line": 6,
                "name": "feed",
                "marker": "accept_websocket",
            }
        ],
        "findings": [{"file": "shop/views.py", "line": 8, "kind": "push-loop", "advice": advice}],
        "files": 2,
    }


def test_check_fails_where_there_is_a_place_to_look_at(command: list[str], project: Path) -> None:
    assert run([*command, "--check"], cwd=project).returncode == 1
    assert run([*command, "--check", "mysite"], cwd=project).returncode == 0


def test_views_alone_do_not_fail_the_check(command: list[str], project: Path) -> None:
    fine = VIEWS.replace("while True:", "for message in request.websocket:")
    write_files(project, {"shop/views.py": fine})
    result = run([*command, "--check", "shop"], cwd=project)
    assert "1 dwebsocket view; no places that deserve a look; 2 files read." in result.stdout
    assert result.returncode == 0


def test_path_that_does_not_exist_is_an_error(command: list[str], project: Path) -> None:
    result = run([*command, "nowhere"], cwd=project)
    assert "there is no nowhere" in result.stdout
    assert "Traceback" not in result.stdout
    assert result.returncode != 0


def test_project_is_found_from_another_directory(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    result = run([str(project / "manage.py"), "websocket_port"], cwd=elsewhere)
    assert f"{project}/shop/views.py:6: view feed" in result.stdout
    assert result.returncode == 0


def test_module_needs_no_django(project: Path) -> None:
    code = "import sys; sys.argv[1:] = ['shop']; import adwebsocket.porting.report as report; "
    code += "print('django' in sys.modules)"
    assert run(["-c", code], cwd=project).stdout == "False\n"
