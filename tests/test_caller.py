"""Whose line a warning names."""

from __future__ import annotations

import inspect
import json
import sys
import threading
from typing import TYPE_CHECKING, Any

from adwebsocket import caller

if TYPE_CHECKING:
    from types import FrameType


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


def test_of_many_places_the_innermost_and_the_outermost_are_given() -> None:
    def nest(depth: int) -> FrameType | None:
        return nest(depth - 1) if depth else inspect.currentframe()

    frame = nest(20)
    assert frame is not None
    first, second, third, fourth, last = caller.places_of(frame).split(", called from ")
    assert {first, second, third, fourth} == {f"{__file__}:{frame.f_lineno}"}
    assert last.startswith("... ")


def test_places_end_where_the_package_called() -> None:
    def view() -> FrameType | None:
        return inspect.currentframe()

    inside = caller.__file__.replace("caller.py", "decorators.py")
    names: dict[str, Any] = {"view": view}
    exec(compile("frame = view()", inside, "exec"), names)
    frame = names["frame"]
    assert caller.is_in_package(frame.f_back)
    assert caller.places_of(frame) == f"{__file__}:{frame.f_lineno}"
