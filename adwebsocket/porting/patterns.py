"""The other patterns in a file that uses dwebsocket, and those of settings and start-up files.

The inspection of a file calls it. Each function looks for one pattern and yields where it stands;
what to do is said in one line above it.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from .findings import Finding
from .source import walk_within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .sockets import Sockets
    from .source import Source

TRANSACTION = (
    "line {line} waits for the client inside this transaction, which keeps its locks and its "
    "connection for as long: open it around the queries only"
)
STR_COMPARISON = (
    "never equal: messages are bytes, and this compares one with str; "
    'write b"...", or decode the message first'
)
CLOSE_ARGUMENTS = (
    "code and reason reach the client now; 1000, and 3000 to 4999, are there for applications"
)
PROTOCOL = (
    "not there: of the original's inside are left protocol.sock.fileno() for select(), "
    "protocol.close() and protocol.is_closed()"
)
ENVIRON = "not there under ASGI: request.META has the headers and addresses"
MONKEY_PATCHING = (
    "remove it: views run in threads of their own here, and the patched modules would stop the "
    "event loop"
)
FACTORY_SETTING = "has no effect: there is one way to serve a WebSocket here; delete it"
MIDDLEWARE_CLASSES = (
    "has no effect since Django 2.0: move what is still needed to MIDDLEWARE (the decorators "
    "need no middleware)"
)

# A whole ``sock`` is what select() is given.
THERE = {"protocol.close", "protocol.is_closed", "protocol.sock", "protocol.sock.fileno"}
ATOMIC = {"atomic", "commit_on_success", "commit_manually", "xact"}


def find_transactions(source: Source, sockets: Sockets) -> Iterator[Finding]:
    """Find transactions in which a view waits for its client."""
    for node in ast.walk(source.tree):
        match node:
            case ast.With(items=items, body=body):
                atoms = [item.context_expr for item in items]
            case ast.FunctionDef(decorator_list=atoms, body=body):
                pass
            case _:
                continue
        for atom in filter(is_atomic, atoms):
            waits = [found for found in walk_within(body) if waits_in(found, sockets)]
            if waits:
                line = min(line_of(wait) for wait in waits)
                yield Finding(
                    source.file, atom.lineno, "transaction", TRANSACTION.format(line=line)
                )


def is_atomic(node: ast.expr) -> bool:
    """Tell whether a decorator or the item of a ``with`` opens a transaction."""
    match node:
        case ast.Call(func=ast.Name(id="method_decorator"), args=[inner, *_]):
            return is_atomic(inner)
        case ast.Call(func=function):
            return is_atomic(function)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in ATOMIC
    return False


def waits_in(node: ast.AST, sockets: Sockets) -> bool:
    return sockets.called(node) == "wait" or sockets.is_iterated(node)


def line_of(node: ast.AST) -> int:
    node = node.iter if isinstance(node, ast.comprehension) else node
    line: int = node.lineno  # type: ignore[attr-defined]
    return line


def find_comparisons(source: Source, sockets: Sockets) -> Iterator[Finding]:
    """Find comparisons of a message with a literal ``str``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
                if compares_with_str(operator, left, right, sockets):
                    yield Finding(source.file, node.lineno, "str-comparison", STR_COMPARISON)


def compares_with_str(
    operator: ast.cmpop, left: ast.expr, right: ast.expr, sockets: Sockets
) -> bool:
    if isinstance(operator, (ast.Eq, ast.NotEq)):
        return (sockets.is_message(left) and is_str(right)) or (
            is_str(left) and sockets.is_message(right)
        )
    if isinstance(operator, (ast.In, ast.NotIn)) and sockets.is_message(left):
        items = right.elts if isinstance(right, (ast.Tuple, ast.List, ast.Set)) else []
        return bool(items) and all(map(is_str, items))
    return False


def is_str(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def find_closes(source: Source, sockets: Sockets) -> Iterator[Finding]:
    """Find ``close()`` with arguments."""
    for node in ast.walk(source.tree):
        if sockets.called(node) == "close":
            assert isinstance(node, ast.Call)
            if node.args or node.keywords:
                yield Finding(source.file, node.lineno, "close-arguments", CLOSE_ARGUMENTS)


def find_protocols(source: Source, sockets: Sockets) -> Iterator[Finding]:
    """Find what reaches into a WebSocket further than there is something."""
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(value=value, attr="protocol" | "sock") if sockets.is_socket(value):
                if chain_from(node, source) not in THERE:
                    yield Finding(source.file, node.lineno, "protocol", PROTOCOL)


def chain_from(node: ast.Attribute, source: Source) -> str:
    """Give the attributes that follow each other from a node on, such as ``protocol.sock``."""
    names = [node.attr]
    for parent in source.parents(node):
        if not isinstance(parent, ast.Attribute):
            break
        names.append(parent.attr)
    return ".".join(names)


def find_environs(source: Source) -> Iterator[Finding]:
    """Find the WSGI environment of a request."""
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(
                value=ast.Name(id="request") | ast.Attribute(attr="request"), attr="environ"
            ):
                yield Finding(source.file, node.lineno, "environ", ENVIRON)


def find_monkey_patching(source: Source) -> Iterator[Finding]:
    """Find the patching of the standard library by gevent or eventlet."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            module, _, name = (source.names.meaning(node.func) or "").rpartition(".")
            is_gevent = module == "gevent.monkey" and name.startswith("patch_")
            if is_gevent or (module == "eventlet" and name == "monkey_patch"):
                yield Finding(source.file, node.lineno, "monkey-patching", MONKEY_PATCHING)


def find_settings(source: Source) -> Iterator[Finding]:
    """Find the settings that mean nothing any more."""
    advice = {
        "WEBSOCKET_FACTORY_CLASS": ("factory-setting", FACTORY_SETTING),
        "MIDDLEWARE_CLASSES": ("middleware-classes", MIDDLEWARE_CLASSES),
    }
    for node in ast.walk(source.tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) if name in advice:
                yield Finding(source.file, node.lineno, *advice[name])
