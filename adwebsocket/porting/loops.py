"""Loops that outlive their clients: push loops without a way out, and ends that are swallowed.

The inspection of a file calls it. It knows how a dwebsocket connection ends, which is what makes
these loops endless, and nothing of what they do in between.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from .findings import Finding
from .source import FUNCTIONS, LOOPS, walk_within

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .sockets import Sockets
    from .source import Source

PUSH_LOOP = (
    "send() is silent after the end, so this loop outlives its client: "
    "leave it with 'if {socket}.is_closed(): break'"
)
SWALLOWED_END = (
    "the EOFError that tells of the end is swallowed here, and the loop goes round for ever: "
    "let it pass, or leave the loop"
)
# What a handler must name to catch the EOFError of wait().
CATCH_ALL = {"EOFError", "Exception", "BaseException"}
# What ends a thread or the process, and is written as a call.
EXITS = {"exit", "quit", "_exit", "_thread.exit", "os._exit", "sys.exit"}
# Calls that raise nothing while a view runs as it should; another one may be what ends a loop.
HARMLESS = {
    *("bytes", "dict", "float", "format", "int", "len", "list", "print", "repr", "round", "str"),
    *("decode", "dumps", "encode", "isoformat", "join", "now", "sleep", "strftime", "time"),
}
# Tests of these never become true (false) when the client leaves, only at the own close().
DECEPTIVE = {"closed"}


def find_endless_loops(source: Source, sockets: Sockets) -> Iterator[Finding]:
    """Find push loops without a way out, and handlers that hide the end from a loop."""
    loops = Loops(sockets)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.While) and (socket := loops.pushes_for_ever(node)) is not None:
            advice = PUSH_LOOP.format(socket=ast.unparse(socket))
            yield Finding(source.file, node.lineno, "push-loop", advice)
        if isinstance(node, ast.Try):
            handler = loops.swallowing_handler(node, source)
            if handler is not None:
                yield Finding(source.file, handler.lineno, "swallowed-end", SWALLOWED_END)


class Loops:
    """Judge loops by the WebSockets in them."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    def pushes_for_ever(self, loop: ast.While) -> ast.expr | None:
        """Give the WebSocket into which a loop sends without ever hearing of its end, if so."""
        if not self.goes_on(loop.test):
            return None
        pushed = None
        for node in walk_within(loop.body):
            if self._sockets.called(node) == "send":
                assert isinstance(node, ast.Call)
                assert isinstance(node.func, ast.Attribute)
                pushed = pushed or node.func.value
            elif self.may_tell(node):
                return None
        return None if any(self.exits_of(loop)) else pushed

    def goes_on(self, test: ast.expr) -> bool:
        """Tell whether the condition of a loop stays true when the client has left."""
        match test:
            case ast.Constant(value=value):
                return bool(value)
            case ast.BoolOp(op=ast.And(), values=values):
                return all(map(self.goes_on, values))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.never_holds(operand)
            case ast.Compare(left=left, ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
                return self._sockets.is_socket(left)
            case ast.Call(func=ast.Attribute(attr="is_websocket"), args=[]):
                return True
            case ast.Attribute(attr="is_websocket"):
                return True
        return self._sockets.is_socket(test)

    def never_holds(self, test: ast.expr) -> bool:
        """Tell whether a condition stays false when the client has left, though it looks else."""
        match test:
            case ast.Constant(value=value):
                return not value
            case ast.BoolOp(op=ast.Or(), values=values):
                return all(map(self.never_holds, values))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self.goes_on(operand)
            case ast.Compare(left=left, ops=[ast.Is()], comparators=[ast.Constant(value=None)]):
                return self._sockets.is_socket(left)
            case ast.Attribute(value=value, attr=attribute):
                return attribute in DECEPTIVE and self._sockets.is_socket(value)
        return False

    def may_tell(self, node: ast.AST) -> bool:
        """Tell whether a node may notice the end: it asks the WebSocket, or hands it on.

        ``await`` and ``yield`` leave the loop to somebody else.
        """
        if isinstance(node, (ast.Await, ast.Yield, ast.YieldFrom)) or self._sockets.is_iterated(
            node
        ):
            return True
        method = self._sockets.called(node)
        if method is not None:
            return method not in ("send", "close")
        if isinstance(node, ast.Call):
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            return any(map(self._sockets.holds_socket, given))
        return False

    def exits_of(self, loop: ast.While | ast.For | ast.AsyncFor) -> Iterator[ast.AST]:
        """Yield what leaves a loop from inside and can be reached when the client has left."""
        yield from self._exits_in(loop.body, breaks=True)

    def _exits_in(self, body: Iterable[ast.AST], *, breaks: bool) -> Iterator[ast.AST]:
        for node in body:
            match node:
                case ast.Break():
                    if breaks:
                        yield node
                case ast.Return() | ast.Raise():
                    yield node
                case ast.Call() if called_name(node) in EXITS:
                    yield node
                case ast.If(test=test) if self.never_holds(test):
                    yield from self._exits_in(node.orelse, breaks=breaks)
                case ast.If(test=test) if self.goes_on(test):
                    yield from self._exits_in(node.body, breaks=breaks)
                case ast.Try() if self._only_sends(node.body):
                    parts = [*node.body, *node.orelse, *node.finalbody]
                    yield from self._exits_in(parts, breaks=breaks)
                case ast.While() | ast.For() | ast.AsyncFor():
                    yield from self._exits_in(node.body, breaks=False)
                    yield from self._exits_in(node.orelse, breaks=breaks)
                case ast.ClassDef():
                    pass
                case _ if not isinstance(node, FUNCTIONS):
                    yield from self._exits_in(ast.iter_child_nodes(node), breaks=breaks)

    def _only_sends(self, body: list[ast.stmt]) -> bool:
        """Tell whether nothing raises in the body of a ``try`` because the client has left."""
        calls = [node for node in walk_within(body) if isinstance(node, ast.Call)]
        return any(self._sockets.called(call) == "send" for call in calls) and all(
            self._sockets.called(call) in ("send", "close")
            or called_name(call).rpartition(".")[2] in HARMLESS
            for call in calls
        )

    def swallowing_handler(self, node: ast.Try, source: Source) -> ast.ExceptHandler | None:
        """Give the handler that keeps the end of the connection from the loop around it, if so."""
        if not any(map(self._sockets.receives, walk_within(node.body))):
            return None
        handler = next(filter(catches_the_end, node.handlers), None)
        if handler is None or any(self._exits_in(handler.body, breaks=True)):
            return None
        for parent in source.parents(node):
            if isinstance(parent, FUNCTIONS):
                return None
            if isinstance(parent, LOOPS):
                if isinstance(parent, ast.While) and self.goes_on(parent.test):
                    return None if self._notices_the_end(parent) else handler
                return None
        return None

    def _notices_the_end(self, loop: ast.While) -> bool:
        """Tell whether a loop has another way out that the end, or the None before it, opens."""
        for node in walk_within(loop.body):
            if isinstance(node, ast.If):
                exits = [*self._exits_in(node.body, breaks=True)]
                exits += self._exits_in(node.orelse, breaks=True)
                if exits and self._tests_for_the_end(node.test):
                    return True
        # One that stands in no condition is reached in the first round.
        return any(self._is_unconditional(statement) for statement in loop.body)

    def _tests_for_the_end(self, test: ast.expr) -> bool:
        """Tell whether a condition has to do with the None or with ``is_closed()``."""
        match test:
            case ast.BoolOp(values=values):
                return any(map(self._tests_for_the_end, values))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return self._tests_for_the_end(operand)
            case ast.Compare(left=left, comparators=[ast.Constant(value=None)]):
                return self._sockets.is_message(left)
        return self._sockets.called(test) == "is_closed" or self._sockets.is_message(test)

    def _is_unconditional(self, statement: ast.stmt) -> bool:
        match statement:
            case ast.Break() | ast.Return() | ast.Raise():
                return True
            case ast.Try(finalbody=body) | ast.With(body=body):
                return any(map(self._is_unconditional, body))
        return False


def catches_the_end(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler catches EOFError."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    for kind in kinds:
        if kind is None or (isinstance(kind, ast.Name) and kind.id in CATCH_ALL):
            return True
    return False


def called_name(call: ast.Call) -> str:
    """Give the dotted name that is called; of a method of something nameless, its own name."""
    match call.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=base), attr=name):
            return f"{base}.{name}"
        case ast.Attribute(attr=name):
            return name
    return ""
