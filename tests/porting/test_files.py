"""Which files of a project are looked at, and what requirements and uWSGI's options tell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adwebsocket.porting.inspection import inspect_project
from tests.processes import write_files

if TYPE_CHECKING:
    from adwebsocket.porting.findings import Inspection

CHECKOUT = Path(__file__).parent.parent.parent
VIEW = "from dwebsocket import accept_websocket\n@accept_websocket\ndef view(request): pass\n"


def inspect(directory: Path, files: dict[str, str]) -> Inspection:
    return inspect_project([write_files(directory, files)])


def found(directory: Path, name: str, text: str) -> list[tuple[int, str]]:
    findings = inspect(directory, {name: text}).findings
    return [(finding.line, finding.kind) for finding in findings]


def test_folders_that_are_not_the_projects_own_are_left_out(tmp_path: Path) -> None:
    files = {
        f"{folder}/views.py": VIEW
        for folder in (
            *("shop", "shop/deep/er", "venv_tools"),
            *(".git", ".venv", "node_modules/x", "shop/migrations", "env", "lib/site-packages"),
        )
    }
    inspection = inspect(tmp_path, {**files, "env/pyvenv.cfg": "", "venv_tools/activate": ""})
    assert [str(Path(view.file).relative_to(tmp_path)) for view in inspection.views] == [
        "shop/deep/er/views.py",
        "shop/views.py",
        "venv_tools/views.py",
    ]
    assert inspection.files == 3


def test_file_that_is_asked_for_is_read_wherever_it_is(tmp_path: Path) -> None:
    write_files(tmp_path, {".hidden/views.py": VIEW})
    assert len(inspect_project([tmp_path / ".hidden" / "views.py"]).views) == 1


def test_what_is_found_twice_is_told_once(tmp_path: Path) -> None:
    write_files(tmp_path, {"views.py": VIEW})
    assert len(inspect_project([tmp_path, tmp_path / "views.py"]).views) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    write_files(tmp_path, {"project/views.py": VIEW})
    (tmp_path / "project" / "again").symlink_to(tmp_path / "project")
    (tmp_path / "project" / "broken.py").symlink_to(tmp_path / "nowhere")
    assert inspect_project([tmp_path / "project"]).files == 1


def test_copy_of_dwebsocket_is_one_finding_and_not_inspected(tmp_path: Path) -> None:
    inspection = inspect(
        tmp_path,
        {
            "extra_apps/dwebsocket/__init__.py": "",
            "extra_apps/dwebsocket/decorators.py": VIEW,
            "extra_apps/dwebsocket/websocket.py": VIEW,
        },
    )
    assert [(finding.kind, Path(finding.file).name) for finding in inspection.findings] == [
        ("copy", "dwebsocket")
    ]
    assert inspection.views == []


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("requirements.txt", "django\ndwebsocket==0.5.12\n", [2]),
        ("requirements-dev.txt", "dwebsocket>=0.5  # sockets\n# dwebsocket\n", [1]),
        ("requirements/base.txt", "dwebsocket", [1]),
        ("requirements.in", "DWebSocket~=0.5", [1]),
        ("requirements.txt", "-e git+https://github.com/x/y.git#egg=dwebsocket", [1]),
        ("requirements.txt", "git+https://github.com/x/dwebsocket.git", [1]),
        ("requirements.txt", "adwebsocket\ndwebsocket-extras\nmy-dwebsocket\n./dwebsocket/", []),
        ("Pipfile", '[packages]\ndwebsocket = "*"\n', [2]),
        ("setup.py", 'setup(install_requires=["dwebsocket"])', [1]),
        (
            "setup.py",
            'setup(\n    keywords=["dwebsocket"],\n    description="like dwebsocket")',
            [],
        ),
        (
            "pyproject.toml",
            'dependencies = [\n  "dwebsocket>=0.4",\n]\nkeywords = ["dwebsocket"]',
            [2],
        ),
        ("Dockerfile", "RUN pip install django dwebsocket gevent", [1]),
        ("notes.txt", "dwebsocket", []),
        ("deploy.ini", "dwebsocket", []),
    ],
)
def test_requirement_is_found(tmp_path: Path, name: str, text: str, lines: list[int]) -> None:
    assert found(tmp_path, name, text) == [(line, "requirement") for line in lines]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("uwsgi.ini", "# options\n[uwsgi]\nhttp-websockets = true\nprocesses = 4\n", 2),
        ("site.yaml", "uwsgi:\n  module: mysite.wsgi\n", 1),
        ("site.xml", "<uwsgi>\n</uwsgi>", 1),
        ("site.json", '{\n  "uwsgi": {}\n}', 2),
        ("tox.ini", "[testenv]\ndeps = uwsgi\n", 0),
        ("docker-compose.yml", "services:\n  uwsgi:\n    image: x\n", 0),
    ],
)
def test_options_of_uwsgi_are_found(tmp_path: Path, name: str, text: str, line: int) -> None:
    assert found(tmp_path, name, text) == ([(line, "uwsgi")] if line else [])


def test_advice_takes_the_number_of_workers_along(tmp_path: Path) -> None:
    (finding,) = inspect(tmp_path, {"uwsgi.ini": "[uwsgi]\nprocesses = 4\n"}).findings
    assert "adwebsocket --workers N" in finding.advice
    assert "(here N is 4)" in finding.advice


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"x = 1\nprint 'hello'\n", 2),
        (b"try:\n    pass\nexcept ValueError, error:\n    pass\n", 3),
        (b"x = '\xff'\n", 1),
        (b"# coding: nonsense\n", 1),
        (b"x = 1\0", 1),
        (b"x = " + b"(" * 10_000, 1),
    ],
)
def test_file_that_does_not_parse_is_told_and_stops_nothing(
    tmp_path: Path, text: bytes, line: int
) -> None:
    write_files(tmp_path, {"views.py": VIEW})
    (tmp_path / "old.py").write_bytes(text)
    inspection = inspect_project([tmp_path])
    (finding,) = inspection.findings
    assert (Path(finding.file).name, finding.line, finding.kind) == ("old.py", line, "syntax")
    assert finding.advice.startswith("not inspected: Python 3 cannot parse it (")
    assert len(inspection.views) == 1


def test_encoding_that_a_file_declares_is_heeded(tmp_path: Path) -> None:
    text = f"# -*- coding: gbk -*-\n# 聊天\n{VIEW}"
    (tmp_path / "views.py").write_bytes(text.encode("gbk"))
    inspection = inspect_project([tmp_path])
    assert (len(inspection.views), inspection.findings) == (1, [])


def test_backslash_that_the_compiler_dislikes_is_no_finding(tmp_path: Path) -> None:
    assert found(tmp_path, "urls.py", "pattern = '^ws/\\d+$'\n") == []


def test_native_example_has_nothing_to_look_at() -> None:
    inspection = inspect_project([CHECKOUT / "examples" / "chat"])
    assert (inspection.views, inspection.findings) == ([], [])
    assert inspection.files > 5
