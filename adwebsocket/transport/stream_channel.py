"""A channel on a byte stream: the asyncio driver of the sans-I/O connection.

Whatever hands over a transport derives from it and does the handshake; the class for uvicorn does.
From the 101 to the last byte everything that happens on the stream is here.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, cast

from ..protocol.codes import CloseCode
from ..protocol.connection import Connection
from ..protocol.events import Close, Pong
from ..protocol.frames import encode_message, encode_parts
from ..protocol.state import State
from .bridge import get_bridge
from .channel import Channel
from .keepalive import NO_KEEPALIVE, get_keepalive
from .kernel import count_unsent, measure_progress
from .pings import PingQueue
from .tally import tally

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from ..protocol.connection import Prepared
    from ..protocol.events import Event
    from ..protocol.frames import Message
    from .bridge import LoopBridge
    from .keepalive import Keepalive, NoKeepalive
    from .limits import Limits
    from .pings import Ping
    from .rate import RateMeter
    from .tally import Closer

_CONNECTING: Final = State.CONNECTING
_OPEN: Final = State.OPEN

# Seconds that a view has, after the peer broke the protocol, for the messages that came before; and
# that the peer has, where the byte stream has no halves, to read our close frame.
_GRACE: Final = 1.0


class StreamChannel(asyncio.Protocol, Channel):
    """One WebSocket on one transport.

    Arguments:
        loop: the event loop of the transport.
        limits: its bounds, until ``configure`` sets others.
    """

    # No instance dictionary: an idle connection costs memory for as long as it lasts.
    __slots__ = (
        "_close_timer",
        "_connection",
        "_failure",
        "_is_finishing",
        "_keepalive",
        "_pings",
        "_progress",
        "_transport",
        "heard_at",
        "keepalive_slot",
        "pinged_at",
        "prepare",
    )
    can_ping: ClassVar[bool] = True
    # A message goes straight to what encodes it: a method in between would cost 1 % of an echo.
    prepare: Callable[[Message], Prepared]

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        Channel.__init__(self, loop, limits)
        self._connection = Connection(limits)
        self._transport: asyncio.Transport
        # asyncio's own transports join parts before Python 3.12, and from then on forget the water
        # mark over them, up to 3.12.8 and 3.13.1 (gh-127655). So they are given whole frames.
        is_asyncio = isinstance(loop, asyncio.BaseEventLoop)
        self.prepare = encode_message if is_asyncio else encode_parts
        self._close_timer: asyncio.TimerHandle | None = None
        self._failure: Close | None = None  # while its close frame is held back
        self._is_finishing = False
        self._pings: PingQueue | None = None
        self._keepalive: Keepalive | NoKeepalive = NO_KEEPALIVE
        self._progress = 0
        self.heard_at = 0
        self.pinged_at: int | None = None
        self.keepalive_slot = 0

    @property
    def form(self) -> Hashable:
        """Give what is equal for channels that encode a message alike."""
        deflate = self._connection.deflate
        return self.prepare if deflate is None else deflate.form

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read frames; before them, what belongs to the handshake."""
        connection = self._connection
        if connection.state is _CONNECTING:
            self.receive_early(data)
            return
        self.heard_at = self._keepalive.now
        put = self.inbox.put
        tally.bytes_in += len(data)
        events = connection.receive_data(data)
        if self.meter is not None:
            events = self._hold_to_rate(events, self.meter)
        for event in events:
            # Asked by isinstance(), it would take 37 ns instead of 7, and that is what it costs to
            # count a message.
            if type(event) is str or type(event) is bytes:
                put(event)
                tally.messages_in += 1.0
            elif isinstance(event, Close):
                self._receive_close(event)
            elif isinstance(event, Pong) and self._pings is not None:
                self._pings.answer(event.payload)
        if connection.output and self._failure is None:
            self._write_output()
        if connection.state is not _OPEN and connection.is_over() and self._failure is None:
            self._finish_transport()

    def _hold_to_rate(self, events: list[Event], meter: RateMeter) -> list[Event]:
        """Give the events within the peer's rate; behind them, the end.

        Pings and pongs count as messages do. A close frame that came in the same read stands.
        """
        admitted = meter.admit(len(events))
        if admitted == len(events):
            return events
        if self._connection.is_over():
            end = events[-1]
        else:
            end = self._connection.fail(CloseCode.POLICY_VIOLATION, meter.reason)
        return [*events[:admitted], end]

    @abstractmethod
    def receive_early(self, data: bytes) -> None:
        """Read what comes before the handshake is answered."""

    def eof_received(self) -> None:
        """Let the transport close behind its last bytes: half a connection is of no use here."""
        self._finish_failure()
        self._connection.receive_eof()
        self.end(CloseCode.ABNORMAL_CLOSURE, "", "nobody")
        self._start_close_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        self._stop_close_timer()
        self._connection.receive_eof()
        self.end(CloseCode.ABNORMAL_CLOSURE, "", "nobody")
        self.set_writable(True)

    def pause_writing(self) -> None:
        """Make senders wait: the peer is slower than we are. If it takes nothing, it is cut."""
        self.set_writable(False)

    def resume_writing(self) -> None:
        """Let senders go on, and pongs that had to wait."""
        self.set_writable(True)
        self.heard_at = self._keepalive.now
        if self._connection.output and self._failure is None:
            self._write_due()
            if not self.inbox.paused and not self._transport.is_closing():
                self._resume_transport()

    # What the facades call

    def open_stream(self) -> None:
        """Begin with frames: the 101 has been written."""
        self._connection.accept()
        self._connection.set_limits(self.limits)
        self._transport.set_write_buffer_limits(self.limits.outbox_bytes)
        self._keepalive = get_keepalive(self.loop, self.limits)
        self._keepalive.add(self)
        self.start_meter()

    def write(self, prepared: Prepared) -> None:
        """Write a frame, unless the connection is over."""
        if self._connection.state is _OPEN or self._failure is not None:
            if self._transport.is_closing():
                # After a failed write the transport drops the rest in silence, and only a sender
                # that waits lets the loop come to connection_lost().
                self.set_writable(False)
                return
            if type(prepared) is bytes:
                tally.bytes_out += len(prepared)
                self._transport.write(prepared)
            elif isinstance(prepared, list):
                tally.bytes_out += sum(map(len, prepared))
                self._transport.writelines(prepared)
            else:
                assert isinstance(prepared, tuple)
                frame = self._connection.finish(prepared)
                tally.bytes_out += len(frame)
                self._transport.write(frame)
            tally.messages_out += 1.0

    def ping(self, ping: Ping) -> None:
        """Send a ping, and finish it when its pong comes or the connection is over."""
        if self._connection.state is not _OPEN:
            if self._failure is not None:
                self.close_code, self.close_reason = self._failure
            ping.wake(None)
            return
        if self._pings is None:
            self._pings = PingQueue()
        self._pings.append(ping)
        self._send_ping(ping.payload)

    def withdraw_ping(self, ping: Ping) -> None:
        """Forget a ping that nobody waits for any more. From any thread."""
        if self._pings is not None:
            self._pings.withdraw(ping)

    def _send_ping(self, payload: bytes = b"") -> None:
        if self.meter is not None:
            self.meter.allow(1)
        self._connection.send_ping(payload)
        self._write_due()

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Begin the closing handshake; the peer has ``limits.close_timeout`` to answer."""
        if self._connection.state is not _OPEN:
            self._finish_failure()
            return
        self._connection.send_close(code, reason)
        self._write_due()
        self.end(code, reason)
        # The peer's close frame may stand behind messages that nobody will take.
        self._transport.resume_reading()
        self._start_close_timer()

    def pause_reading(self) -> None:
        """Stop reading from the peer: the inbox is full."""
        self._transport.pause_reading()
        if self.meter is not None:
            self.meter.pause()

    def resume_reading(self) -> None:
        """Go on reading, if the inbox has room again."""
        is_wanted = self.inbox.resume_if_low() and not self._transport.is_closing()
        self.heard_at = self._keepalive.now
        # With pongs that wait to be written, reading goes on when they are.
        if is_wanted and not self._connection.output:
            self._resume_transport()

    def _resume_transport(self) -> None:
        self._transport.resume_reading()
        if self.meter is not None:
            self.meter.resume()

    def _write_output(self) -> None:
        """Write pongs and close frames; pongs only to a peer that takes them."""
        if self.writable or self._connection.is_over():
            self._write_due()
        else:
            # It pings and does not read: until it does, we do not read either, nor store pongs.
            self.pause_reading()

    def _write_due(self) -> None:
        due = self._connection.data_to_send()
        tally.bytes_out += len(due)
        self._transport.write(due)

    # Peers that are silent, or stuck

    def is_excused(self) -> bool:
        """Tell whether the peer's silence may be our fault: it is not read, or not reached yet.

        A ping stands behind what is still on its way. While that goes forward the peer is there,
        whether it has come to the ping or not.
        """
        before, self._progress = self._progress, self.measure_progress()
        if self.inbox.paused or not self.writable:
            return True
        return self._progress > before and count_unsent(self._transport) > 0

    def send_keepalive(self) -> None:
        """Ping the peer; its pong, or anything else, shows that it is there."""
        self._send_ping()

    def take_for_gone(self) -> None:
        """Close with 1011; the close timer sees to the rest."""
        seconds = self.limits.ping_timeout
        self.close(CloseCode.INTERNAL_ERROR, f"no sign of life {seconds:g} seconds after a ping")

    def measure_progress(self) -> int:
        """Give a number that is larger than before if the peer has taken something meanwhile."""
        return measure_progress(self._transport)

    def count_unsent(self) -> int:
        """Give the bytes that the event loop keeps because the system has no room for them."""
        return self._transport.get_write_buffer_size()

    # The end

    def _receive_close(self, event: Close) -> None:
        if self._connection.state is State.FAILED and not self.ended:
            # Our close frame stays in the connection's output: sent now, it would overtake what
            # the view has to say to the messages before the fault. It goes out when the view has
            # come to the end of them, or when its time is up.
            self._failure = event
            self._keepalive.discard(self)
            self._close_timer = self.loop.call_later(_GRACE, self._finish_failure)
            # By the bridge, behind what the view has sent.
            self.inbox.on_end = partial(self._end_taken, get_bridge())
            self.inbox.finish_when_taken()
        else:
            self.end(event.code, event.reason, "client")

    def _end_taken(self, bridge: LoopBridge) -> None:
        """Let out the close frame that waited for the view. In the view's thread."""
        failure = self._failure
        if failure is not None:
            self.close_code, self.close_reason = failure
            bridge.call(self._finish_failure)

    def _finish_failure(self) -> None:
        """Send the close frame that was held back, and end the connection; once."""
        if self._failure is not None:
            self._stop_close_timer()
            self.end(*self._failure)
            if not self._transport.is_closing():
                self._write_due()
            self._finish_transport()

    def end(self, code: int, reason: str, closer: Closer = "server") -> None:
        """Settle how the connection ended, wake everybody who waits, and stop looking after it."""
        if self._failure is not None:
            (code, reason), closer = self._failure, "server"
            self._failure = None
        super().end(code, reason, closer)
        self._keepalive.discard(self)
        if self._pings is not None:
            self._pings.give_up()

    def _finish_transport(self) -> None:
        """Close the byte stream behind the last bytes (RFC 6455 section 7.1.1).

        A peer that broke the protocol may still be sending, and closing a socket with unread input
        makes the kernel send RST, which can destroy our close frame: so we only end our half, and
        discard input until the peer ends its own or the time is up. TLS has no halves. Once.
        """
        if self._is_finishing:
            return
        self._is_finishing = True
        transport = self._transport
        if self._connection.state is not State.FAILED or transport.is_closing():
            self._start_close_timer()
            transport.close()
            return
        if transport.can_write_eof():
            self._start_close_timer()
            transport.write_eof()
        else:
            self._stop_close_timer()
            self._close_timer = self.loop.call_later(_GRACE, self._close_after_grace)
        transport.resume_reading()

    def _close_after_grace(self) -> None:
        self._close_timer = None
        self._start_close_timer()
        self._transport.close()

    def _start_close_timer(self) -> None:
        if self._close_timer is None:
            self._close_timer = self.loop.call_later(
                self.limits.close_timeout, self._transport.abort
            )

    def _stop_close_timer(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
