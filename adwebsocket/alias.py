"""``import dwebsocket``: the module names of dwebsocket, all of which lead to this package.

The runner, ``runserver``, ``adwebsocket.asgi`` and the app call ``install`` when imported, so that
settings and views find the names, be the original there or not. This module reads no setting and
imports nothing of Django: settings files are what it serves.
"""

from __future__ import annotations

import os
import sys

# Not imported from typing, and no Path and no MetaPathFinder below: every interpreter of the
# environment comes by here as it starts, and those take it 25 ms.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

NAME = "dwebsocket"
_DIRECTORY = os.path.join(os.path.dirname(__file__), "dwebsocket_names")  # noqa: PTH118, PTH120
_FILE = os.path.join(_DIRECTORY, "__init__.py")  # noqa: PTH118


class _Finder:
    """Find the package; what is below it is found in its directory as any module is."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != NAME:
            return None
        from importlib.util import spec_from_file_location

        return spec_from_file_location(NAME, _FILE, submodule_search_locations=[_DIRECTORY])


_finder = _Finder()


def install() -> None:
    """Let ``dwebsocket`` and everything below it be ours from now on. May be called again.

    What has been imported of the original is forgotten; a name that was taken from it by then stays
    with its taker.
    """
    if sys.meta_path[0] is not _finder:
        if _finder in sys.meta_path:
            sys.meta_path.remove(_finder)
        sys.meta_path.insert(0, _finder)
        loaded = sys.modules.get(NAME)
        if loaded is not None and getattr(loaded, "__file__", None) != _FILE:
            _forget_modules()


def install_fallback() -> None:
    """Let ``dwebsocket`` be ours where the original is not installed.

    ``adwebsocket.pth`` calls this as the interpreter starts: ``manage.py`` reads settings, which
    may import the name, before anything of ours could be loaded. Where the original is installed
    it is found first, until something of ours serves the project.
    """
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)


def uninstall() -> None:
    """Leave the names to the original, for ``WEBSOCKET_DWEBSOCKET_ALIAS = False``."""
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
        _forget_modules()


def _forget_modules() -> None:
    for name in list(sys.modules):
        if name == NAME or name.startswith(f"{NAME}."):
            del sys.modules[name]
