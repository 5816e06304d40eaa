"""Which views are listed, whatever way they got their decorator."""

from __future__ import annotations

import pytest

from tests.porting import views_of


@pytest.mark.parametrize(
    ("line", "decorator"),
    [
        ("from dwebsocket import accept_websocket", "accept_websocket"),
        ("from dwebsocket.decorators import accept_websocket", "accept_websocket"),
        ("from dwebsocket import *", "accept_websocket"),
        ("from dwebsocket.decorators import *", "accept_websocket"),
        ("from dwebsocket.decorators import accept_websocket as socket", "socket"),
        ("import dwebsocket", "dwebsocket.accept_websocket"),
        ("import dwebsocket", "dwebsocket.decorators.accept_websocket"),
        ("import dwebsocket.decorators", "dwebsocket.decorators.accept_websocket"),
        ("import dwebsocket.decorators as ws", "ws.accept_websocket"),
        ("from dwebsocket import decorators", "decorators.accept_websocket"),
        ("from adwebsocket.compat import accept_websocket", "accept_websocket"),
        ("from adwebsocket import compat as old", "old.accept_websocket"),
        ("from extra_apps.dwebsocket.decorators import accept_websocket", "accept_websocket"),
        ("from .dwebsocket import accept_websocket", "accept_websocket"),
        ("import dwebsocket; socket = dwebsocket.accept_websocket", "socket"),
    ],
)
def test_decorator_is_known_by_any_import(line: str, decorator: str) -> None:
    code = f"{line}\n@{decorator}\ndef echo(request): pass\n"
    assert views_of(code) == [(2, "echo", "accept_websocket")]


def test_import_that_may_fail_counts() -> None:
    code = """\
    try:
        from dwebsocket import require_websocket
    except ImportError:
        from adwebsocket import require_websocket

    @require_websocket
    def echo(request): pass
    """
    assert views_of(code) == [(6, "echo", "require_websocket")]


@pytest.mark.parametrize(
    "line",
    [
        "from adwebsocket import accept_websocket",
        "from adwebsocket.decorators import accept_websocket",
        "from adwebsocket import *",
        "from django_websocket import accept_websocket",
        "from .decorators import accept_websocket",
    ],
)
def test_decorators_of_others_are_not_dwebsockets(line: str) -> None:
    assert views_of(f"{line}\n@accept_websocket\ndef echo(request): pass\n") == []


def test_view_behind_other_decorators_is_found() -> None:
    code = """\
    from dwebsocket import require_websocket
    @login_required
    @csrf_exempt
    @require_websocket
    @staff_only(True)
    def echo(request): pass
    """
    assert views_of(code) == [(4, "echo", "require_websocket")]


def test_methods_and_classes_are_found() -> None:
    code = """\
    from dwebsocket import *
    class Feed(View):
        @method_decorator(accept_websocket)
        def get(self, request): pass
        @staticmethod
        @require_websocket
        def raw(request): pass
    @method_decorator(accept_websocket, name="dispatch")
    class Log(View): pass
    @method_decorator([csrf_exempt, require_websocket], name="get")
    class Shell(View): pass
    """
    assert views_of(code) == [
        (3, "Feed.get", "accept_websocket"),
        (6, "Feed.raw", "require_websocket"),
        (8, "Log.dispatch", "accept_websocket"),
        (10, "Shell.get", "require_websocket"),
    ]


def test_calls_of_a_decorator_are_found() -> None:
    code = """\
    from dwebsocket import *
    echo = csrf_exempt(accept_websocket(echo))
    urlpatterns = [
        path("log/", require_websocket(Log.as_view())),
    ]
    """
    assert views_of(code) == [
        (2, "echo", "accept_websocket"),
        (4, "Log.as_view()", "require_websocket"),
    ]


def test_marks_by_hand_are_found() -> None:
    code = """\
    def echo(request): pass
    echo.accept_websocket = True
    echo.require_websocket = False
    class Log(View):
        require_websocket = True
    """
    assert views_of(code) == [
        (2, "echo", "accept_websocket"),
        (5, "Log", "require_websocket"),
    ]


def test_view_inside_a_function_has_its_name() -> None:
    code = """\
    from dwebsocket import *
    def make():
        @accept_websocket
        def echo(request): pass
        return echo
    """
    assert views_of(code) == [(3, "make.echo", "accept_websocket")]
