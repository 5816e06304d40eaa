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


def place_of_caller() -> str:
    """Give file and line of the code outside this package that called it."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return _place(frame)


def places_of(frame: FrameType | None) -> str:
    """Give file and line of the calls outside this package that led to a frame, innermost first."""
    places: list[str] = []
    while frame is not None and len(places) < _MOST_PLACES:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            places.append(_place(frame))
        frame = frame.f_back
    return ", called from ".join(places)


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
