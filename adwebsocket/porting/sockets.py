"""Which expressions of a file are WebSockets, and which are messages that came from one.

The inspectors of patterns ask it. It follows values through assignments and through calls within
the file, and takes what it cannot follow for something else: a false alarm costs more than a
silence.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, TypeAlias

from .source import all_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .source import Function, Scope, Source

    # Line and column, as ``ast`` counts them.
    Position: TypeAlias = tuple[int, int]

# A parameter of such a name in a file that uses dwebsocket is one.
USUAL_NAMES = {"websocket", "web_socket", "ws"}
RECEIVERS = {"wait", "read"}
# They give bytes again where a message has them.
BYTES_METHODS = {"strip", "lstrip", "rstrip", "lower", "upper"}
PLACED = (ast.stmt, ast.expr)


class Sockets:
    """The WebSockets of a file, and their messages."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._attributes = {"websocket"}
        self._variables: set[tuple[Scope, str]] = set()
        self._bindings: dict[tuple[Scope, str], list[tuple[Position, bool]]] = {}
        nodes = list(ast.walk(source.tree))
        for functions in source.functions.values():
            for function in functions:
                for argument in all_arguments(function):
                    if argument.arg in USUAL_NAMES:
                        self._variables.add((function, argument.arg))
        # What one round has learned may be passed on in the next.
        known = -1
        while known != (known := len(self._variables) + len(self._attributes)):
            for node in nodes:
                self._follow(node)
        # From the top down, since what is assigned may come out of what was assigned above.
        for node in sorted((node for node in nodes if isinstance(node, PLACED)), key=bound_at):
            self._note_bindings(node, bound_at(node))

    def is_socket(self, node: ast.AST | None) -> bool:
        """Tell whether an expression is a WebSocket."""
        match node:
            case ast.Attribute(value=value, attr=attribute):
                module = self._source.names.meaning(value) or ""
                return attribute in self._attributes and "dwebsocket" not in module.split(".")
            case ast.Name(id=name):
                return (self._source.scope_of_name(name, node), name) in self._variables
            case ast.NamedExpr(value=value):
                return self.is_socket(value)
            case ast.Call(
                func=ast.Name(id="getattr"), args=[_, ast.Constant(value="websocket"), *_]
            ):
                return True
        return False

    def holds_socket(self, node: ast.AST | None) -> bool:
        """Tell whether an expression is a WebSocket, or a collection or object with one in it."""
        match node:
            case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
                return any(map(self.holds_socket, items))
            case ast.Dict(keys=keys, values=values):
                return any(map(self.holds_socket, [*keys, *values]))
            case ast.Call(
                func=ast.Name(id=name) | ast.Attribute(attr=name),
                args=arguments,
                keywords=keywords,
            ) if name[:1].isupper():
                given = [*arguments, *(keyword.value for keyword in keywords)]
                return any(map(self.holds_socket, given))
        return self.is_socket(node)

    def called(self, node: ast.AST) -> str | None:
        """Tell which method of a WebSocket a node calls, if it does."""
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=method)) if self.is_socket(value):
                return method
        return None

    def is_iterated(self, node: ast.AST) -> bool:
        """Tell whether a node is a loop over the messages of a WebSocket."""
        return isinstance(
            node, (ast.For, ast.AsyncFor, ast.comprehension)
        ) and self._gives_messages(node.iter)

    def receives(self, node: ast.AST) -> bool:
        """Tell whether a node takes messages from a WebSocket."""
        return self.called(node) in RECEIVERS or self.is_iterated(node)

    def is_message(self, node: ast.AST) -> bool:
        """Tell whether an expression is a message as it came, which is to say ``bytes``."""
        match node:
            case ast.Call(func=ast.Attribute(value=value, attr=method)) if method in BYTES_METHODS:
                return self.is_message(value)
            case ast.NamedExpr(value=value):
                return self.is_message(value)
            case ast.Name(id=name):
                return self._is_message_variable(node, name)
        return self.called(node) in RECEIVERS

    def _gives_messages(self, node: ast.expr) -> bool:
        match node:
            case ast.Call(func=ast.Name(id="iter"), args=[value]):
                return self.is_socket(value)
        return self.is_socket(node)

    def _is_message_variable(self, node: ast.Name, name: str) -> bool:
        """Tell whether the last assignment above was that of a message.

        The condition of a loop is judged by what the loop leaves behind.
        """
        scope = self._source.scope(node)
        place = (node.lineno, node.col_offset)
        below: ast.AST = node
        for parent in self._source.parents(node):
            if isinstance(parent, ast.While) and below is parent.test:
                place = end_of(parent)
            below = parent
        last = (0, 0)
        answer = False
        for position, is_message in self._bindings.get((scope, name), ()):
            if last <= position <= place:
                last, answer = position, is_message
        return answer

    def _follow(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, value)
            case ast.NamedExpr(target=target, value=value):
                self._assign(target, value)
            case ast.Call():
                self._follow_call(node)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        match target, value:
            case ast.Tuple(elts=targets), ast.Tuple(elts=values) if len(targets) == len(values):
                for one, other in zip(targets, values, strict=True):
                    self._assign(one, other)
            case ast.Name(id=name), _ if self.is_socket(value):
                self._variables.add((self._source.scope_of_name(name, target), name))
            case ast.Attribute(attr=attribute), _ if self.is_socket(value):
                self._attributes.add(attribute)

    def _follow_call(self, call: ast.Call) -> None:
        """Follow WebSockets into the functions of this file, be they called or handed on to be."""
        keywords = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
        for function, offset in self._functions(call.func):
            self._pass(function, offset, call.args, keywords)
        for function, offset in self._functions(keywords.get("target")):  # threading.Thread
            self._pass(function, offset, items_of(keywords.get("args")), keywords)
        for index, argument in enumerate(call.args):
            rest = call.args[index + 1 :] or items_of(keywords.get("args"))
            for function, offset in self._functions(argument):
                # start_new_thread(function, (socket,)) or submit(function, socket)
                handed_on = items_of(rest[0]) if len(rest) == 1 else rest
                self._pass(function, offset, handed_on or rest, keywords)

    def _functions(self, node: ast.expr | None) -> Iterator[tuple[Function, int]]:
        """Yield what a name may stand for, and how many parameters come before the arguments."""
        match node:
            case ast.Name(id=name):
                for function in self._source.functions.get(name, ()):
                    yield function, 0
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                for function in self._source.functions.get(name, ()):
                    first = [argument.arg for argument in all_arguments(function)[:1]]
                    yield function, 1 if first in (["self"], ["cls"]) else 0

    def _pass(
        self,
        function: Function,
        offset: int,
        arguments: list[ast.expr],
        keywords: dict[str, ast.expr],
    ) -> None:
        parameters = [argument.arg for argument in all_arguments(function)]
        for name, value in zip(parameters[offset:], arguments, strict=False):
            if self.is_socket(value):
                self._variables.add((function, name))
        for name in parameters:
            if self.is_socket(keywords.get(name)):
                self._variables.add((function, name))

    def _note_bindings(self, node: ast.stmt | ast.expr, position: Position) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._bind(target, position, self.is_message(value))
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._bind(target, position, self.is_message(value))
            case ast.NamedExpr(target=target, value=value):
                self._bind(target, position, self.is_message(value))
            case ast.AugAssign(target=target):
                self._bind(target, position, False)
            case ast.For(target=target) | ast.AsyncFor(target=target):
                self._bind(target, position, self.is_iterated(node))

    def _bind(self, target: ast.expr, position: Position, is_message: bool) -> None:
        if isinstance(target, ast.Name):
            key = (self._source.scope(target), target.id)
            self._bindings.setdefault(key, []).append((position, is_message))
        elif isinstance(target, (ast.Tuple, ast.List)):
            for item in target.elts:
                self._bind(item, position, False)


def items_of(node: ast.expr | None) -> list[ast.expr]:
    """Give the items of a tuple or list that is written out."""
    return node.elts if isinstance(node, (ast.Tuple, ast.List)) else []


def end_of(node: ast.stmt | ast.expr) -> Position:
    """Tell where a node ends."""
    return (node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)


def bound_at(node: ast.stmt | ast.expr) -> Position:
    """Tell from where on a name has the value that a node gives it."""
    return end_of(node.target if isinstance(node, (ast.For, ast.AsyncFor)) else node)
