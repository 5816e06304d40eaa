"""Where in a project's own code a call came from, for warnings that name the line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

_PACKAGE: Final = f"{Path(__file__).parent}{os.sep}"


def place_of_caller() -> str:
    """Give file and line of the code outside this package that called it."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
