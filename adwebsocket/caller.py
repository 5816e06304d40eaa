"""Where in a project's own code a call came from, for warnings that name the line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

_MOST_PLACES: Final = 5
_PACKAGE: Final = f"{Path(__file__).parent}{os.sep}"
_STANDARD_LIBRARY: Final = f"{Path(os.__file__).parent}{os.sep}"
_INSTALLED: Final = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


def place_of_caller() -> str:
    """Give file and line of the code outside this package that called it."""
    frame = sys._getframe()
    while frame.f_back is not None and is_in_package(frame):
        frame = frame.f_back
    return _place(frame)


def places_of(frame: FrameType | None) -> str:
    """Give file and line of the calls outside this package that led to a frame, innermost first.

    Not what called this package in turn: behind a view that would be Django and its server. Of many
    calls the first few and the outermost are given, which is the view's own line.
    """
    return places_of_frames(_frames_behind(frame))


def places_of_frames(frames: Iterable[FrameType]) -> str:
    """Give the same for frames that come from the inside out, as those of coroutines do."""
    places: list[str] = []
    for frame in frames:
        if not is_in_package(frame):
            places.append(_place(frame))
        elif places:
            break
    if len(places) > _MOST_PLACES:
        places = [*places[: _MOST_PLACES - 1], f"... {places[-1]}"]
    return ", called from ".join(places)


def place_in_project(frame: FrameType | None) -> str:
    """Give file and line of the innermost call in a project's own code that led to a frame.

    That is neither ours, nor installed, nor the standard library's; where there is no such call,
    the innermost that is not ours.
    """
    innermost = ""
    for each in _frames_behind(frame):
        if _is_of_project(each.f_code.co_filename):
            return _place(each)
        if not innermost and not is_in_package(each):
            innermost = _place(each)
    return innermost


def frames_of(awaited: Any) -> list[FrameType]:
    """Give the frames of a coroutine and of all that it waits for, innermost first."""
    frames: list[FrameType] = []
    while awaited is not None:
        # A coroutine, a generator that is one, or an async generator.
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(awaited, f"{kind}_frame")), "")
        frame = getattr(awaited, f"{kind}_frame", None)
        if frame is not None:
            frames.append(frame)
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
    return frames[::-1]


def _is_of_project(file: str) -> bool:
    return not (
        file.startswith((_PACKAGE, _STANDARD_LIBRARY, "<"))
        or any(name in file for name in _INSTALLED)
    )


def is_in_package(frame: FrameType) -> bool:
    """Tell whether a frame runs code of this package."""
    return frame.f_code.co_filename.startswith(_PACKAGE)


def _frames_behind(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
