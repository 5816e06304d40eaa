"""What the names of a module mean: which of them are dwebsocket's decorators, whatever their form.

The inspectors of Python files ask it. It reads imports as they are written, and must never import
anything itself, since that would run the code of a project that may not even start.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MARKERS = frozenset({"accept_websocket", "require_websocket"})


class Names:
    """The imported names of a module.

    Where two imports give the same name (``try`` and ``except ImportError``), dwebsocket's wins.

    Attributes:
        uses_legacy: something of dwebsocket, a copy of it, or ``adwebsocket.compat`` is imported.
        uses_native: something else of ``adwebsocket`` is imported.
    """

    def __init__(self, tree: ast.Module) -> None:
        self._meanings: dict[str, str] = {}
        self.uses_legacy = False
        self.uses_native = False
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.partition(".")[0]
                    self._add(alias.asname or top, alias.name if alias.asname else top)
                    self._note(alias.name)
            elif isinstance(node, ast.ImportFrom):
                self._read_from(node)
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and self.marker(node.value):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id not in self._meanings:
                        self._add(target.id, self.meaning(node.value) or "")

    def meaning(self, node: ast.expr) -> str | None:
        """Give the dotted name behind a name or a chain of attributes, None for anything else.

        A relative import keeps its dots in front.
        """
        match node:
            case ast.Name(id=name):
                return self._meanings.get(name, name)
            case ast.Attribute(value=value, attr=attribute):
                base = self.meaning(value)
                return base and f"{base}.{attribute}"
        return None

    def marker(self, node: ast.expr) -> str | None:
        """Tell which of dwebsocket's decorators an expression is, if any."""
        return self._marker(node, is_legacy)

    def native_marker(self, node: ast.expr) -> str | None:
        """Tell which of the native decorators an expression is, if any."""
        return self._marker(node, is_native)

    def _marker(self, node: ast.expr, belongs: Callable[[str], bool]) -> str | None:
        module, _, last = (self.meaning(node) or "").rpartition(".")
        return last if last in MARKERS and belongs(module) else None

    def _read_from(self, node: ast.ImportFrom) -> None:
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            if alias.name != "*":
                dot = "" if module.endswith(".") else "."
                self._add(alias.asname or alias.name, f"{module}{dot}{alias.name}")
                self._note(module, alias.name)
            elif is_legacy(module) or is_native(module):
                for marker in MARKERS:
                    self._add(marker, f"{module}.{marker}")
                self._note(module)

    def _add(self, name: str, meaning: str) -> None:
        if not is_legacy(self._meanings.get(name, "").rpartition(".")[0]):
            self._meanings[name] = meaning

    def _note(self, module: str, name: str = "") -> None:
        if is_legacy(module) or (module == "adwebsocket" and name == "compat"):
            self.uses_legacy = True
        elif is_native(module):
            self.uses_native = True


def is_legacy(module: str) -> bool:
    """Tell whether a module speaks the dialect: dwebsocket, a copy in the project, or ours."""
    return "dwebsocket" in module.split(".") or module.startswith("adwebsocket.compat")


def is_native(module: str) -> bool:
    """Tell whether a module is of this package and does not speak the dialect."""
    return module.partition(".")[0] == "adwebsocket" and not is_legacy(module)
