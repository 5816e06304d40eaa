"""What both sockets of tests share: whatever does not wait.

``sockets`` and ``async_sockets`` inherit it. What sockets do is in ``conversation``; this opens one
in the world of the test, and says at the end what has gone wrong.
"""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING, Any, Final

from .background import abandon, get_background, get_config
from .conversation import CANCEL_SECONDS, Conversation
from .handshake import make_handshake, make_response
from .sharing import Share

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.http import HttpResponse

    from .background import Background
    from .handshake import Handshake

# Seconds beyond its own end in which a coroutine must be done, unless its event loop is held up.
GRACE_SECONDS: Final = CANCEL_SECONDS + 1.5
# Seconds for which a view that does not wait for messages is watched.
QUIET_SECONDS: Final = 0.25


class SocketBase:
    """What both sockets share.

    Arguments:
        client: the client that opens it.
        arguments: those of ``make_handshake``.
        timeout: the attribute.

    Attributes:
        timeout: seconds that each wait takes at the most, unless it is told otherwise; that of the
            end of the block, too.
        response: the answer to the handshake, as ``client.get()`` gives one: 101 where it was
            accepted, else what refuses it.
    """

    response: HttpResponse

    def __init__(self, client: Any, arguments: tuple[Any, ...], timeout: float) -> None:
        self._client = client
        self._arguments = arguments
        self.timeout = timeout
        self._share: Share | None = None
        self._background: Background
        self._handshake: Handshake
        self._opened: Conversation | None = None

    @property
    def _conversation(self) -> Conversation:
        if self._opened is None:
            raise AssertionError("the socket is not open: use it in its with block")
        return self._opened

    @property
    def accepted(self) -> bool:
        """Whether the handshake was accepted."""
        answer = self._conversation.peer.response
        return answer is not None and answer.status_code == 101

    @property
    def closed(self) -> bool:
        """Whether the connection is over: closed, lost, or refused from the start."""
        return not self.accepted or self._conversation.peer.is_over

    @property
    def close_code(self) -> int | None:
        """The code that the server closed with or answered ours with; 1006 if it gave none.

        None while the socket is open, and where the handshake was refused.
        """
        return self._conversation.peer.close_code

    @property
    def close_reason(self) -> str:
        """The reason that came with ``close_code``."""
        return self._conversation.peer.close_reason

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the handshake settled on, or None."""
        return self._conversation.peer.subprotocol

    def _prepare(self, connections: list[BaseDatabaseWrapper]) -> Conversation:
        if self._opened is not None:
            raise RuntimeError("this socket has been opened before: ask the client for another")
        self._share = Share(connections)
        try:
            self._handshake = make_handshake(self._client, *self._arguments)
            self._background = get_background()
            self._opened = Conversation(
                get_config(self._share.connections),
                self._handshake,
                self._client.raise_request_exception,
            )
        except BaseException:
            self._share.end()
            raise
        return self._opened

    def _keep_answer(self) -> None:
        conversation = self._conversation
        answer = conversation.peer.response
        assert answer is not None
        self.response = make_response(self._client, self._handshake, answer, conversation.record)
        if self.response.cookies:
            self._client.cookies.update(self.response.cookies)

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    def _fail_for_blocked_loop(self) -> AssertionError:
        place = self._background.place()
        abandon(self._background)
        return AssertionError(
            "the event loop of the views does not go on: an async view, or what it calls, blocks "
            f"it at {place}"
        )

    def _conclude(self, fault: str, error: BaseException | None) -> None:
        """Raise at the end of the block what the test must hear of, or tell it with its error."""
        if self._share is not None:
            self._share.end()
        unraised = self._conversation.unraised_error()
        if unraised is error:
            unraised = None
        if error is not None:
            if unraised is not None:
                lines = traceback.format_exception(unraised)
                error.add_note("The view raised, too:\n" + "".join(lines))
            if fault:
                error.add_note(f"And {fault}")
        elif unraised is not None:
            raise unraised
        elif fault:
            raise AssertionError(fault)

    def _encode_json(self, value: Any) -> str:
        return json.dumps(value, cls=self._client.json_encoder)
