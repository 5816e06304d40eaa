"""Where in a project's own code a call came from, for warnings that name the line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

_MOST_PLACES: Final = 5
_PACKAGE: Final = f"{Path(__file__).parent}{os.sep}"
_STANDARD_LIBRARY: Final = f"{Path(os.__file__).parent}{os.sep}"
_INSTALLED: Final = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


def place_of_caller() -> str:
    """Give file and line of the code outside this package that called it."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return _place(frame)


def places_of(frame: FrameType | None, most: int = _MOST_PLACES) -> str:
    """Give file and line of the calls outside this package that led to a frame, innermost first."""
    places: list[str] = []
    while frame is not None and len(places) < most:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            places.append(_place(frame))
        frame = frame.f_back
    return ", called from ".join(places)


def place_in_project(frame: FrameType | None) -> str:
    """Give file and line of the innermost call in a project's own code that led to a frame.

    That is neither ours, nor installed, nor the standard library's; where there is no such call,
    the innermost that is not ours.
    """
    places = places_of(frame, most=1)
    while frame is not None and not _is_of_project(frame.f_code.co_filename):
        frame = frame.f_back
    return places if frame is None else _place(frame)


def _is_of_project(file: str) -> bool:
    return not (
        file.startswith((_PACKAGE, _STANDARD_LIBRARY, "<"))
        or any(name in file for name in _INSTALLED)
    )


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
