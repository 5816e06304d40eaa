"""The dwebsocket views of a file: decorated, marked with an attribute, or wrapped in a call.

The inspection of a file calls it. It knows the forms in which a view can be given its decorator,
and nothing of what the view does.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from .findings import View
from .names import MARKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .source import Source


def find_views(source: Source) -> Iterator[View]:
    """Find all dwebsocket views of a file."""
    in_lists = {
        id(inner)
        for node in ast.walk(source.tree)
        for decorator in getattr(node, "decorator_list", ())
        for inner in ast.walk(decorator)
    }
    for node in ast.walk(source.tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield from decorated(node, source)
            case ast.Call(func=function, args=[view, *_]) if id(node) not in in_lists:
                marker = source.names.marker(function)
                if marker:
                    yield View(source.file, node.lineno, ast.unparse(view), marker)
            case ast.Assign(targets=targets, value=ast.Constant(value=True)):
                yield from marked(node, targets, source)


def decorated(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, source: Source
) -> Iterator[View]:
    for decorator in node.decorator_list:
        marker = marker_in(decorator, source.names.marker)
        if marker:
            method = f".{method_name(decorator)}" if isinstance(node, ast.ClassDef) else ""
            name = source.qualified_name(node) + method
            yield View(source.file, decorator.lineno, name, marker)


def marker_in(decorator: ast.expr, marker: Callable[[ast.expr], str | None]) -> str | None:
    """Tell which decorator for WebSockets stands here, alone or in ``method_decorator``."""
    match decorator:
        case ast.Call(
            func=ast.Name(id="method_decorator") | ast.Attribute(attr="method_decorator"),
            args=[ast.Tuple(elts=several) | ast.List(elts=several), *_],
        ):
            return next(filter(None, map(marker, several)), None)
        case ast.Call(
            func=ast.Name(id="method_decorator") | ast.Attribute(attr="method_decorator"),
            args=[one, *_],
        ):
            return marker(one)
        case ast.Call(func=function):
            return marker(function)
    return marker(decorator)


def method_name(decorator: ast.expr) -> str:
    """Give the method that ``method_decorator(..., name="dispatch")`` names."""
    if isinstance(decorator, ast.Call):
        given = [keyword.value for keyword in decorator.keywords if keyword.arg == "name"]
        for value in [*given, *decorator.args[1:2]]:
            if isinstance(value, ast.Constant):
                return str(value.value)
    return "dispatch"


def marked(node: ast.Assign, targets: list[ast.expr], source: Source) -> Iterator[View]:
    for target in targets:
        match target:
            case ast.Attribute(value=value, attr=marker) if marker in MARKERS:
                yield View(source.file, node.lineno, ast.unparse(value), marker)
            case ast.Name(id=marker) if marker in MARKERS:
                parent = next(source.parents(node))
                if isinstance(parent, ast.ClassDef):
                    name = source.qualified_name(parent)
                    yield View(source.file, node.lineno, name, marker)
