"""The WebSocket of ``async def`` tests: the blocking one's twin.

``AsyncWebSocketClient`` makes it. It has how a test waits; what for is in ``conversation``.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async

from .sharing import connections_to_share
from .socket_base import GRACE_SECONDS, QUIET_SECONDS, SocketBase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from types import TracebackType
    from typing import Self

    from .conversation import Message

ResultT = TypeVar("ResultT")


class AsyncClientWebSocket(SocketBase):
    """The twin of ``ClientWebSocket`` for ``async def`` tests: what waits is awaited.

    ``AsyncWebSocketClient.websocket()`` gives one, for ``async with``.
    """

    async def __aenter__(self) -> Self:
        """See ``ClientWebSocket.__enter__``."""
        # A test's transaction is in the thread where Django runs what is sync, and that is another
        # one than the event loop's.
        found = [*connections_to_share(), *await sync_to_async(connections_to_share)()]
        found.sort(key=lambda connection: not connection.in_atomic_block)
        conversation = self._prepare(found)
        try:
            await self._wait(conversation.open(self.timeout), self.timeout)
            self._keep_answer()
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """See ``ClientWebSocket.__exit__``."""
        try:
            fault = await self._wait(self._conversation.finish(self.timeout), self.timeout)
        except AssertionError as blocked:
            fault = str(blocked)
        self._conclude(fault, error)

    async def __aiter__(self) -> AsyncIterator[Message]:
        """See ``ClientWebSocket.__iter__``."""
        conversation = self._conversation
        while True:
            message = await self._wait(conversation.receive_or_end(self.timeout), self.timeout)
            if message is None:
                return
            yield message

    async def _wait(self, coroutine: Coroutine[Any, Any, ResultT], seconds: float) -> ResultT:
        """Wait for a coroutine on the event loop of the views, which takes so long at the most."""
        future = asyncio.wrap_future(self._background.run(coroutine))
        await asyncio.wait({future}, timeout=seconds + GRACE_SECONDS)
        if not future.done():
            raise self._fail_for_blocked_loop()
        return future.result()

    async def send(self, message: Message) -> None:
        """See ``ClientWebSocket.send``."""
        await self._wait(self._conversation.send(message), self.timeout)

    async def send_json(self, value: Any) -> None:
        """See ``ClientWebSocket.send_json``."""
        await self.send(self._encode_json(value))

    async def receive(self, timeout: float | None = None) -> Message:
        """See ``ClientWebSocket.receive``."""
        seconds = self._seconds(timeout)
        return await self._wait(self._conversation.receive(seconds), 2 * seconds)

    async def receive_json(self, timeout: float | None = None) -> Any:
        """See ``ClientWebSocket.receive_json``."""
        return json.loads(await self.receive(timeout))

    async def assert_nothing_received(self, timeout: float = QUIET_SECONDS) -> None:
        """See ``ClientWebSocket.assert_nothing_received``."""
        patience = self.timeout
        waiting = self._conversation.expect_nothing(timeout, patience)
        await self._wait(waiting, timeout + 2 * patience)

    async def settle(self, timeout: float | None = None) -> None:
        """See ``ClientWebSocket.settle``."""
        seconds = self._seconds(timeout)
        await self._wait(self._conversation.settle(seconds), 3 * seconds)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """See ``ClientWebSocket.close``."""
        conversation = self._conversation
        await self._wait(conversation.close(code, reason, self.timeout), self.timeout)

    async def assert_closed(
        self, code: int | None = None, reason: str | None = None, timeout: float | None = None
    ) -> None:
        """See ``ClientWebSocket.assert_closed``."""
        seconds = self._seconds(timeout)
        await self._wait(self._conversation.expect_closed(code, reason, seconds), 2 * seconds)

    async def drop(self) -> None:
        """See ``ClientWebSocket.drop``."""
        await self._wait(self._conversation.drop(), self.timeout)

    async def reset(self) -> None:
        """See ``ClientWebSocket.reset``."""
        await self._wait(self._conversation.reset(), self.timeout)

    async def half_close(self) -> None:
        """See ``ClientWebSocket.half_close``."""
        await self._wait(self._conversation.half_close(), self.timeout)

    async def stop_reading(self) -> None:
        """See ``ClientWebSocket.stop_reading``."""
        await self._wait(self._conversation.stop_reading(), self.timeout)

    async def resume_reading(self) -> None:
        """See ``ClientWebSocket.resume_reading``."""
        await self._wait(self._conversation.resume_reading(), self.timeout)

    async def send_raw(self, data: bytes) -> None:
        """See ``ClientWebSocket.send_raw``."""
        await self._wait(self._conversation.send_raw(data), self.timeout)

    async def send_invalid_frame(self) -> None:
        """See ``ClientWebSocket.send_invalid_frame``."""
        await self._wait(self._conversation.send_invalid_frame(), self.timeout)
