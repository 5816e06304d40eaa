"""Module-level lists, sets and dictionaries of WebSockets, of which each worker has its own.

The inspection of a file calls it. It looks for what is put into a collection that outlives the
function, and must not care what the collection is for.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from .findings import Finding
from .source import targets_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .sockets import Sockets
    from .source import Source

SEVERAL = (
    "each worker process has its own {name}, so clients of another worker are missed: "
    "serve with one worker, or pass messages between them"
)
NEVER_CLEANED = "; nothing takes a socket out again, which keeps it for ever"

MOST_NAMES = 3
FILLING = {"add", "append", "appendleft", "insert", "extend", "setdefault", "update", "put"}
CLEANING = {"clear", "discard", "pop", "popitem", "popleft", "remove", "difference_update"}


def find_registries(source: Source, sockets: Sockets) -> Iterator[Finding]:
    """Find collections of WebSockets that belong to a module or a class."""
    filled: dict[str, int] = {}
    for node in ast.walk(source.tree):
        for collection in filled_collections(node, sockets):
            name = lasting_name(collection, source)
            if name is not None:
                filled.setdefault(name, node.lineno)  # type: ignore[attr-defined]
    cleaned = {
        lasting_name(collection, source)
        for node in ast.walk(source.tree)
        for collection in cleaned_collections(node, source)
    }
    for name, line in filled.items():
        advice = SEVERAL.format(name=name) + ("" if name in cleaned else NEVER_CLEANED)
        yield Finding(source.file, definition_line(name, source) or line, "registry", advice)


def filled_collections(node: ast.AST, sockets: Sockets) -> Iterator[ast.expr]:
    """Yield the collections into which a node puts a WebSocket."""
    match node:
        case ast.Call(func=ast.Attribute(value=collection, attr=method), args=arguments) if (
            method in FILLING and any(map(sockets.holds_socket, arguments))
        ):
            yield collection
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                if isinstance(target, ast.Subscript) and (
                    sockets.holds_socket(value) or sockets.holds_socket(target.slice)
                ):
                    yield target.value
        case ast.AugAssign(target=target, value=value) if sockets.holds_socket(value):
            yield target


def cleaned_collections(node: ast.AST, source: Source) -> Iterator[ast.expr]:
    """Yield the collections from which a node takes something, or which it makes anew."""
    match node:
        case ast.Call(func=ast.Attribute(value=collection, attr=method)) if method in CLEANING:
            yield collection
        case ast.Delete(targets=targets):
            yield from (target.value for target in targets if isinstance(target, ast.Subscript))
        case ast.AugAssign(target=lessened, op=ast.Sub() | ast.BitAnd()):
            yield lessened
        case ast.Assign(targets=targets) if not isinstance(source.scope(node), ast.Module):
            for target in targets:
                # clients[:] = ... and clients = ...
                if isinstance(target, ast.Subscript):
                    if isinstance(target.slice, ast.Slice):
                        yield target.value
                else:
                    yield target


def lasting_name(node: ast.expr, source: Source, depth: int = 0) -> str | None:
    """Give the name of a collection that belongs to a module or a class, None for a local one.

    A local name of something that was taken out of a lasting collection stands for that.
    """
    match node:
        case ast.Subscript(value=value):
            return lasting_name(value, source, depth)
        case ast.Call(func=ast.Attribute(value=value, attr="get" | "setdefault")):
            return lasting_name(value, source, depth)
        case ast.Name(id=name):
            scope = source.scope_of_name(name, node)
            if isinstance(scope, ast.Module):
                return name
            # Names that stand for each other in a circle end here.
            values = source.assigned_values(scope, name) if depth < MOST_NAMES else ()
            found = (lasting_name(value, source, depth + 1) for value in values)
            return next(filter(None, found), None)
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
            return name if class_attribute_line(name, source) is not None else None
        case ast.Attribute(value=ast.Name() as owner, attr=name):
            base = lasting_name(owner, source, depth)
            return base and f"{base}.{name}"
    return None


def definition_line(name: str, source: Source) -> int | None:
    """Tell where the module or a class of it makes a collection."""
    for statement in source.tree.body:
        for target in targets_of(statement):
            if isinstance(target, ast.Name) and target.id == name:
                return statement.lineno
    return class_attribute_line(name.rpartition(".")[2], source)


def class_attribute_line(name: str, source: Source) -> int | None:
    """Tell where a class of the module has an attribute of this name."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            for statement in node.body:
                for target in targets_of(statement):
                    if isinstance(target, ast.Name) and target.id == name:
                        return statement.lineno
    return None
