"""The layers of docs/design.md: imports point down, third-party packages stay behind their fences.

Read from the source with ``ast``, so that no import is missed because a test does not run it.
"""

from __future__ import annotations

import ast
import graphlib
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parent.parent
PACKAGE = "adwebsocket"
MOST_LINES = 400

# From the bottom up; a module may import from its own layer and from those below. A name stands
# for a module or for a whole folder, "" for the package itself.
LAYERS = [
    {"_version", "caller", "exceptions"},
    {"protocol"},
    {"transport"},
    {"async_websocket", "websocket", "websocket_base"},
    {"runners"},
    {
        "accounts",
        "client_limits",
        "conf",
        "console",
        "connection_state",
        "database",
        "decorators",
        "groups",
        "handlers",
        "live",
        "middleware",
        "monitoring",
        "neighbours",
        "options",
        "origins",
        "refusals",
        "request",
        "runtime_directory",
        "validation",
        "view_runners",
    },
    {
        "",
        "__main__",
        "alias",
        "apps",
        "asgi",
        "checks",
        "cli",
        "compat",
        "descriptors",
        "draining",
        "dwebsocket_names",
        "listening",
        "management",
        "selectable",
        "porting",
        "serving",
        "supervising",
        "testing",
        "whereabouts",
    },
]
# The two that stand side by side: what executes a view does not know what a WebSocket is.
STRANGERS = {"runners": {"async_websocket", "websocket", "websocket_base"}}

# Which third-party packages may be imported where; the longest prefix counts.
DJANGO = {"asgiref", "django"}
FENCES: dict[str, set[str]] = {
    "_version": set(),
    "caller": set(),
    "exceptions": set(),
    "protocol": {"websockets"},
    "transport": set(),
    "transport.uvicorn_front": {"uvicorn"},
    "transport.uvicorn_http": {"httptools", "uvicorn"},
    "transport.uvicorn_protocol": {"uvicorn"},
    "transport.uvicorn_scope": {"uvicorn"},
    "async_websocket": set(),
    "websocket": set(),
    "websocket_base": set(),
    "groups.base": set(),
    "groups.counts": set(),
    "groups.history": set(),
    "groups.hub": set(),
    "groups.membership": set(),
    "groups.messages": set(),
    "groups.roster": set(),
    "groups.redis": {"django", "redis"},
    "groups.redis.client": set(),
    "groups.redis.errors": {"redis"},
    "groups.redis.links": {"redis"},
    "groups.redis.locators": {"redis"},
    "groups.redis.queue": set(),
    "groups.redis.scripts": set(),
    "groups.redis.servers": {"redis"},
    "groups.redis.settings": {"django", "redis"},
    "groups.redis.subscriptions": set(),
    "porting": set(),
    "runners": set(),
    "runners.greenlets": {"greenlet"},
    # dotenv: uvicorn's own optional dependency; the runner says how to install it.
    "cli": {"click", "dotenv", "uvicorn"},
    "draining": {"uvicorn"},
    "listening": set(),
    "serving": {"uvicorn"},
    "testing.background": {"django", "uvicorn"},
    "testing.conversation": {"uvicorn"},
    "testing.handshake": {"django", "websockets"},
    "testing.live": {"django", "uvicorn"},
    "testing.peer": {"websockets"},
    "supervising": {"uvicorn"},
    "whereabouts": set(),
    "management.commands.runserver": {"django", "uvicorn"},
    "management.commands.websocket_status": {"django", "rich"},
    "monitoring.collector": {"prometheus_client"},
}
OPTIONAL = {"dotenv", "greenlet", "prometheus_client", "redis", "rich"}


@dataclass(frozen=True)
class Import:
    """One imported module: where, and whether the interpreter ever executes it."""

    module: str
    line: int
    typing_only: bool


@dataclass(frozen=True)
class Source:
    """A module: its name below the package, and its text."""

    name: str
    text: str
    is_package: bool = False

    @property
    def full_name(self) -> str:
        return f"{PACKAGE}.{self.name}".removesuffix(".")

    @property
    def parts(self) -> list[str]:
        return self.full_name.split(".")

    @property
    def top(self) -> str:
        """The name that the layers know it by."""
        return self.name.partition(".")[0]


def read_sources() -> list[Source]:
    sources = []
    for file in sorted((CHECKOUT / PACKAGE).rglob("*.py")):
        parts = list(file.relative_to(CHECKOUT / PACKAGE).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        sources.append(Source(name, file.read_text(), is_package))
    return sources


def find_imports(source: Source, modules: set[str]) -> Iterator[Import]:
    """Find all imports of a module, also those inside of functions and those by a literal name."""

    def visit(node: ast.AST, typing_only: bool) -> Iterator[Import]:
        for module in imported_modules(node, source, modules):
            yield Import(module, node.lineno, typing_only)  # type: ignore[attr-defined]
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for statement in node.body:
                yield from visit(statement, True)
            for statement in node.orelse:
                yield from visit(statement, typing_only)
            return
        for child in ast.iter_child_nodes(node):
            yield from visit(child, typing_only)

    yield from visit(ast.parse(source.text), False)


def imported_modules(node: ast.AST, source: Source, modules: set[str]) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            above = source.parts[: len(source.parts) - level + source.is_package] if level else []
            base = ".".join([*above, *([module] if module else [])])
            # ``from package import name``: the name of a module, or a thing in the package.
            members = [f"{base}.{alias.name}" for alias in names]
            return [member if member in modules else base for member in members]
        case ast.Call(
            func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(name)), *_],
        ) if not name.startswith("."):
            return [name]
    return []


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def layer_of(top: str) -> int:
    for rank, names in enumerate(LAYERS):
        if top in names:
            return rank
    raise AssertionError(f"{top!r} belongs to no layer: add it to LAYERS and to docs/design.md")


def find_upward_imports(sources: list[Source]) -> list[str]:
    """Imports for annotations only are free: nothing at run time hangs on them."""
    modules = {source.full_name for source in sources}
    faults = []
    for source in sources:
        for found in find_imports(source, modules):
            if found.typing_only or found.module.split(".")[0] != PACKAGE:
                continue
            top = found.module.removeprefix(PACKAGE).removeprefix(".").partition(".")[0]
            if layer_of(top) > layer_of(source.top) or top in STRANGERS.get(source.top, set()):
                faults.append(f"{source.full_name}:{found.line} imports {found.module}")
    return faults


def third_party_imports(sources: list[Source]) -> Iterator[tuple[Source, Import, str]]:
    """Yield the imports of third-party packages, those for annotations included: whoever reads
    them or checks types needs the package."""
    modules = {source.full_name for source in sources}
    for source in sources:
        for found in find_imports(source, modules):
            top = found.module.split(".")[0]
            if top != PACKAGE and top not in sys.stdlib_module_names:
                yield source, found, top


def find_fence_breaches(sources: list[Source]) -> list[str]:
    return [
        f"{source.full_name}:{found.line} imports {top}"
        for source, found, top in third_party_imports(sources)
        if top not in allowed_third_parties(source.name)
    ]


def allowed_third_parties(name: str) -> set[str]:
    while name:
        if name in FENCES:
            return FENCES[name]
        name = name.rpartition(".")[0]
    return DJANGO


def find_late_imports(source: Source) -> list[str]:
    """Find imports at module level behind a definition or a statement that does something."""
    faults = []
    late = False
    for statement in ast.parse(source.text).body:
        if not has_imports_only(statement):
            late = True
        elif late:
            faults.append(f"{source.full_name}:{statement.lineno}")
    return faults


def has_imports_only(node: ast.stmt) -> bool:
    """Tell whether a statement belongs to the imports: also a docstring, a ``TYPE_CHECKING``
    block, and an import that may fail."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.If(test=test):
            return is_type_checking(test)
        case ast.Assign(targets=[ast.Name(id="TYPE_CHECKING")]):
            return True  # where importing it would take too long
        case ast.Try(body=body):
            return all(has_imports_only(child) for child in body)
    return False


def find_import_cycle(sources: list[Source]) -> list[str]:
    modules = {source.full_name for source in sources}
    graph = {
        source.full_name: {
            found.module
            for found in find_imports(source, modules)
            if not found.typing_only and found.module in modules
        }
        for source in sources
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


def declared_packages() -> set[str]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w.-]+", requirement) for requirement in project["dependencies"]]
    return {name[0].replace("-", "_").lower() for name in names if name}


class TestPackage:
    def test_imports_point_down(self) -> None:
        assert find_upward_imports(read_sources()) == []

    def test_third_party_packages_stay_behind_their_fences(self) -> None:
        assert find_fence_breaches(read_sources()) == []

    def test_imported_packages_are_declared(self) -> None:
        imported = {top for _, _, top in third_party_imports(read_sources())}
        assert imported - OPTIONAL - declared_packages() == set()

    def test_imports_stand_at_the_top(self) -> None:
        assert [fault for source in read_sources() for fault in find_late_imports(source)] == []

    def test_there_is_no_import_cycle(self) -> None:
        assert find_import_cycle(read_sources()) == []

    def test_no_file_is_too_long_to_read(self) -> None:
        lengths = {source.full_name: source.text.count("\n") for source in read_sources()}
        assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}

    def test_every_module_says_what_it_is(self) -> None:
        silent = [
            source.full_name
            for source in read_sources()
            if source.text and ast.get_docstring(ast.parse(source.text)) is None
        ]
        assert silent == []


class TestChecker:
    """A checker that finds nothing in good code may be blind; here it gets bad code."""

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("protocol.frames", "from ..transport.inbox import Inbox"),
            ("protocol.frames", "from .. import transport"),
            ("protocol.frames", "import adwebsocket.transport.inbox"),
            ("transport.inbox", "def f():\n    from ..websocket import WebSocket"),
            ("websocket", "if not TYPE_CHECKING:\n    from .runners.base import Runner"),
            ("websocket", "if TYPE_CHECKING:\n    pass\nelse:\n    from .conf import Settings"),
            ("runners.threads", "from ..websocket import WebSocket"),
            ("conf", "import_module('adwebsocket.asgi')"),
        ],
    )
    def test_import_that_points_up_is_found(self, name: str, text: str) -> None:
        known = [Source("transport", "", is_package=True), Source("transport.inbox", "")]
        assert len(find_upward_imports([*known, Source(name, text)])) == 1

    def test_import_for_annotations_may_point_up(self) -> None:
        text = "if TYPE_CHECKING:\n    from ..websocket import WebSocket"
        assert find_upward_imports([Source("transport.inbox", text)]) == []

    def test_relative_import_in_a_package_is_resolved(self) -> None:
        package = Source("transport", "from .inbox import Inbox", is_package=True)
        inbox = Source("transport.inbox", "")
        found = list(find_imports(package, {package.full_name, inbox.full_name}))
        assert found == [Import("adwebsocket.transport.inbox", 1, False)]

    def test_module_of_no_layer_is_found(self) -> None:
        with pytest.raises(AssertionError, match="'novelty' belongs to no layer"):
            find_upward_imports([Source("novelty", "from .conf import Settings")])

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("protocol.frames", "import django"),
            ("transport.channel", "from uvicorn.config import Config"),
            ("transport.channel", "if TYPE_CHECKING:\n    from uvicorn.config import Config"),
            ("runners.base", "from asgiref.sync import sync_to_async"),
            ("websocket", "def f():\n    import django.conf"),
            ("asgi", "import uvicorn"),
            ("cli", "import_module('django')"),
        ],
    )
    def test_package_on_the_wrong_side_of_a_fence_is_found(self, name: str, text: str) -> None:
        assert len(find_fence_breaches([Source(name, text)])) == 1

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("protocol.frames", "from websockets.utils import apply_mask"),
            ("transport.uvicorn_protocol", "import uvicorn"),
            ("management.commands.runserver", "import django, uvicorn"),
            ("conf", "import django, asgiref, os"),
        ],
    )
    def test_package_on_the_right_side_is_let_through(self, name: str, text: str) -> None:
        assert find_fence_breaches([Source(name, text)]) == []

    def test_import_at_the_bottom_is_found(self) -> None:
        source = Source("conf", "import os\n\nlimit = 1\n\nimport sys\n")
        assert find_late_imports(source) == ["adwebsocket.conf:5"]

    def test_cycle_is_found(self) -> None:
        sources = [
            Source("conf", "from .request import WebSocketRequest"),
            Source("request", "def f():\n    from .conf import Settings"),
        ]
        assert set(find_import_cycle(sources)) == {"adwebsocket.conf", "adwebsocket.request"}

    def test_cycle_of_annotations_is_none(self) -> None:
        sources = [
            Source("conf", "from .request import WebSocketRequest"),
            Source("request", "if TYPE_CHECKING:\n    from .conf import Settings"),
        ]
        assert find_import_cycle(sources) == []
