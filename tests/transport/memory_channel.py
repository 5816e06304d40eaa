"""A channel without a connection: what the seam asks for, and a record of what it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adwebsocket.protocol.frames import encode_message
from adwebsocket.transport.channel import Channel
from adwebsocket.transport.limits import Limits

if TYPE_CHECKING:
    import asyncio

    from adwebsocket.protocol.frames import Message
    from adwebsocket.protocol.handshake import Headers


class MemoryChannel(Channel):
    """Keep in lists what a real channel sends.

    Attributes:
        written: what ``write`` got while the channel was open.
        answers: how the handshake was answered.
        pauses, resumes: how often reading was paused, and went on.
    """

    __slots__ = ("answers", "pauses", "resumes", "written")

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits | None = None) -> None:
        self.written: list[Any] = []
        self.answers: list[tuple[Any, ...]] = []
        self.pauses = 0
        self.resumes = 0
        super().__init__(loop, limits or Limits())

    def accept(self, subprotocol: str | None = None, headers: Headers = ()) -> None:
        self.accepted = True
        self.subprotocol = subprotocol
        self.answers.append(("accept", subprotocol, list(headers)))

    def refuse(self, status: int, headers: Headers, body: bytes) -> None:
        self.refused = True
        self.answers.append(("refuse", status, list(headers), body))
        self.end(1006, "")

    def prepare(self, message: Message) -> bytes:
        return encode_message(message)

    def write(self, prepared: Any) -> None:
        if not self.ended:
            self.written.append(prepared)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.end(code, reason)

    def measure_progress(self) -> int:
        return 0

    def pause_reading(self) -> None:
        assert self.pauses == self.resumes, "paused twice"
        self.pauses += 1

    def resume_reading(self) -> None:
        if self.inbox.resume_if_low():
            self.resumes += 1
            assert self.pauses == self.resumes, "resumed twice"

    @property
    def reading(self) -> bool:
        return self.pauses == self.resumes
