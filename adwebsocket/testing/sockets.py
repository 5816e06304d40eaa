"""The blocking WebSocket of tests.

``WebSocketClient`` makes it. It has how a test waits; what for is in ``conversation``.
"""

from __future__ import annotations

import concurrent.futures
import json
from typing import TYPE_CHECKING, Any, TypeVar

from .sharing import connections_to_share
from .socket_base import GRACE_SECONDS, QUIET_SECONDS, SocketBase

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import TracebackType
    from typing import Self

    from .conversation import Message

ResultT = TypeVar("ResultT")


class ClientWebSocket(SocketBase):
    """A WebSocket to a view of the project, for tests that block while they wait.

    ``WebSocketClient.websocket()`` gives one. The handshake is made on entering its ``with`` block;
    on leaving it the socket is closed, and the view has a finite time to end.
    """

    def __enter__(self) -> Self:
        """Make the handshake, and wait for its answer; a refusal raises nothing yet.

        Raises:
            AssertionError: there was no answer.
            Exception: what the view has raised before it accepted.
        """
        conversation = self._prepare(connections_to_share())
        try:
            self._wait(conversation.open(self.timeout), self.timeout)
            self._keep_answer()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Close the socket, and wait for the end of the view.

        Raises:
            AssertionError: the view goes on; the text says where it stands.
            Exception: what the view has raised.
        """
        try:
            fault = self._wait(self._conversation.finish(self.timeout), self.timeout)
        except AssertionError as blocked:
            fault = str(blocked)
        self._conclude(fault, error)

    def __iter__(self) -> Iterator[Message]:
        """Give the messages as they come, until the server closes the socket."""
        conversation = self._conversation
        while True:
            message = self._wait(conversation.receive_or_end(self.timeout), self.timeout)
            if message is None:
                return
            yield message

    def _wait(self, coroutine: Coroutine[Any, Any, ResultT], seconds: float) -> ResultT:
        """Wait for a coroutine on the event loop of the views, which takes so long at the most."""
        future = self._background.run(coroutine)
        concurrent.futures.wait([future], seconds + GRACE_SECONDS)
        if not future.done():
            raise self._fail_for_blocked_loop()
        return future.result()

    def send(self, message: Message) -> None:
        """Send a message, ``str`` as text and ``bytes`` as binary.

        Raises:
            AssertionError: the handshake was refused, or the socket is closed.
        """
        self._wait(self._conversation.send(message), self.timeout)

    def send_json(self, value: Any) -> None:
        """Send a value as JSON text."""
        self.send(self._encode_json(value))

    def receive(self, timeout: float | None = None) -> Message:
        """Wait for the next message.

        Arguments:
            timeout: seconds, in place of the client's.

        Returns:
            ``str`` for a text message, ``bytes`` for a binary one.

        Raises:
            AssertionError: none came, and the text says where the view stands; or the socket was
                closed, or the handshake refused.
            Exception: what the view has raised, if that is why none came.
        """
        seconds = self._seconds(timeout)
        return self._wait(self._conversation.receive(seconds), 2 * seconds)

    def receive_json(self, timeout: float | None = None) -> Any:
        """Wait for the next message and decode it as JSON; see ``receive`` for what it raises."""
        return json.loads(self.receive(timeout))

    def assert_nothing_received(self, timeout: float = QUIET_SECONDS) -> None:
        """Fail if a message has come that nobody has received, or comes now.

        No time is spent on a view that waits for a message: when it has dealt with all that was
        sent, everything that it has to say is there.

        Arguments:
            timeout: seconds for which a view is watched that does something else.

        Raises:
            AssertionError: there is a message; the text shows it.
        """
        patience = self.timeout
        self._wait(self._conversation.expect_nothing(timeout, patience), timeout + 2 * patience)

    def settle(self, timeout: float | None = None) -> None:
        """Wait until the view has dealt with what was sent, and waits for more or has ended.

        For views that do not answer: what they have written to the database is there then.

        Raises:
            AssertionError: it does something else for as long as that; the text says where.
            Exception: what the view has raised.
        """
        seconds = self._seconds(timeout)
        self._wait(self._conversation.settle(seconds), 3 * seconds)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket as the client, and wait for the server's answer.

        Leaving the block does so, too, and waits for the end of the view as well.

        Raises:
            AssertionError: the server does not answer, or the handshake was refused.
        """
        conversation = self._conversation
        self._wait(conversation.close(code, reason, self.timeout), self.timeout)

    def assert_closed(
        self, code: int | None = None, reason: str | None = None, timeout: float | None = None
    ) -> None:
        """Wait until the socket is closed, and check how; messages may be left unread.

        Arguments:
            code: the code that is expected, None for any. 1005 where the server gave none, 1006
                where the connection was lost.
            reason: the reason that is expected, None for any.
            timeout: seconds, in place of the client's.

        Raises:
            AssertionError: it is not closed, or in another way.
            Exception: what the view has raised, if it is closed in another way.
        """
        seconds = self._seconds(timeout)
        self._wait(self._conversation.expect_closed(code, reason, seconds), 2 * seconds)

    def drop(self) -> None:
        """Lose the connection: the byte stream ends without a close frame."""
        self._wait(self._conversation.drop(), self.timeout)

    def reset(self) -> None:
        """Lose the connection the hard way: the system resets it (RST), as after a crash."""
        self._wait(self._conversation.reset(), self.timeout)

    def half_close(self) -> None:
        """End the client's half of the byte stream, and go on reading."""
        self._wait(self._conversation.half_close(), self.timeout)

    def stop_reading(self) -> None:
        """Take nothing any more: behind some hundred kilobytes the view's ``send()`` waits."""
        self._wait(self._conversation.stop_reading(), self.timeout)

    def resume_reading(self) -> None:
        """Take again what the server sends."""
        self._wait(self._conversation.resume_reading(), self.timeout)

    def send_raw(self, data: bytes) -> None:
        """Send bytes in place of a frame, whatever they mean."""
        self._wait(self._conversation.send_raw(data), self.timeout)

    def send_invalid_frame(self) -> None:
        """Send a frame that RFC 6455 forbids; the server closes with 1002."""
        self._wait(self._conversation.send_invalid_frame(), self.timeout)
