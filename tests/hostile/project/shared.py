"""Views with more than one thread or task on their socket."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

from adwebsocket import ConnectionClosed, require_websocket

from .inspection import how_it_ended, notes, pass_gate, pass_gate_async


@require_websocket
def sync_bystander(request: Any, name: str) -> None:
    """Wait in a second thread, and leave the socket alone until that has ended."""
    socket = request.websocket

    def wait() -> None:
        notes[f"{name}-begun"].append(True)
        notes[name].append(socket.wait())

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(60)
    notes[name].append(how_it_ended(socket)["code"])
    try:
        socket.send("too late")
    except ConnectionClosed as error:
        notes[name].append(f"ConnectionClosed {error.code}")


@require_websocket
async def async_bystander(request: Any, name: str) -> None:
    socket = request.websocket

    async def wait() -> None:
        notes[f"{name}-begun"].append(True)
        notes[name].append(await socket.wait())

    async with asyncio.timeout(60):
        await asyncio.create_task(wait())
    notes[name].append(how_it_ended(socket)["code"])
    try:
        await socket.send("too late")
    except ConnectionClosed as error:
        notes[name].append(f"ConnectionClosed {error.code}")


@require_websocket
def sync_closed_by_another(request: Any, name: str) -> None:
    """Wait in this thread while another one closes."""
    socket = request.websocket

    def close() -> None:
        pass_gate(name)
        socket.close(4001, "another thread")

    thread = threading.Thread(target=close)
    thread.start()
    notes[f"{name}-begun"].append(True)
    notes[name].append(socket.wait())
    thread.join()
    notes[name].append(how_it_ended(socket))


@require_websocket
async def async_closed_by_another(request: Any, name: str) -> None:
    socket = request.websocket

    async def close() -> None:
        await pass_gate_async(name)
        await socket.close(4001, "another task")

    task = asyncio.create_task(close())
    notes[f"{name}-begun"].append(True)
    notes[name].append(await socket.wait())
    await task
    notes[name].append(how_it_ended(socket))


@require_websocket
def sync_last_words(request: Any) -> None:
    """Close behind the own last message, while another thread sends as well."""
    socket = request.websocket

    def chatter() -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                socket.send("chatter")

    thread = threading.Thread(target=chatter)
    thread.start()
    socket.send("last words")
    socket.close(4000)
    thread.join()


@require_websocket
async def async_last_words(request: Any) -> None:
    socket = request.websocket

    async def chatter() -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.send("chatter")
                await asyncio.sleep(0)

    task = asyncio.create_task(chatter())
    await socket.send("last words")
    await socket.close(4000)
    await task


@require_websocket
def sync_shared(request: Any, name: str) -> None:
    """Let several threads wait, and several that come from elsewhere close."""
    socket = request.websocket

    def wait() -> None:
        notes[f"{name}-begun"].append(True)
        try:
            while True:
                notes[name].append(socket.wait())
        except ConnectionClosed as error:
            notes[name].append(f"ConnectionClosed {error.code}")

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@require_websocket
async def async_shared(request: Any, name: str) -> None:
    socket = request.websocket

    async def wait() -> None:
        notes[f"{name}-begun"].append(True)
        try:
            while True:
                notes[name].append(await socket.wait())
        except ConnectionClosed as error:
            notes[name].append(f"ConnectionClosed {error.code}")

    await asyncio.gather(*(wait() for _ in range(8)))


@require_websocket
def sync_on_loop(request: Any, name: str) -> None:
    """Use the blocking socket where it must not be used: on the event loop."""
    socket = request.websocket

    async def wait() -> str:
        try:
            socket.wait()
        except RuntimeError as error:
            return str(error)
        return "waited"

    loop = request.channel.loop
    notes[name].append(asyncio.run_coroutine_threadsafe(wait(), loop).result(60))
    socket.send("done")
    socket.wait()
