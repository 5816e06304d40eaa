"""What a test does with its socket, as coroutines on the event loop of all tests.

Both sockets, the blocking one and the async one, run these and wait for their results; so what they
do and how they fail is written once. All waits have an end.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from uvicorn.server import ServerState

from .application import RECORD, ViewRecord
from .peer import Peer, connected_sockets

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from uvicorn.config import Config

    from .handshake import Handshake

    Message: TypeAlias = str | bytes

# Seconds between two looks at what tells nobody when it changes.
_POLL_SECONDS: Final = 0.002
# Seconds for a view that was cancelled to end.
CANCEL_SECONDS: Final = 0.5
# Parts of messages that failures show.
_MOST_SHOWN: Final = 500
_INVALID_FRAME: Final = bytes((0x83, 0x80, 0, 0, 0, 0))  # the reserved opcode 3


class Conversation:
    """One connection between a test and a view.

    Arguments:
        config: the server's configuration, with the application in it.
        handshake: what to begin with.
        raises: whether what the view raises is raised here too.

    Attributes:
        peer: the client's end.
        record: what becomes of the view.
        raised: the view's exception has been raised.
    """

    def __init__(self, config: Config, handshake: Handshake, raises: bool) -> None:
        self._config = config
        self._handshake = handshake
        self._raises = raises
        self._server = ServerState()
        self._change = asyncio.Event()
        self.record = ViewRecord(handshake.scope, self._notify)
        self.peer = Peer(handshake.uri, handshake.headers, handshake.subprotocols, self._notify)
        self.raised = False

    def _notify(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    async def _until(
        self, condition: Callable[[], bool], seconds: float, poll: bool = False
    ) -> bool:
        """Wait until something is so; tell whether it is."""
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                return False
            pause = min(left, _POLL_SECONDS) if poll else left
            waiter = asyncio.ensure_future(self._change.wait())
            await asyncio.wait({waiter}, timeout=pause)
            waiter.cancel()
        return True

    # The handshake

    async def open(self, seconds: float) -> None:
        """Connect, and wait for the answer to the handshake."""
        client_end, server_end = connected_sockets()
        loop = asyncio.get_running_loop()
        protocol_class = self._config.http_protocol_class
        try:
            await loop.connect_accepted_socket(
                lambda: protocol_class(  # type: ignore[call-arg]
                    config=self._config, server_state=self._server, app_state={RECORD: self.record}
                ),
                server_end,
            )
        except BaseException:
            client_end.close()
            server_end.close()
            raise
        await self.peer.connect(client_end)
        peer = self.peer
        if not await self._until(lambda: peer.response is not None or peer.lost, seconds):
            raise AssertionError(
                f"the handshake was not answered within {seconds:g} seconds; {self.whereabouts()}"
            )
        if peer.fault is not None or peer.response is None:
            raise AssertionError(f"the answer to the handshake is none: {peer.fault}")
        if peer.response.status_code == 500:
            await self._raise_what_the_view_raised(seconds)

    def check_accepted(self) -> None:
        """Fail if there is no WebSocket because the handshake was refused."""
        answer = self.peer.response
        if answer is None:
            raise AssertionError("the socket is not open: use it in its with block")
        if answer.status_code != 101:
            body = bytes(answer.body or b"").decode(errors="replace").strip()
            shown = f": {body[:_MOST_SHOWN]}" if body else ""
            raise AssertionError(
                f"the handshake with {self._handshake.path} was refused with {answer.status_code} "
                f"{answer.reason_phrase}{shown}"
            )

    # Messages

    async def send(self, message: Message) -> None:
        """Send a message."""
        self.check_accepted()
        if not self.peer.is_open:
            raise AssertionError(f"nothing can be sent: {self._how_it_ended()}")
        self.peer.send(message)

    async def receive(self, seconds: float) -> Message:
        """Wait for the next message, and fail if none comes."""
        message = await self.receive_or_end(seconds)
        if message is None:
            await self._raise_what_the_view_raised(seconds)
            raise AssertionError(f"no message came: {self._how_it_ended()}")
        return message

    async def receive_or_end(self, seconds: float) -> Message | None:
        """Wait for the next message; None if the socket was closed in order."""
        self.check_accepted()
        peer = self.peer
        if not await self._until(lambda: bool(peer.messages) or peer.is_over, seconds):
            raise AssertionError(
                f"no message came within {seconds:g} seconds; {self.whereabouts()}"
            )
        if peer.messages:
            return peer.messages.popleft()
        if peer.close_code not in (1000, 1001):
            await self._raise_what_the_view_raised(seconds)
        return None

    async def settle(self, seconds: float) -> None:
        """Wait until the view has dealt with what was sent, and waits for more or has ended."""
        self.check_accepted()
        if not await self._is_settled(self.record.is_idle, seconds, seconds):
            raise AssertionError(
                f"the view did not come to wait for a message within {seconds:g} seconds; "
                f"{self.whereabouts()}"
            )
        await self._raise_what_the_view_raised(0)

    async def expect_nothing(self, seconds: float, patience: float) -> None:
        """Fail if a message comes before the view waits for one, or within ``seconds``.

        Arguments:
            seconds: how long the view may do something else.
            patience: how long the connection may take, as often as it is asked.
        """
        self.check_accepted()
        peer, record = self.peer, self.record
        await self._is_settled(lambda: bool(peer.messages) or record.is_idle(), seconds, patience)
        if peer.messages:
            raise AssertionError(f"expected no message, but this came: {self._unread()}")

    async def _is_settled(
        self, condition: Callable[[], bool], seconds: float, patience: float
    ) -> bool:
        # A first pong says that the server has read what was sent, and a second one brings
        # everything with it that the view has sent before it waited.
        return (
            await self._ping(patience)
            and await self._until(lambda: condition() or self.peer.is_over, seconds, poll=True)
            and await self._ping(patience)
        )

    async def _ping(self, seconds: float) -> bool:
        peer = self.peer
        wanted = peer.pongs + 1
        if peer.is_open:
            peer.ping()
        return await self._until(
            lambda: peer.pongs >= wanted or peer.is_over or not peer.is_open, seconds
        )

    # The end

    async def close(self, code: int, reason: str, seconds: float) -> None:
        """Close, and wait for the server's close frame and the end of the connection."""
        self.check_accepted()
        self.peer.close(code, reason)
        if not await self._until(lambda: self.peer.is_over, seconds):
            raise AssertionError(
                f"the server did not answer the close frame within {seconds:g} seconds; "
                f"{self.whereabouts()}"
            )

    async def expect_closed(self, code: int | None, reason: str | None, seconds: float) -> None:
        """Wait until the socket is closed, and fail if it is not, or in another way."""
        self.check_accepted()
        peer = self.peer
        if not await self._until(lambda: peer.is_over, seconds):
            unread = f"; unread: {self._unread()}" if peer.messages else ""
            raise AssertionError(
                f"the socket was not closed within {seconds:g} seconds; "
                f"{self.whereabouts()}{unread}"
            )
        if code not in (None, peer.close_code) or reason not in (None, peer.close_reason):
            await self._raise_what_the_view_raised(seconds)
            expected = " ".join(str(part) for part in (code, reason) if part is not None)
            raise AssertionError(f"expected a close with {expected}, but {self._how_it_ended()}")

    async def finish(self, seconds: float) -> str:
        """End the connection and wait for the end of the view, in any state and in finite time.

        Returns:
            What has gone wrong, empty if nothing has.
        """
        peer, record = self.peer, self.record
        peer.resume_reading()
        peer.close(1000, "")

        def is_over() -> bool:
            return not (peer.is_connected or self._server.connections or self._server.tasks)

        if await self._until(is_over, seconds, poll=True):
            return ""
        if record.ended or not record.begun:
            fault = f"the connection did not end within {seconds:g} seconds"
        else:
            fault = (
                f"the view still runs {seconds:g} seconds after its socket was closed; "
                f"{self.whereabouts()}"
            )
        peer.reset()
        record.cancel()
        await self._until(is_over, CANCEL_SECONDS, poll=True)
        return fault

    # Faults

    async def drop(self) -> None:
        """Lose the connection without a close frame."""
        self.peer.drop()

    async def reset(self) -> None:
        """Let the system reset the connection."""
        self.peer.reset()

    async def half_close(self) -> None:
        """End the client's half of the byte stream."""
        self.peer.end_writing()

    async def stop_reading(self) -> None:
        """Take nothing any more."""
        self.peer.pause_reading()

    async def resume_reading(self) -> None:
        """Take again what comes."""
        self.peer.resume_reading()

    async def send_raw(self, data: bytes) -> None:
        """Send any bytes."""
        self.check_accepted()
        self.peer.send_raw(data)

    async def send_invalid_frame(self) -> None:
        """Send a frame that RFC 6455 forbids."""
        await self.send_raw(_INVALID_FRAME)

    # What failures say

    async def _raise_what_the_view_raised(self, seconds: float) -> None:
        """Raise the view's exception if it has one; it is known when the view has ended."""
        if not self._raises or self.raised:
            return
        await self._until(lambda: self.record.ended or not self.record.begun, seconds)
        if self.record.error is not None:
            self.raised = True
            raise self.record.error

    def unraised_error(self) -> BaseException | None:
        """Give the view's exception, if the test is to hear of it and has not yet."""
        return self.record.error if self._raises and not self.raised else None

    def whereabouts(self) -> str:
        """Say what the view is doing."""
        if not self.record.begun:
            return f"the view of {self._handshake.path} was not called"
        if self.record.ended:
            return f"the view of {self._handshake.path} has ended"
        place = self.record.place() or "a place that is not known"
        return f"the view of {self._handshake.path} is at {place}"

    def _how_it_ended(self) -> str:
        peer = self.peer
        if peer.fault is not None:
            return f"the server broke the protocol: {peer.fault}"
        if not peer.is_over:
            return "the socket is being closed"
        reason = f" {peer.close_reason!r}" if peer.close_reason else ""
        return f"the socket was closed with {peer.close_code}{reason}"

    def _unread(self) -> str:
        return ", ".join(map(repr, self.peer.messages))[:_MOST_SHOWN]
