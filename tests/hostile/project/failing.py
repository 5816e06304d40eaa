"""Views that fail, that make mistakes, or that only learn by an exception that nobody listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse

from adwebsocket import require_websocket

from .inspection import notes, pass_gate, pass_gate_async

if TYPE_CHECKING:
    from collections.abc import Callable


def fail(kind: str) -> None:
    errors: dict[str, Callable[[], BaseException]] = {
        "value": lambda: ValueError("deliberate failure"),
        "denied": PermissionDenied,
        "missing": Http404,
        "exit": lambda: SystemExit(3),
    }
    raise errors[kind]()


@require_websocket
def sync_failing(request: Any, kind: str) -> None:
    request.websocket.wait()
    fail(kind)


@require_websocket
async def async_failing(request: Any, kind: str) -> None:
    await request.websocket.wait()
    fail(kind)


@require_websocket
def sync_sender(request: Any, name: str) -> None:
    """Send until that fails, and let the exception out."""
    socket = request.websocket
    notes[f"{name}-begun"].append(True)
    try:
        while True:
            socket.send("tick")
            socket.wait(timeout=0.01)
    except BaseException as error:
        notes[name].append(type(error).__name__)
        raise


@require_websocket
async def async_sender(request: Any, name: str) -> None:
    socket = request.websocket
    notes[f"{name}-begun"].append(True)
    try:
        while True:
            await socket.send("tick")
            await socket.wait(timeout=0.01)
    except BaseException as error:
        notes[name].append(type(error).__name__)
        raise


@require_websocket
def sync_torrent(request: Any, name: str) -> None:
    """Send without pause, and let the exception out."""
    notes[f"{name}-begun"].append(True)
    try:
        while True:
            request.websocket.send("tick" * 10)
    except BaseException as error:
        notes[name].append(type(error).__name__)
        raise


@require_websocket
async def async_torrent(request: Any, name: str) -> None:
    notes[f"{name}-begun"].append(True)
    try:
        while True:
            await request.websocket.send("tick" * 10)
    except BaseException as error:
        notes[name].append(type(error).__name__)
        raise


@require_websocket
def sync_leaving(request: Any, name: str) -> None:
    """Return while messages are queued that nobody has read."""
    notes[f"{name}-begun"].append(True)
    pass_gate(name)
    notes[name].append(request.websocket.has_messages())


@require_websocket
async def async_leaving(request: Any, name: str) -> None:
    notes[f"{name}-begun"].append(True)
    await pass_gate_async(name)
    notes[name].append(request.websocket.has_messages())


@require_websocket(accept="manual")
def sync_manual(request: Any, how: str) -> HttpResponse | None:
    """Answer the handshake in a way that cannot be written down."""
    if how == "refuse":
        return HttpResponse(headers=BAD_HEADERS)
    request.websocket.accept(
        subprotocol="a\r\nX: b" if how == "subprotocol" else None,
        headers=BAD_HEADERS if how == "headers" else {},
    )
    for message in request.websocket:
        request.websocket.send(message)
    return None


@require_websocket(accept="manual")
async def async_manual(request: Any, how: str) -> HttpResponse | None:
    if how == "refuse":
        return HttpResponse(headers=BAD_HEADERS)
    await request.websocket.accept(
        subprotocol="a\r\nX: b" if how == "subprotocol" else None,
        headers=BAD_HEADERS if how == "headers" else {},
    )
    async for message in request.websocket:
        await request.websocket.send(message)
    return None


# Django refuses line breaks in a header, and nothing else.
BAD_HEADERS = {"X-Control": "a\x00b"}

MISTAKES: dict[str, Callable[[Any], Any]] = {
    "send a number": lambda socket: socket.send(5),
    "send a list": lambda socket: socket.send(["a"]),
    "send nothing": lambda socket: socket.send(None),
    "send a surrogate": lambda socket: socket.send("\ud800"),
    "close with 1005": lambda socket: socket.close(1005),
    "close with 999": lambda socket: socket.close(999),
    "close with 5000": lambda socket: socket.close(5000),
    "close with text": lambda socket: socket.close("1000"),
    "close with a long reason": lambda socket: socket.close(1000, "x" * 124),
    "accept again": lambda socket: socket.accept(),
}


@require_websocket
def sync_mistaken(request: Any) -> None:
    """Make the mistake that the client names, and tell what came of it."""
    for message in request.websocket:
        try:
            MISTAKES[message](request.websocket)
            answer = "nothing was raised"
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        request.websocket.send(answer)


@require_websocket
async def async_mistaken(request: Any) -> None:
    async for message in request.websocket:
        try:
            await MISTAKES[message](request.websocket)
            answer = "nothing was raised"
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        await request.websocket.send(answer)
