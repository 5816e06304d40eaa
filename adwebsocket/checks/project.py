"""Checks of what a project puts together: apps, middleware, the ASGI application, databases.

They look at what the settings name and import no more of it than Django itself does before it
serves anything: commands and middleware, and neither views nor the ASGI application.
"""

from __future__ import annotations

import ast
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.core.management import find_commands, load_command_class
from django.utils.module_loading import import_string

from ..alias import NAME as DWEBSOCKET
from ..conf import read_settings
from ..groups.options import read_config
from ..groups.registry import explain_lonely_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from django.apps import AppConfig

_STATICFILES = "django.contrib.staticfiles"
# Their commands are known not to be ours, and to import them would install Twisted's reactor.
_RIVALS = {"channels", "daphne"}


@register()
def check_runserver_is_ours(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[CheckMessage]:
    """Report E001 and W004: of apps with a ``runserver``, Django takes that of the first."""
    first = next(
        config.name
        for config in apps.get_app_configs()
        if "runserver" in find_commands(str(Path(config.path, "management")))
    )
    if first == _STATICFILES:
        return [
            Error(
                f"'adwebsocket' stands after '{first}' in INSTALLED_APPS, "
                "so 'manage.py runserver' serves no WebSockets.",
                hint=f"Put 'adwebsocket' before '{first}'; it serves the static files as well.",
                id="adwebsocket.E001",
            )
        ]
    if first == "adwebsocket" or (first not in _RIVALS and _runserver_is_derived(first)):
        return []
    return [
        Warning(
            f"'manage.py runserver' is that of '{first}', which stands before 'adwebsocket' in "
            "INSTALLED_APPS, so WebSockets are served in its way, if at all.",
            hint=f"Put 'adwebsocket' before '{first}'.",
            id="adwebsocket.W004",
        )
    ]


def _runserver_is_derived(app: str) -> bool:
    """Tell whether the command of an app is made of ours, as WhiteNoise makes its own."""
    from ..management.commands.runserver import Command

    try:
        return isinstance(load_command_class(app, "runserver"), Command)
    except Exception:
        # It says itself what is wrong with it to those who call it.
        return True


@register()
def check_middleware(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Report E004, middleware that cannot run, and I002, middleware that costs a thread."""
    messages: list[CheckMessage] = []
    sync_only = []
    for path in settings.MIDDLEWARE:
        try:
            middleware = import_string(path)
        except Exception as error:
            fault = f"cannot be imported: {type(error).__name__}: {error}"
            messages.append(_middleware_error(path, fault, "Correct the path, or what it imports."))
            continue
        if getattr(middleware, "async_capable", False):
            continue
        if getattr(middleware, "sync_capable", True):
            sync_only.append(path)
        else:
            fault = "has neither sync_capable nor async_capable"
            messages.append(_middleware_error(path, fault, "Let one of them be True."))
    if sync_only:
        messages.append(
            Info(
                f"Not async_capable: {', '.join(sync_only)}. So a WebSocket with an async view "
                "holds a thread (or a greenlet) as long as it lasts, as one with a sync view does.",
                hint="Where the project has async views for many WebSockets, use middleware that "
                "is async_capable.",
                id="adwebsocket.I002",
            )
        )
    return messages


def _middleware_error(path: Any, fault: str, hint: str) -> Error:
    return Error(f"The middleware {path!r} {fault}.", hint=hint, id="adwebsocket.E004")


@register()
def check_asgi_application(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[CheckMessage]:
    """Report W005: an ASGI application that refuses WebSockets."""
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not isinstance(path, str) or not _is_stock_application(path):
        return []
    module = path.rpartition(".")[0]
    return [
        Warning(
            f"ASGI_APPLICATION is {path!r}, which is made by django.core.asgi. The runner "
            "'adwebsocket' and 'manage.py runserver' serve ours in its place; under any other "
            "server it refuses WebSockets.",
            hint=f"In {module}, import get_asgi_application from adwebsocket.asgi instead of "
            "django.core.asgi.",
            id="adwebsocket.W005",
        )
    ]


def _is_stock_application(path: str) -> bool:
    """Tell whether a module makes its application by Django's function, by reading its source.

    To import it would import what it routes to. Where it is not as ``startproject`` writes it, it
    is taken for one that serves WebSockets.
    """
    module, _, name = path.rpartition(".")
    try:
        spec = find_spec(module)
        tree = ast.parse(Path((spec and spec.origin) or "").read_text(encoding="utf-8"))
    except Exception:  # the package around it may raise anything
        return False
    makers = {
        each.asname or each.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "django.core.asgi"
        for each in node.names
        if each.name == "get_asgi_application"
    }
    calls = [_call_assigned_to(name, node) for node in ast.walk(tree) if _binds(name, node)]
    return len(calls) == 1 and calls[0] in makers


def _binds(name: str, node: ast.AST) -> bool:
    match node:
        case ast.Assign(targets=targets):
            return any(isinstance(each, ast.Name) and each.id == name for each in targets)
        case ast.AnnAssign(target=ast.Name(id=bound)) | ast.AugAssign(target=ast.Name(id=bound)):
            return bound == name
        case ast.FunctionDef(name=bound) | ast.AsyncFunctionDef(name=bound):
            return bound == name
        case ast.ClassDef(name=bound):
            return bound == name
        case ast.ImportFrom(names=names) | ast.Import(names=names):
            return any((each.asname or each.name) in (name, "*") for each in names)
    return False


def _call_assigned_to(name: str, node: ast.AST) -> str | None:
    match node:
        case ast.Assign(targets=[ast.Name()], value=ast.Call(func=ast.Name(id=function))):
            return function
    return None


@register()
def check_dwebsocket_is_gone(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[CheckMessage]:
    """Report W006: the original beside the alias, so that the name leads to either."""
    configured, _ = read_settings()
    if not configured.dwebsocket_alias:
        return []
    # As if there were no alias: this finder knows only what lies on the path.
    spec = PathFinder.find_spec(DWEBSOCKET)
    if spec is None or spec.origin is None:
        return []
    return [
        Warning(
            f"dwebsocket is there as well as its alias ({spec.origin}): 'import dwebsocket' leads "
            "to the one before adwebsocket is imported, and to the other after it.",
            hint="pip uninstall dwebsocket, or set WEBSOCKET_DWEBSOCKET_ALIAS = False where the "
            "project needs the original.",
            id="adwebsocket.W006",
        )
    ]


@register()
def check_idle_connections(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[CheckMessage]:
    """Report W007: database connections that are kept, and that no waiting view gives back."""
    configured, _ = read_settings()
    if configured.db_idle_seconds is not None:
        return []
    return [
        Warning(
            f"WEBSOCKET_DB_IDLE_SECONDS is None, and the database {alias!r} has {reason}: each "
            "WebSocket whose view has asked it something holds a connection until it ends.",
            hint="Give WEBSOCKET_DB_IDLE_SECONDS a number, 0 for at once.",
            id="adwebsocket.W007",
        )
        for alias, reason in _kept_connections()
    ]


def _kept_connections() -> Iterator[tuple[str, str]]:
    for alias, database in _databases():
        options = database.get("OPTIONS") or {}
        if isinstance(options, dict) and options.get("pool"):
            yield alias, "a pool"
        elif database.get("CONN_MAX_AGE", 0) != 0 and not _is_file(database):
            yield alias, f"CONN_MAX_AGE = {database['CONN_MAX_AGE']}"


def _is_file(database: dict[str, Any]) -> bool:
    """Tell whether a connection is an open file, of which there may be many."""
    return "sqlite" in str(database.get("ENGINE")) or "spatialite" in str(database.get("ENGINE"))


def _databases() -> Iterator[tuple[str, dict[str, Any]]]:
    for alias, database in settings.DATABASES.items():
        if isinstance(database, dict):
            yield alias, database


@register()
def check_atomic_requests(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[CheckMessage]:
    """Report I003: a setting that does nothing for WebSockets."""
    atomic = [repr(alias) for alias, database in _databases() if database.get("ATOMIC_REQUESTS")]
    if not atomic:
        return []
    return [
        Info(
            f"ATOMIC_REQUESTS ({', '.join(atomic)}) does not apply to WebSockets: their views run "
            "outside of any transaction, which would last as long as the connection.",
            hint="Put transaction.atomic() around what belongs together.",
            id="adwebsocket.I003",
        )
    ]


@register()
def check_groups(app_configs: Sequence[AppConfig] | None, **options: Any) -> list[CheckMessage]:
    """Report W013: groups within each process, where there are several."""
    configured, _ = read_settings()
    try:
        backend = read_config(configured.groups).backend
    except ImproperlyConfigured:
        return []  # which is E002
    warning = explain_lonely_memory(backend)
    if warning is None:
        return []
    return [
        Warning(
            warning,
            hint='Take "local", which is the default of several processes and needs nothing else, '
            "or a URL of Redis.",
            id="adwebsocket.W013",
        )
    ]
