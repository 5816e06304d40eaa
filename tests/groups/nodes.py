"""Nodes: event loops in threads of their own, each with a hub, as server processes have them.

The contract of back-ends runs on a few of them in one process, so that a test can look at all.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

from adwebsocket.groups.hub import Hub
from tests.connections import DEADLINE, RecordingChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from adwebsocket.groups import Backend, Joined


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Wait for something that happens elsewhere; fail with ``what`` if it does not."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {DEADLINE:g} s: {what}"
        time.sleep(0.002)


class Node:
    """An event loop with a hub.

    Arguments:
        backend: what connects it with other nodes.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.closed_users: list[Any] = []
        self.hub: Hub = self.run(self._make_hub())

    async def _make_hub(self) -> Hub:
        hub = Hub(self.backend, self.closed_users.append)
        hub.start()
        return hub

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the node's loop, and give its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE)

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a function on the node's loop, and give its result."""

        async def run() -> Any:
            return function()

        return self.run(run())

    def join(self, group: str, **options: Any) -> Member:
        """Let a new connection join a group."""
        member = Member(self)
        member.join(group, **options)
        return member

    def stop(self) -> None:
        """Stop the hub and the loop."""
        self.run(self.hub.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        self.loop.close()


class Member:
    """A connection on a node, and what it was sent.

    Attributes:
        joined: what the last ``join`` gave.
    """

    joined: Joined

    def __init__(self, node: Node) -> None:
        self.node = node
        self.channel = RecordingChannel(node.loop)
        node.call(self.channel.accept)

    def join(self, group: str, **options: Any) -> None:
        """Join a group."""
        self.joined = self.node.run(self.node.hub.join(self.channel, group, **options))

    def leave(self, group: str) -> None:
        """Leave a group."""
        self.node.run(self.node.hub.leave(self.channel, group))

    def set_writable(self, writable: bool) -> None:
        """Let the peer be slow, or not."""
        self.node.call(lambda: self.channel.set_writable(writable))

    def disconnect(self) -> None:
        """Let the peer go away."""
        self.node.call(lambda: self.channel.end(1006, ""))

    def address_in(self, group: str) -> str:
        """Name the member of a group to all processes."""
        assert self.channel.memberships is not None
        return self.channel.memberships[group].address

    @property
    def received(self) -> list[str | bytes]:
        """What was sent to it so far."""
        return list(self.channel.written)

    def has_received(self, *messages: str | bytes) -> None:
        """Wait until it has received so many messages; fail if they are others."""
        wait_until(lambda: len(self.channel.written) >= len(messages), f"{len(messages)} messages")
        assert self.received == list(messages)
