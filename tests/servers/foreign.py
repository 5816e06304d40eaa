"""Applications that know nothing of adwebsocket, below one address each, for our protocol class.

The server under test imports it: Starlette below ``/starlette/``, Channels below ``/channels/``,
and below ``/raw/`` what an application can do right and wrong by the bare interface. No package is
imported before the first connection that wants it, so that each may be missing.
"""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Scope = dict[str, Any]
    AsgiEvent = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[AsgiEvent]]
    Send = Callable[[AsgiEvent], Awaitable[None]]
    Application = Callable[[Scope, Receive, Send], Awaitable[None]]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Pass a connection on to the application that its path names."""
    if scope["type"] == "lifespan":
        await serve_lifespan(scope, receive, send)
    elif scope["type"] == "http":
        await show_report(scope, send)
    else:
        family = scope["path"].split("/")[1]
        await APPLICATIONS[family]()(scope, receive, send)


async def serve_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        scope["state"]["greeting"] = "hello from the start"
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


# What applications have seen when their client was gone, by name, for a client that asks later.
reports: dict[str, asyncio.Future[dict[str, Any]]] = {}


def report_of(name: str) -> asyncio.Future[dict[str, Any]]:
    return reports.setdefault(name, asyncio.get_running_loop().create_future())


async def show_report(scope: Scope, send: Send) -> None:
    """Answer an HTTP request for a report when it has come."""
    report = await report_of(scope["path"].strip("/"))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(report).encode()})


@lru_cache
def starlette_application() -> Application:
    """Make the application with all that Starlette has for WebSockets."""
    from starlette.applications import Starlette
    from starlette.endpoints import WebSocketEndpoint
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    class TextEcho(WebSocketEndpoint):
        encoding = "text"

        async def on_receive(self, websocket: WebSocket, data: Any) -> None:
            await websocket.send_text(data)

    class BytesEcho(WebSocketEndpoint):
        encoding = "bytes"

        async def on_receive(self, websocket: WebSocket, data: Any) -> None:
            await websocket.send_bytes(data)

    class JsonEcho(WebSocketEndpoint):
        encoding = "json"

        async def on_receive(self, websocket: WebSocket, data: Any) -> None:
            await websocket.send_json(data)

    async def accept(websocket: WebSocket) -> None:
        await websocket.accept("v2", headers=[(b"x-room", b"blue")])
        await websocket.send_json(websocket.scope["subprotocols"])
        await websocket.close()

    async def close(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close(4002, "genug für heute")

    async def close_early(websocket: WebSocket) -> None:
        await websocket.close()

    async def forbid(websocket: WebSocket) -> None:
        raise HTTPException(401, "say who you are", {"WWW-Authenticate": "Basic"})

    async def deny(websocket: WebSocket) -> None:
        response = JSONResponse({"why": "the room is full"}, 409)
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        await websocket.send_denial_response(response)

    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("ready")
        messages = []
        try:
            while True:
                messages.append(await websocket.receive_text())
        except WebSocketDisconnect as error:
            report_of(websocket.path_params["name"]).set_result(
                {"code": error.code, "reason": error.reason, "messages": messages}
            )

    async def send_late(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("ready")
        await websocket.receive()
        try:
            await websocket.send_text("is anybody there?")
        except Exception as error:
            report_of(websocket.path_params["name"]).set_result({"error": type(error).__name__})

    return Starlette(
        routes=[
            WebSocketRoute("/starlette/text", TextEcho),
            WebSocketRoute("/starlette/bytes", BytesEcho),
            WebSocketRoute("/starlette/json", JsonEcho),
            WebSocketRoute("/starlette/accept", accept),
            WebSocketRoute("/starlette/close", close),
            WebSocketRoute("/starlette/close-early", close_early),
            WebSocketRoute("/starlette/forbid", forbid),
            WebSocketRoute("/starlette/deny", deny),
            WebSocketRoute("/starlette/listen/{name}", listen),
            WebSocketRoute("/starlette/send-late/{name}", send_late),
        ]
    )


@lru_cache
def channels_application() -> Application:
    """Make the application with a consumer of each colour."""
    import django
    from django.conf import settings

    settings.configure(SECRET_KEY="for tests", INSTALLED_APPS=["channels"])
    django.setup()

    from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
    from channels.routing import URLRouter
    from django.urls import path

    loop = asyncio.get_running_loop()

    class AsyncConsumer(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            if self.action == "deny":
                await self.close()
            else:
                await self.accept("v2" if "v2" in self.scope["subprotocols"] else None)

        @property
        def action(self) -> str:
            return self.scope["url_route"]["kwargs"]["action"]

        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            if text_data == "close":
                await self.close(4003, "genug für heute")
            elif text_data == "break":
                raise ZeroDivisionError("the async consumer is broken on purpose")
            else:
                await self.send(text_data, bytes_data)

        async def disconnect(self, code: int) -> None:
            report_of(self.action).set_result({"code": code})

    class SyncConsumer(WebsocketConsumer):
        def connect(self) -> None:
            if self.action == "deny":
                self.close()
            else:
                self.accept("v2" if "v2" in self.scope["subprotocols"] else None)

        @property
        def action(self) -> str:
            return self.scope["url_route"]["kwargs"]["action"]

        def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            if text_data == "close":
                self.close(4003, "genug für heute")
            elif text_data == "break":
                raise ZeroDivisionError("the sync consumer is broken on purpose")
            else:
                self.send(text_data, bytes_data)

        def disconnect(self, code: int) -> None:
            loop.call_soon_threadsafe(lambda: report_of(self.action).set_result({"code": code}))

    return URLRouter(
        [
            path("channels/async/<str:action>", AsyncConsumer.as_asgi()),
            path("channels/sync/<str:action>", SyncConsumer.as_asgi()),
        ]
    )


# The bare interface


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


async def show_scope(scope: Scope, receive: Receive, send: Send) -> None:
    events = [await receive()]
    await send({"type": "websocket.accept"})
    facts = {**scope, "extensions": list(scope["extensions"]), "events": events}
    text = json.dumps(facts, default=lambda value: value.decode("latin-1"))
    await send({"type": "websocket.send", "text": text})
    await send({"type": "websocket.close"})


async def accept_with_less(scope: Scope, receive: Receive, send: Send) -> None:
    """Leave out what may be left out, and set to None what may be None."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    await send({"type": "websocket.send", "text": "text", "bytes": None})
    await send({"type": "websocket.send", "bytes": b"bytes", "text": None})
    await send({"type": "websocket.send", "text": ""})
    await send({"type": "websocket.send", "bytes": b""})
    await send({"type": "websocket.close", "code": 1001, "reason": None})


async def refuse_in_pieces(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    headers = [(b"content-type", b"text/plain"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    await send({"type": "websocket.http.response.start", "status": 429, "headers": headers})
    for piece in (b"not ", b"so ", b"fast"):
        await send({"type": "websocket.http.response.body", "body": piece, "more_body": True})
    await send({"type": "websocket.http.response.body"})


async def return_silently(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()


async def return_in_the_middle_of_a_refusal(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.http.response.start", "status": 429, "headers": []})


async def refuse_with_a_bad_header(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    headers = [(b"x-room", b"a\nb")]
    await send({"type": "websocket.http.response.start", "status": 429, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b""})


async def accept_with_a_bad_header(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"x-room", b"a\nb")]})


async def return_open(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def break_early(scope: Scope, receive: Receive, send: Send) -> None:
    raise ZeroDivisionError("an application is broken on purpose, early")


async def break_late(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    raise ZeroDivisionError("an application is broken on purpose, late")


async def misbehave(scope: Scope, receive: Receive, send: Send) -> None:
    """Send what must not be sent, and tell the client what came of it."""
    await receive()
    answers = [
        await answer_to(send, {"type": "websocket.send", "text": "too early"}),
        await answer_to(send, {"type": "http.response.start", "status": 200, "headers": []}),
        await answer_to(send, {"type": "websocket.http.response.body", "body": b"no start"}),
    ]
    await send({"type": "websocket.accept"})
    answers += [
        await answer_to(send, {"type": "websocket.accept"}),
        await answer_to(send, {"type": "websocket.http.response.start", "status": 200}),
        await answer_to(send, {"type": "websocket.send"}),
        await answer_to(send, {"type": "websocket.send", "text": None, "bytes": None}),
        await answer_to(send, {"type": "websocket.send", "text": 5}),
        await answer_to(send, {"type": "websocket.close", "code": 1005}),
        await answer_to(send, {"type": "websocket.close", "reason": "x" * 124}),
    ]
    await send({"type": "websocket.send", "text": json.dumps(answers)})
    await send({"type": "websocket.close"})


async def refuse_and_go_on(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close"})
    report_of(scope["query_string"].decode()).set_result(
        {
            "accept": await answer_to(send, {"type": "websocket.accept"}),
            "send": await answer_to(send, {"type": "websocket.send", "text": "hello"}),
            "event": dict(await receive()),
        }
    )


async def answer_to(send: Send, event: AsgiEvent) -> str:
    """Return the exception that an event gives, class and text."""
    try:
        await send(event)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


async def send_late(scope: Scope, receive: Receive, send: Send) -> None:
    """Send to a client that has gone, and report what that gives."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "ready"})
    events = [dict(await receive()), dict(await receive())]
    report: dict[str, Any] = {"events": events}
    try:
        await send({"type": "websocket.send", "text": "is anybody there?"})
    except OSError as error:
        report["error"] = str(error)
    await send({"type": "websocket.close"})
    report_of(scope["query_string"].decode()).set_result(report)


async def push(scope: Scope, receive: Receive, send: Send) -> None:
    """Send until that fails, as an application does that never receives."""
    await send({"type": "websocket.accept"})
    try:
        while True:
            await send({"type": "websocket.send", "text": "x" * 1000})
            await asyncio.sleep(0)
    finally:
        report_of(scope["query_string"].decode()).set_result({})


RAW_APPLICATIONS = {
    function.__name__: function
    for function in (
        echo,
        show_scope,
        accept_with_less,
        refuse_in_pieces,
        return_silently,
        return_in_the_middle_of_a_refusal,
        refuse_with_a_bad_header,
        accept_with_a_bad_header,
        return_open,
        break_early,
        break_late,
        misbehave,
        refuse_and_go_on,
        send_late,
        push,
    )
}


async def raw_application(scope: Scope, receive: Receive, send: Send) -> None:
    await RAW_APPLICATIONS[scope["path"].split("/")[2]](scope, receive, send)


APPLICATIONS: dict[str, Callable[[], Application]] = {
    "starlette": starlette_application,
    "channels": channels_application,
    "raw": lambda: raw_application,
}
