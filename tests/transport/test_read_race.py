"""Polling while the end comes: whichever instruction it interrupts, the end is seen as one None."""

from __future__ import annotations

import asyncio

from interleaving import interruptions
from memory_channel import MemoryChannel

from adwebsocket import ConnectionClosed, WebSocket
from adwebsocket.transport.bridge import LoopBridge


def test_end_that_comes_while_nothing_is_queued_is_reported_before_it_raises() -> None:
    loop = asyncio.new_event_loop()
    for interruption in interruptions():
        channel = MemoryChannel(loop)
        socket = WebSocket(channel, LoopBridge(loop))
        seen: list[object] = []

        def read(socket: WebSocket = socket, seen: list[object] = seen) -> None:
            try:
                seen.append(socket.read("nothing"))
            except ConnectionClosed:
                seen.append("closed")

        interruption.run(read, channel.inbox.finish)
        read()
        read()

        assert next(case for case in seen if case != "nothing") is None
    loop.close()
