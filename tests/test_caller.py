"""Whose line a warning names."""

from __future__ import annotations

import inspect
import json
import sys
import threading
from typing import Any

from adwebsocket import caller


def test_place_is_the_line_outside_the_package() -> None:
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
    assert caller.place_of_caller() == f"{__file__}:{line}"


def test_code_beside_the_package_is_not_in_it() -> None:
    beside = caller.__file__.replace("/adwebsocket/caller.py", "/adwebsocket_site/views.py")
    names = {"place_of_caller": caller.place_of_caller}
    exec(compile("\n\nplace = place_of_caller()", beside, "exec"), names)
    assert names["place"] == f"{beside}:3"


def test_places_of_a_frame_are_its_line_and_those_of_its_callers() -> None:
    def inner() -> str:
        return caller.places_of(inspect.currentframe())

    first, second, *_ = inner().split(", called from ")
    line = inner.__code__.co_firstlineno
    assert first == f"{__file__}:{line + 1}"
    assert second == f"{__file__}:{line + 3}"
    assert caller.places_of(None) == ""


def test_place_in_the_project_is_behind_what_is_installed_and_the_standard_library() -> None:
    code = "def call(function): return function()"
    for file in (json.__file__, "/venv/site-packages/library.py", "<string>", caller.__file__):
        names: dict[str, Any] = {}
        exec(compile(code, file, "exec"), names)
        place = names["call"](lambda: caller.place_in_project(sys._getframe(1)))
        assert place.startswith(f"{__file__}:")


def test_place_without_a_project_is_the_innermost() -> None:
    code = "import sys\nframe = sys._getframe()"
    names: dict[str, Any] = {}
    thread = threading.Thread(
        target=exec, args=(compile(code, "/venv/site-packages/library.py", "exec"), names)
    )
    thread.start()
    thread.join()
    assert caller.place_in_project(names["frame"]).endswith("library.py:2")
    assert caller.place_in_project(None) == ""
