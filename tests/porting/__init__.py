"""The inspection of projects that were written for dwebsocket, on snippets of what they have.

In a snippet a comment ``# !kind`` stands where a finding of this kind is expected, and nowhere
else may there be one.
"""

from __future__ import annotations

import re
from textwrap import dedent

from adwebsocket.porting.inspection import inspect_python

IMPORT = "from dwebsocket.decorators import accept_websocket, require_websocket\n"


def check(code: str, *, head: str = IMPORT) -> None:
    """Check that the findings are those that the comments of the code announce."""
    text = head + dedent(code)
    expected = [
        (number, kind)
        for number, line in enumerate(text.splitlines(), 1)
        for kind in re.findall(r"# !([\w-]+)", line)
    ]
    findings = inspect_python("views.py", text).findings
    assert sorted({(found.line, found.kind) for found in findings}) == expected


def views_of(code: str) -> list[tuple[int, str, str]]:
    """Return line, name and marker of the dwebsocket views in the code."""
    views = inspect_python("views.py", dedent(code)).views
    return [(view.line, view.name, view.marker) for view in sorted(views)]
