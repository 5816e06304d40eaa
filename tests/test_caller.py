"""Whose line a warning names."""

from __future__ import annotations

import inspect

from adwebsocket import caller


def test_place_is_the_line_outside_the_package() -> None:
    line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
    assert caller.place_of_caller() == f"{__file__}:{line}"


def test_code_beside_the_package_is_not_in_it() -> None:
    beside = caller.__file__.replace("/adwebsocket/caller.py", "/adwebsocket_site/views.py")
    names = {"place_of_caller": caller.place_of_caller}
    exec(compile("\n\nplace = place_of_caller()", beside, "exec"), names)
    assert names["place"] == f"{beside}:3"
