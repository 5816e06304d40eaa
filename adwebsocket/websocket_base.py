"""What the blocking WebSocket and its async twin share: everything that does not wait.

It stands on the channel seam and knows neither Django nor which server carries the bytes.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from functools import partial
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from .exceptions import ConnectionClosed
from .protocol.codes import CloseCode
from .protocol.frames import check_close
from .protocol.handshake import check_header
from .transport.ended import EndedChannel
from .transport.inbox import END
from .transport.tally import tally
from .transport.waiting import manners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeAlias

    from .groups.hub import Hub, Joined
    from .transport.channel import Channel
    from .transport.inbox import Item
    from .transport.limits import Limits
    from .transport.pings import Ping

    HeaderItems: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]]"

# Seconds after which a pong is taken to be lost, where a view does not say otherwise.
PING_TIMEOUT: Final = 20.0

# Messages that are there when a view asks for them, after which it lets others have a turn.
_LONGEST_STREAK: Final = 32


class WebSocketBase(ABC):
    """What the blocking and the async WebSocket share: all that does not wait.

    Attributes:
        json_encoder: the encoder class of ``send_json``; under Django, ``DjangoJSONEncoder``.
        get_hub: gives the groups of the running event loop; under Django, the project's.
    """

    json_encoder: ClassVar[type[json.JSONEncoder]] = json.JSONEncoder
    get_hub: ClassVar[Callable[[], Hub]]

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._inbox = channel.inbox
        self._answered = False
        self._closed = False
        self._streak = 0
        # What this side has said, before the loop has come to it.
        self._subprotocol: str | None = None
        self._own_close: tuple[int, str] | None = None

    def read(self, fallback: Any = None) -> Any:
        """Take a message without waiting.

        Arguments:
            fallback: what to return while no message is there.

        Returns:
            ``str`` for a text message, ``bytes`` for a binary one, ``fallback`` when nothing is
            queued, and None once when the connection has ended.

        Raises:
            ConnectionClosed: the end has been reported before.
        """
        try:
            item = self._inbox.take()
        except IndexError:
            # With the end still queued it came just now: the next call reports it.
            if self._inbox.ended and not self._inbox.items:
                raise self._connection_closed() from None
            # A loop that polls would let no other view of its thread run.
            manners().give_way()
            return fallback
        return None if item is END else item

    def count_messages(self) -> int:
        """Count the messages that are queued."""
        return self._inbox.count()

    def has_messages(self) -> bool:
        """Tell whether a message is queued, so that ``wait()`` would return it at once."""
        return self._inbox.count() > 0

    def is_closed(self) -> bool:
        """Tell whether the connection is over and no message is left to read.

        True at once after the own ``close()``, and without any read or write once the peer has
        gone, but never before the last message that came has been taken.
        """
        return self._closed or (self._inbox.ended and self._inbox.count() == 0)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more, be it that messages are left to read."""
        return self._closed or self._inbox.ended

    @property
    def close_code(self) -> int | None:
        """How the connection ended (RFC 6455 section 7.1.5), None while it is open.

        The peer's code, 1005 where it gave none, 1006 where the connection was lost, or the code
        with which this side closed first.
        """
        code = self._channel.close_code
        return self._own_close[0] if code is None and self._own_close else code

    @property
    def close_reason(self) -> str:
        """The reason that came with ``close_code``, an empty string where there was none."""
        if self._channel.close_code is None and self._own_close:
            return self._own_close[1]
        return self._channel.close_reason

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the handshake settled on, or None."""
        return self._subprotocol

    @property
    def accepted(self) -> bool:
        """Whether the handshake has been accepted, by the decorator or by ``accept()``."""
        return self._answered

    def address_in(self, group: str) -> str | None:
        """Name this member of a group to all processes, None where it is not in it."""
        membership = (self._channel.memberships or {}).get(group)
        return None if membership is None else membership.address

    @abstractmethod
    def accept(self, subprotocol: str | None = None, headers: HeaderItems = ()) -> Any:
        """Accept the handshake."""

    @abstractmethod
    def refuse(self, status: int, headers: HeaderItems, body: bytes) -> None:
        """Answer the handshake with an HTTP response instead."""

    @abstractmethod
    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> Any:
        """Close the connection behind what was sent."""

    def detach(self) -> None:
        """Let go of the connection, for a socket that outlives it in somebody's registry.

        For decorators, behind the view and its ``close()``. From then on nothing is queued.
        """
        channel = cast("Channel", EndedChannel(self.close_code, self.close_reason))
        # In this order: whoever sees the ended channel must not see the inbox of the real one.
        self._inbox = channel.inbox
        self._channel = channel

    def configure(self, limits: Limits) -> None:
        """Set the bounds of the connection; for decorators, before the handshake is accepted."""
        self._channel.configure(limits)

    def ends_quietly(self, error: BaseException) -> bool:
        """Tell whether an exception is the normal way out of a view, because the peer has gone.

        That is this socket's own ``ConnectionClosed`` only, also from several tasks at once: one
        from another socket, in a view whose connection stands, is a fault of the view.
        """
        if isinstance(error, BaseExceptionGroup):
            return self.closed and error.split(ConnectionClosed)[1] is None
        return isinstance(error, ConnectionClosed) and self.closed

    def _ends_streak(self) -> bool:
        """Tell whether others are to have a turn before this view takes one more message."""
        self._streak += 1
        if self._streak < _LONGEST_STREAK:
            return False
        self._streak = 0
        return True

    def _connection_closed(self) -> ConnectionClosed:
        code = self.close_code
        return ConnectionClosed(
            CloseCode.ABNORMAL_CLOSURE if code is None else code, self.close_reason
        )

    def _cannot_send(self) -> Exception:
        if not self._answered and not self._closed:
            return RuntimeError(
                "the handshake has not been accepted yet: call request.websocket.accept() first"
            )
        return self._connection_closed()

    def _check_ping(self) -> None:
        if not self._channel.can_ping:
            raise RuntimeError(
                "this ASGI server offers no pings to applications; serve with adwebsocket, or "
                "with uvicorn --ws adwebsocket:WebSocketProtocol"
            )
        if self.closed or not self._answered:
            raise self._cannot_send()

    def _latency_of(self, ping: Ping) -> float:
        if ping.latency is None:
            raise self._connection_closed()
        return ping.latency

    def _begin_accept(self, subprotocol: str | None, headers: HeaderItems) -> Callable[[], None]:
        if self._answered or self._closed:
            raise RuntimeError("the handshake has been answered already")
        encoded = _encode_headers(headers)
        if subprotocol is not None:
            check_header(b"sec-websocket-protocol", subprotocol.encode("latin-1"))
        self._answered = True
        self._subprotocol = subprotocol
        return partial(self._channel.accept, subprotocol, encoded)

    def _begin_close(self, code: int, reason: str) -> Callable[[], None] | None:
        """Give what the loop has to do, or None where the connection is over already."""
        check_close(code, reason)
        if self.closed:
            return None
        self._closed = True
        if not self._answered:
            tally.reasons.count("view")
            return partial(self._channel.refuse, 403, (), b"")
        self._own_close = (code, reason)
        return partial(self._channel.close, code, reason)

    def _begin_refuse(self, status: int, headers: HeaderItems, body: bytes) -> Callable[[], None]:
        encoded = _encode_headers(headers)
        self._closed = True
        return partial(self._channel.refuse, status, encoded, body)

    def _decode_json(self, item: Item | None, timeout: float | None) -> Any:
        if item is END:
            raise self._connection_closed()
        if item is None:
            raise TimeoutError(f"no message came within {timeout} seconds")
        return json.loads(item)

    async def _join(self, group: str, gap: Any, presence: Any, **options: Any) -> Joined:
        """Join a group, with the arguments checked. On the event loop."""
        if presence is not None:
            self._encode_json(presence)
        if gap is not None and not isinstance(gap, (str, bytes)):
            gap = self._encode_json(gap)
        return (
            await type(self)
            .get_hub()
            .join(self._channel, group, gap=gap, presence=presence, **options)
        )

    async def _leave(self, group: str) -> None:
        await type(self).get_hub().leave(self._channel, group)

    def _check_may_join(self) -> None:
        if self.closed or not self._answered:
            raise self._cannot_send()

    def _encode_json(self, value: Any) -> str:
        return json.dumps(value, cls=self.json_encoder, separators=(",", ":"))


def positive_timeout(timeout: float | None) -> float | None:
    """Read a timeout as the documented API does: None and negative numbers wait for ever.

    So do three centuries and more, which threads cannot wait for: infinity among them.
    """
    return None if timeout is None or not 0 <= timeout <= TIMEOUT_MAX else timeout


def _encode_headers(headers: HeaderItems) -> list[tuple[bytes, bytes]]:
    items = headers.items() if hasattr(headers, "items") else headers
    encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in items]
    for name, value in encoded:
        check_header(name, value)
    return encoded
