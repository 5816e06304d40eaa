"""Views that watch, and views that are slow to read or send a lot."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from adwebsocket import ConnectionClosed, require_websocket

from .inspection import how_it_ended, notes, pass_gate, pass_gate_async


@require_websocket
def sync_watch(request: Any, name: str) -> None:
    """Note the messages and the end."""
    socket = request.websocket
    notes[f"{name}-begun"].append(True)
    messages = [short(message) for message in socket]
    notes[name].append({"messages": messages, **how_it_ended(socket)})


@require_websocket
async def async_watch(request: Any, name: str) -> None:
    socket = request.websocket
    notes[f"{name}-begun"].append(True)
    messages = [short(message) async for message in socket]
    notes[name].append({"messages": messages, **how_it_ended(socket)})


def short(message: str | bytes) -> str:
    text = message if isinstance(message, str) else message.decode("latin-1")
    return text if len(text) <= 40 else f"{len(text)} characters"


@require_websocket
def sync_echo(request: Any) -> None:
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket
async def async_echo(request: Any) -> None:
    async for message in request.websocket:
        await request.websocket.send(message)


@require_websocket
def sync_user(request: Any) -> None:
    """Use session and user, that is the database, and serve on."""
    request.websocket.send(request.user.username)
    for message in request.websocket:
        request.websocket.send(message)


@require_websocket
async def async_user(request: Any) -> None:
    await request.websocket.send((await request.auser()).username)
    async for message in request.websocket:
        await request.websocket.send(message)


@require_websocket
def sync_gated(request: Any, name: str) -> None:
    """Read nothing before the gate opens, then everything."""
    socket = request.websocket
    notes[f"{name}-begun"].append(True)
    pass_gate(name)
    received = list(map(int, socket))
    notes[name].append(summary_of(received, socket))


@require_websocket
async def async_gated(request: Any, name: str) -> None:
    socket = request.websocket
    notes[f"{name}-begun"].append(True)
    await pass_gate_async(name)
    received = [int(message) async for message in socket]
    notes[name].append(summary_of(received, socket))


def summary_of(received: list[int], socket: Any) -> dict[str, Any]:
    in_order = received == list(range(len(received)))
    return {"count": len(received), "in_order": in_order, **how_it_ended(socket)}


@require_websocket
def sync_backlog(request: Any, name: str) -> None:
    """Note how many messages are queued when the gate opens."""
    notes[f"{name}-begun"].append(True)
    pass_gate(name)
    notes[name].append(request.websocket.count_messages())


@require_websocket
async def async_backlog(request: Any, name: str) -> None:
    notes[f"{name}-begun"].append(True)
    await pass_gate_async(name)
    notes[name].append(request.websocket.count_messages())


def numbered(sender: int, number: int, size: int) -> bytes:
    return b"%d %d " % (sender, number) + b"x" * size


@require_websocket
def sync_flood(request: Any, name: str, senders: int, count: int, size: int) -> None:
    """Send numbered messages from several threads, then close."""
    socket = request.websocket

    def send(sender: int) -> None:
        try:
            for number in range(count):
                socket.send(numbered(sender, number, size))
            notes[name].append("sent all")
        except ConnectionClosed as error:
            notes[name].append(f"ConnectionClosed {error.code}")

    others = [threading.Thread(target=send, args=(sender,)) for sender in range(1, senders)]
    for thread in others:
        thread.start()
    send(0)
    for thread in others:
        thread.join()
    notes[f"{name}-ended"].append(how_it_ended(socket))


@require_websocket
async def async_flood(request: Any, name: str, senders: int, count: int, size: int) -> None:
    socket = request.websocket

    async def send(sender: int) -> None:
        try:
            for number in range(count):
                await socket.send(numbered(sender, number, size))
            notes[name].append("sent all")
        except ConnectionClosed as error:
            notes[name].append(f"ConnectionClosed {error.code}")

    await asyncio.gather(*map(send, range(senders)))
    notes[f"{name}-ended"].append(how_it_ended(socket))


@require_websocket
def sync_unread(request: Any, name: str) -> None:
    """Send without end from another thread, and wait in this one."""
    socket = request.websocket

    def send() -> None:
        try:
            while True:
                socket.send(b"x" * 100_000)
        except ConnectionClosed as error:
            notes[f"{name}-sender"].append(error.code)

    thread = threading.Thread(target=send)
    thread.start()
    socket.wait()
    notes[name].append(how_it_ended(socket))
    thread.join()


@require_websocket
async def async_unread(request: Any, name: str) -> None:
    socket = request.websocket

    async def send() -> None:
        try:
            while True:
                await socket.send(b"x" * 100_000)
        except ConnectionClosed as error:
            notes[f"{name}-sender"].append(error.code)

    task = asyncio.create_task(send())
    await socket.wait()
    notes[name].append(how_it_ended(socket))
    await task
