"""A channel on any ASGI server, by nothing but its ``receive`` and ``send``.

Our ASGI application uses it under stock uvicorn, hypercorn, daphne or granian, and wherever a
middleware listens in. One task receives; another exists only while something is being sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ..protocol.codes import CloseCode
from ..protocol.frames import check_close, encode_message
from .channel import Channel
from .tally import tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import TypeAlias

    from ..protocol.frames import Message
    from ..protocol.handshake import Headers
    from .limits import Limits
    from .tally import Closer

    AsgiEvent: TypeAlias = MutableMapping[str, Any]

logger = logging.getLogger("adwebsocket")

# Seconds in which a server that does not wait for the peer has sent a close frame.
_CLOSE_HEAD_START: Final = 1.0


class AsgiChannel(Channel):
    """One connection on a foreign ASGI server.

    Arguments:
        scope, receive, send: what the server called the application with.
        limits: the bounds. The server has read and joined a message before it is seen here, so
            ``max_message_size`` closes with 1009 but cannot spare the memory.
    """

    __slots__ = (
        "_can_refuse",
        "_close_error",
        "_close_sent",
        "_disconnected",
        "_outgoing",
        "_outgoing_size",
        "_receive",
        "_receiver",
        "_resumed",
        "_send",
        "_sender",
        "_taken",
    )

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[AsgiEvent]],
        send: Callable[[AsgiEvent], Awaitable[None]],
        limits: Limits,
    ) -> None:
        super().__init__(asyncio.get_running_loop(), limits)
        self._receive = receive
        self._send = send
        self._close_error: Exception | None = None
        self._close_sent = False
        self._disconnected = False
        self._can_refuse = "websocket.http.response" in (scope.get("extensions") or {})
        self._outgoing: deque[tuple[AsgiEvent, int]] = deque()
        self._outgoing_size = 0
        self._taken = 0
        self._sender: asyncio.Task[None] | None = None
        self._receiver: asyncio.Task[None] | None = None
        self._resumed = asyncio.Event()
        self._resumed.set()

    async def connect(self) -> None:
        """Receive the event that begins every connection, and go on receiving behind it."""
        event = await self._receive()
        if event["type"] == "websocket.connect":
            self._receiver = self.loop.create_task(self._receive_all())
        else:
            self._handle_disconnect(event)

    async def disconnect(self) -> None:
        """Send what is left, and end the tasks. The application calls it last, once."""
        if self._sender is not None:
            await asyncio.wait({self._sender}, timeout=self.limits.close_timeout)
        if self._close_sent and self._receiver is not None:
            # The disconnect event ends it.
            await asyncio.wait({self._receiver}, timeout=self.limits.close_timeout)
        tasks = {task for task in (self._sender, self._receiver) if task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._close_error is not None and not self._disconnected:
            # daphne sends no other codes than 1000 and 3000 to 4999 for an application, but 1011
            # for one that raises.
            raise self._close_error

    def accept(self, subprotocol: str | None = None, headers: Headers = ()) -> None:
        """Answer the handshake with 101."""
        self.check_unanswered()
        self.accepted = True
        self.subprotocol = subprotocol
        if not self.ended:
            tally.accepted += 1
            self.start_meter()
            event = {"type": "websocket.accept", "subprotocol": subprotocol}
            self._enqueue({**event, "headers": list(headers)}, 0)

    def refuse(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer the handshake with a response, or a bare 403 where the server knows no other."""
        self.check_unanswered()
        self.refused = True
        if self.ended:
            return
        tally.refusals.count(str(status if self._can_refuse else 403))
        if self._can_refuse:
            self._enqueue(
                {
                    "type": "websocket.http.response.start",
                    "status": status,
                    "headers": [(name.lower(), value) for name, value in headers],
                },
                0,
            )
            self._enqueue({"type": "websocket.http.response.body", "body": body}, len(body))
        else:
            self._enqueue({"type": "websocket.close"}, 0)
        self.end(CloseCode.ABNORMAL_CLOSURE, "")

    def prepare(self, message: Message) -> tuple[AsgiEvent, int]:
        """Check a message and wrap it as ASGI wants it. From any thread."""
        frame = encode_message(message)
        if isinstance(message, str):
            return {"type": "websocket.send", "text": message}, len(frame)
        return {"type": "websocket.send", "bytes": bytes(message)}, len(frame)

    def write(self, prepared: tuple[AsgiEvent, int]) -> None:
        """Queue a message for the server, unless the connection is over."""
        if not self.ended:
            event, size = prepared
            tally.messages_out += 1.0
            tally.bytes_out += size
            # A copy: members of a group share what was prepared, and middleware may change events.
            self._enqueue({**event}, size)

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Ask the server for the closing handshake."""
        if not self.ended and self.accepted:
            check_close(code, reason)
            self._enqueue({"type": "websocket.close", "code": int(code), "reason": reason}, 0)
            self.end(code, reason)

    def pause_reading(self) -> None:
        """Stop taking messages from the server, which then pauses by its own means."""
        self._resumed.clear()
        if self.meter is not None:
            self.meter.pause()

    def resume_reading(self) -> None:
        """Take messages again, if the inbox has room."""
        if self.inbox.resume_if_low():
            self._resumed.set()
            if self.meter is not None:
                self.meter.resume()

    def measure_progress(self) -> int:
        """Count the events that the server has taken; within one of them nothing can be seen."""
        return self._taken

    def count_unsent(self) -> int:
        """Give the bytes that the ASGI server has not taken."""
        return self._outgoing_size

    async def _receive_all(self) -> None:
        while True:
            await self._resumed.wait()
            try:
                event = await self._receive()
            except Exception:
                logger.exception("the ASGI server's receive() failed")
                self.end(CloseCode.ABNORMAL_CLOSURE, "", "nobody")
                return
            if event["type"] == "websocket.disconnect":
                self._handle_disconnect(event)
                return
            message = event.get("text")
            if message is None:
                message = event.get("bytes")
            if message is None:
                continue
            size = _size_of(message)
            tally.messages_in += 1.0
            tally.bytes_in += size
            if size > self.limits.max_message_size:
                self.close(
                    CloseCode.MESSAGE_TOO_BIG,
                    f"a message may have {self.limits.max_message_size} bytes",
                )
            if self.meter is not None and not self.meter.admit(1):
                self.close(CloseCode.POLICY_VIOLATION, self.meter.reason)
            self.inbox.put(message)

    def _handle_disconnect(self, event: AsgiEvent) -> None:
        self._disconnected = True
        code = event.get("code")
        self._outgoing.clear()
        if code is None:
            code = CloseCode.NO_STATUS_RECEIVED
        closer: Closer = "nobody" if code == CloseCode.ABNORMAL_CLOSURE else "client"
        self.end(code, event.get("reason") or "", closer)

    def _enqueue(self, event: AsgiEvent, size: int) -> None:
        self._outgoing.append((event, size))
        self._outgoing_size += size
        if self._outgoing_size > self.limits.outbox_bytes:
            self.set_writable(False)
        if self._sender is None:
            self._sender = self.loop.create_task(self._send_all())

    async def _send_close(self, event: AsgiEvent) -> None:
        """Send the close event, and go on receiving for the server's sake.

        granian sends no close frame while a ``receive()`` is pending, so that one is given up
        first. hypercorn and uvicorn's older class cannot read the peer's close frame behind
        messages that nobody receives, so these are received, though nobody wants them any more;
        the older class waits for that frame inside ``send()``, hence the time limit.
        """
        assert self._receiver is not None
        self._receiver.cancel()
        await asyncio.wait({self._receiver})
        sending = self.loop.create_task(self._send_event(event))
        try:
            await asyncio.wait({sending}, timeout=_CLOSE_HEAD_START)
            self._resumed.set()
            self._receiver = self.loop.create_task(self._receive_all())
            await sending
            self._close_sent = True
        except OSError:  # the peer has gone (ASGI specification 2.4)
            raise
        except Exception as error:
            self._close_error = error
            raise
        finally:
            sending.cancel()

    async def _send_event(self, event: AsgiEvent) -> None:
        await self._send(event)

    async def _send_all(self) -> None:
        try:
            while self._outgoing:
                event, size = self._outgoing.popleft()
                if event["type"] == "websocket.close" and self.accepted:
                    await self._send_close(event)
                else:
                    await self._send(event)
                self._outgoing_size -= size
                self._taken += 1
        except Exception as error:
            # ASGI servers say that the peer has gone by an exception of their own choice. What
            # else may be wrong must not be hidden, but is of no use to the view.
            logger.debug("the ASGI server did not send: %r", error)
            self._outgoing.clear()
            self.end(CloseCode.ABNORMAL_CLOSURE, "", "nobody")
        finally:
            self._sender = None
            self._outgoing_size = 0
            self.set_writable(True)


def _size_of(message: str | bytes) -> int:
    """Give the size of a message on the wire, where the limit is counted."""
    if isinstance(message, str) and not message.isascii():
        return len(message.encode())
    return len(message)
