"""A Python file as a tree in which one can also go up: parents, functions, loops, scopes.

The inspectors of Python files share it. It knows Python and nothing of WebSockets.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, TypeAlias

from .names import Names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Scope: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.Module
Loop: TypeAlias = ast.While | ast.For | ast.AsyncFor

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
LOOPS = (ast.While, ast.For, ast.AsyncFor)


class Source:
    """One parsed file.

    Attributes:
        file: its path, for findings.
        tree: the whole of it.
        names: what its imported names mean.
        functions: the functions and methods by their own names.
    """

    def __init__(self, file: str, tree: ast.Module) -> None:
        self.file = file
        self.tree = tree
        self.names = Names(tree)
        self.functions: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
        self._parents: dict[ast.AST, ast.AST] = {}
        for node in ast.walk(tree):
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self.functions.setdefault(node.name, []).append(node)
        self._bound: dict[Scope, set[str]] = {}

    def parents(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield what a node stands in, from the inside out."""
        while (parent := self._parents.get(node)) is not None:
            yield parent
            node = parent

    def scope(self, node: ast.AST) -> Scope:
        """Give the function that a node stands in, or the module.

        The decorators and defaults of a function are taken for a part of it, which does no harm.
        """
        for parent in self.parents(node):
            if isinstance(parent, FUNCTIONS):
                return parent
        return self.tree

    def scope_of_name(self, name: str, node: ast.AST) -> Scope:
        """Give the function, or the module, to which a name belongs that is used at a node."""
        scope = self.scope(node)
        while not isinstance(scope, ast.Module) and name not in self._names_bound_in(scope):
            scope = self.scope(scope)
        return scope

    def assigned_values(self, scope: Scope, name: str) -> Iterator[ast.expr]:
        """Yield what a function or the module assigns to a name."""
        body = [scope.body] if isinstance(scope, ast.Lambda) else scope.body
        for node in walk_within(body):
            match node:
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        if isinstance(target, ast.Name) and target.id == name:
                            yield value

    def qualified_name(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
        """Give the name of a function or class behind those of what it stands in."""
        around = [
            parent.name
            for parent in self.parents(node)
            if isinstance(parent, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        ]
        return ".".join([*reversed(around), node.name])

    def _names_bound_in(self, scope: Scope) -> set[str]:
        if scope not in self._bound:
            self._bound[scope] = set(names_bound_in(scope))
        return self._bound[scope]


def names_bound_in(scope: Scope) -> Iterator[str]:
    """Yield the names that are local to a function, or global in a module."""
    if isinstance(scope, ast.Module):
        body: Iterable[ast.AST] = scope.body
    else:
        yield from (argument.arg for argument in all_arguments(scope))
        body = [scope.body] if isinstance(scope, ast.Lambda) else scope.body
    elsewhere: set[str] = set()
    found: set[str] = set()
    for node in walk_within(body):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name):
                found.add(name)
            case ast.ExceptHandler(name=str(name)):
                found.add(name)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                elsewhere.update(names)
    yield from found - elsewhere


def all_arguments(function: Function) -> list[ast.arg]:
    """Give the parameters of a function that take one value, in the order of a call."""
    arguments = function.args
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]


def walk_within(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield nodes and what is below them, except what stands in a function or class of its own."""
    for node in body:
        yield node
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield from walk_within(ast.iter_child_nodes(node))


def targets_of(statement: ast.stmt) -> list[ast.expr]:
    """Give what a statement assigns to."""
    match statement:
        case ast.Assign(targets=targets):
            return targets
        case ast.AnnAssign(target=target):
            return [target]
    return []
