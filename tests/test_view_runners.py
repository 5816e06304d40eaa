"""Which runner runs a view, and what views that share a thread have to themselves in Django."""

from __future__ import annotations

import contextvars
import json
import threading
import types
from typing import TYPE_CHECKING, Any

import pytest
from django.test import override_settings
from django.urls import get_script_prefix, get_urlconf, path, set_script_prefix, set_urlconf
from django.utils import timezone, translation
from django.utils.decorators import method_decorator
from django.views import View
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as connect_client

import adwebsocket.compat
from adwebsocket import accept_websocket, require_websocket
from adwebsocket.asgi import ASGIApplication
from tests.connections import DEADLINE, WebSocketConversation, on_event_loop
from tests.processes import run, serve, wait_until, write_project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUNNERS = ["thread", "greenlet"]
NAMES = {"thread": "websocket-view-", "greenlet": "websocket-greenlets-"}

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
local = threading.local()
ended: list[str] = []


def state() -> list[str | None]:
    """Say all that Django and Python let a view set for itself."""
    return [
        translation.get_language(),
        str(timezone.get_current_timezone()),
        getattr(get_urlconf(), "__name__", None),
        get_script_prefix(),
        variable.get(),
    ]


def state_named(name: str) -> list[str | None]:
    return [name, f"Etc/GMT+{len(name)}", f"urls.{name}", f"/{name}/", name]


def activate(name: str) -> None:
    """Set it all."""
    language, zone, urlconf, prefix, value = state_named(name)
    translation.activate(str(language))
    timezone.activate(str(zone))
    module = types.ModuleType(str(urlconf))
    module.urlpatterns = []  # type: ignore[attr-defined]
    set_urlconf(module)
    set_script_prefix(str(prefix))
    variable.set(str(value))
    local.name = name


@require_websocket
def tell(request: Any) -> None:
    """Tell the state as it is found, then after each message once more."""
    name = request.GET.get("name")
    request.websocket.send_json(state())
    if name:
        activate(name)
    try:
        for message in request.websocket:
            if message == "fail":
                raise ZeroDivisionError
            if message == "thread-local":
                request.websocket.send_json(local.name)
            else:
                request.websocket.send_json(state())
    finally:
        ended.append(f"{name} {translation.get_language()}")


@require_websocket
def override(request: Any) -> None:
    """Wait inside of context managers."""
    with translation.override("de"), timezone.override("Etc/GMT+3"):
        request.websocket.wait()
        request.websocket.send_json(state()[:2])
    request.websocket.wait()
    request.websocket.send_json(state()[:2])


@require_websocket
def poll(request: Any) -> None:
    """Ask for a message without a pause, and tell how it came."""
    ask = {"read": request.websocket.read, "wait": lambda: request.websocket.wait(0)}
    while (message := ask[request.GET["name"]]()) is None:
        if request.websocket.closed:
            return
    request.websocket.send(message)


def tell_thread(request: Any) -> None:
    request.websocket.send(threading.current_thread().name)


class TellThread(View):
    """A class-based view that tells its thread."""

    def get(self, request: Any) -> None:
        tell_thread(request)


@method_decorator(require_websocket(runner="greenlet"), name="dispatch")
class GreenletOnDispatch(TellThread):
    """The decorator stands on the method that serves all."""


class ThreadOnGet(TellThread):
    """The decorator stands on the method that serves handshakes."""

    @method_decorator(accept_websocket(runner="thread"))
    def get(self, request: Any) -> None:
        tell_thread(request)


urlpatterns = [
    path("tell/", tell),
    path("override/", override),
    path("poll/", poll),
    path("any/", require_websocket(tell_thread)),
    path("thread/", require_websocket(runner="thread")(tell_thread)),
    path("greenlet/", accept_websocket(runner="greenlet")(tell_thread)),
    path("class/any/", method_decorator(require_websocket, name="get")(TellThread).as_view()),
    path("class/greenlet/", GreenletOnDispatch.as_view()),
    path("class/thread/", ThreadOnGet.as_view()),
    path("legacy/", adwebsocket.compat.require_websocket(tell_thread)),
]


@pytest.fixture(autouse=True)
def project() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        yield


@pytest.fixture(params=RUNNERS)
def application(request: pytest.FixtureRequest) -> Iterator[ASGIApplication]:
    """An application with this runner; its greenlets have but one thread."""
    with override_settings(WEBSOCKET_SYNC_RUNNER=request.param, WEBSOCKET_GREENLET_WORKERS=1):
        yield ASGIApplication()


def connect(
    application: ASGIApplication, name: str = "", path: str = "/tell/"
) -> WebSocketConversation:
    return WebSocketConversation(application, path, query_string=f"name={name}".encode())


async def state_of(peer: WebSocketConversation) -> Any:
    return json.loads(await peer.message())


async def fresh_state(application: ASGIApplication) -> Any:
    """Ask what a new view finds."""
    async with connect(application) as peer:
        await peer.accepted()
        return await state_of(peer)


# What each view has to itself


def test_what_a_view_activates_is_its_own_while_others_run(application: ASGIApplication) -> None:
    names = ["de", "fr", "it", "nl", "pl"]

    @on_event_loop
    async def run_views() -> None:
        untouched = await fresh_state(application)
        peers = [connect(application, name) for name in names]
        for peer in peers:
            await peer.__aenter__()
            await peer.accepted()
            assert await state_of(peer) == untouched
        for _ in range(3):
            for name, peer in zip(names, peers, strict=True):
                peer.send("and now?")
                assert await state_of(peer) == state_named(name)
            assert await fresh_state(application) == untouched
        for peer in peers:
            peer.disconnect()
            await peer.finished()

    run_views()


def test_context_managers_around_waits_hold_where_they_stand(
    application: ASGIApplication,
) -> None:
    @on_event_loop
    async def run_views() -> None:
        usual = (await fresh_state(application))[:2]
        peers = [WebSocketConversation(application, "/override/") for _ in range(3)]
        for peer in peers:
            await peer.__aenter__()
            await peer.accepted()
        for expected in (["de", "Etc/GMT+3"], usual):
            for peer in peers:
                peer.send("go on")
                assert await state_of(peer) == expected
        for peer in peers:
            assert await peer.closed() == (1000, "")
            await peer.finished()

    run_views()


@pytest.mark.parametrize("end", ["disconnect", "fail", "cancel"])
def test_view_that_leaves_things_activated_leaves_them_to_nobody(
    application: ASGIApplication, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    @on_event_loop
    async def run_views() -> None:
        untouched = await fresh_state(application)
        peer = connect(application, "de")
        await peer.__aenter__()
        await peer.accepted()
        await state_of(peer)
        if end == "cancel":
            await peer.cancel()
        else:
            if end == "fail":
                peer.send("fail")
                assert await peer.closed() == (1011, "")
            peer.disconnect()
            await peer.finished()
        assert await fresh_state(application) == untouched

    ended.clear()
    run_views()
    # It saw its own to the end, however that came.
    wait_until(lambda: "de de" in ended, "the end of the view")
    wait_until(lambda: application.runners.count() == 0, "the end of all views")


def test_thread_locals_are_shared_by_views_that_share_a_thread(
    application: ASGIApplication, request: pytest.FixtureRequest
) -> None:
    """Which is what the guide says of greenlets, and to whom it matters names the other runner."""
    is_shared = "greenlet" in request.node.name

    @on_event_loop
    async def run_views() -> None:
        async with connect(application, "de") as first, connect(application, "fr") as second:
            for peer in (first, second):
                await peer.accepted()
                await state_of(peer)
            for peer in (first, second):
                peer.send("state")
                await state_of(peer)
            first.send("thread-local")
            assert await state_of(first) == ("fr" if is_shared else "de")

    run_views()


@pytest.mark.parametrize("ask", ["read", "wait"])
def test_view_that_polls_without_a_pause_lets_others_run(
    application: ASGIApplication, ask: str
) -> None:
    @on_event_loop
    async def run_views() -> None:
        async with connect(application, ask, "/poll/") as polling:
            await polling.accepted()
            for _ in range(3):
                assert await fresh_state(application)
            polling.send("found")
            assert await polling.message() == "found"
            assert await polling.closed() == (1000, "")

    run_views()


# Which runner


@pytest.mark.parametrize("setting", RUNNERS)
@pytest.mark.parametrize(
    ("address", "runner"),
    [
        ("/any/", None),
        ("/thread/", "thread"),
        ("/greenlet/", "greenlet"),
        ("/class/any/", None),
        ("/class/greenlet/", "greenlet"),
        ("/class/thread/", "thread"),
        ("/legacy/", None),
    ],
)
def test_view_runs_where_its_decorator_says_or_else_the_setting(
    setting: str, address: str, runner: str | None
) -> None:
    @on_event_loop
    async def run_view() -> None:
        application = ASGIApplication()
        async with WebSocketConversation(application, address) as peer:
            await peer.accepted()
            thread = str(await peer.message())
            assert thread.startswith(NAMES[runner or setting])
            await peer.closed()
        assert application.runners.count() == 0

    with override_settings(WEBSOCKET_SYNC_RUNNER=setting):
        run_view()


@pytest.mark.parametrize("decorator", [accept_websocket, require_websocket])
def test_runner_that_there_is_not_is_refused(decorator: Any) -> None:
    with pytest.raises(ValueError, match=r"^runner must be 'thread' or 'greenlet', not 'gevent'$"):
        decorator(runner="gevent")(tell_thread)


@pytest.mark.parametrize("decorator", [accept_websocket, require_websocket])
@pytest.mark.parametrize("runner", RUNNERS)
def test_async_view_has_no_runner(decorator: Any, runner: str) -> None:
    async def view(request: Any) -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match=r"^runner is for sync views; an async one"):
        decorator(runner=runner)(view)


# Without the package


def make_project_without_greenlet(directory: Path, settings: str = "") -> Path:
    """Write a project in whose folder greenlet cannot be imported."""
    files = {
        "greenlet.py": "raise ImportError('there is no greenlet')\n",
        "mysite/urls.py": URLS,
    }
    return write_project(directory, files, settings)


URLS = """\
from adwebsocket import require_websocket
from django.urls import path

@require_websocket(runner="greenlet")
def view(request):
    pass

@require_websocket
def any_view(request):
    request.websocket.send("served")

urlpatterns = [path("", view), path("any", any_view)]
"""

MISSING = 'the runner "greenlet" needs the package greenlet: pip install adwebsocket[greenlet]'


def test_server_does_not_start_without_the_package_of_its_runner(tmp_path: Path) -> None:
    project = make_project_without_greenlet(tmp_path, "WEBSOCKET_SYNC_RUNNER = 'greenlet'")
    result = run(["-m", "adwebsocket", "--settings", "mysite.settings", "--port", "0"], cwd=project)
    assert result.returncode != 0
    assert MISSING in result.stdout


def test_view_that_names_a_runner_without_its_package_says_so_and_others_are_served(
    tmp_path: Path,
) -> None:
    project = make_project_without_greenlet(tmp_path)
    arguments = ["-m", "adwebsocket", "--settings", "mysite.settings", "--port", "{port}"]
    with serve(arguments, cwd=project) as server:
        with (
            pytest.raises(InvalidStatus, match="500"),
            connect_client(server.url("ws", "/"), open_timeout=DEADLINE),
        ):
            pass
        assert MISSING in server.wait_for_output(MISSING)
        with connect_client(server.url("ws", "/any"), open_timeout=DEADLINE) as client:
            assert client.recv(timeout=DEADLINE) == "served"
