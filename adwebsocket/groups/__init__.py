"""Groups: one message to many sockets, from anywhere in a project.

Sockets join and leave (``request.websocket.join("room")``); what is sent here reaches all of them,
in this process and, with the back-ends made for it, in all others. Every function has a twin for
async code whose name begins with ``a``; these may be called on an event loop, the others from any
thread that runs none: views, signals, tasks, ``transaction.on_commit``, ``manage.py shell``.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.core.exceptions import SynchronousOnlyOperation
from django.core.serializers.json import DjangoJSONEncoder

from ..accounts import id_of
from ..protocol.codes import CloseCode
from ..protocol.frames import check_close
from .base import Backend, GroupsUnavailable, Recovery, Subscriptions
from .counts import counts
from .hub import Hub, Joined
from .messages import Closing, Envelope, Position, check_name
from .options import GroupsConfig
from .registry import get_backend, reach_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..websocket_base import WebSocketBase
    from .messages import Body

__all__ = [
    "Backend",
    "Closing",
    "Envelope",
    "GroupsConfig",
    "GroupsUnavailable",
    "Hub",
    "Joined",
    "Position",
    "Recovery",
    "Subscriptions",
    "aclose",
    "acount",
    "amembers",
    "asend",
    "close",
    "count",
    "members",
    "send",
]


def send(
    group: str,
    message: Any,
    *,
    exclude: WebSocketBase | None = None,
    key: str | None = None,
) -> None:
    """Send a message to all members of a group.

    It returns when the message is on its way; members that are slow delay neither the caller nor
    each other. What one thread sends to a group arrives in that order.

    Arguments:
        group: the name of the group.
        message: ``str`` goes out as text, anything bytes-like as binary, and all else as JSON text,
            by ``DjangoJSONEncoder``.
        exclude: a socket that does not get it, mostly that of the sender.
        key: what this is the newest value of; members with ``slow="latest"`` that do not keep up
            get only the newest of each key.

    Raises:
        GroupsUnavailable: the back-end cannot be reached; nobody gets it.
        SynchronousOnlyOperation: called on an event loop, where ``asend`` is meant.
        TypeError, ValueError: the name is none, the message cannot be sent or is too long.
    """
    _check_not_on_loop("send")
    envelope = _envelope(group, message, exclude, key)
    with _counted():
        reach_backend().publish(envelope)


async def asend(
    group: str,
    message: Any,
    *,
    exclude: WebSocketBase | None = None,
    key: str | None = None,
) -> None:
    """Send a message to all members of a group, see ``send``."""
    envelope = _envelope(group, message, exclude, key)
    with _counted():
        await reach_backend().apublish(envelope)


def close(target: Any, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
    """Close all sockets of a group, or of a user, wherever they are.

    The sockets of a user are those of which this is known without a query: the view or a middleware
    has looked at ``request.user``, or ``WEBSOCKET_CLOSE_ON_LOGOUT`` is set.

    Arguments:
        target: the name of a group, or a user (an instance of the user model).
        code, reason: what the sockets are closed with, see ``WebSocket.close``.

    Raises:
        GroupsUnavailable: the back-end cannot be reached; no socket is closed.
        SynchronousOnlyOperation: called on an event loop, where ``aclose`` is meant.
        TypeError, ValueError: the target is neither, or the code must not be sent.
    """
    _check_not_on_loop("close")
    reach_backend().publish(_closing(target, code, reason))


async def aclose(target: Any, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
    """Close all sockets of a group, or of a user, see ``close``."""
    await reach_backend().apublish(_closing(target, code, reason))


def count(group: str) -> int:
    """Count the members of a group in all processes.

    Exact within one process; elsewhere as old as the back-end says.

    Raises:
        GroupsUnavailable: the back-end cannot be reached.
        SynchronousOnlyOperation: called on an event loop, where ``acount`` is meant.
        TypeError, ValueError: the name is none.
    """
    check_name(group)
    _check_not_on_loop("count")
    return reach_backend().count(group)


async def acount(group: str) -> int:
    """Count the members of a group in all processes, see ``count``."""
    check_name(group)
    return await reach_backend().acount(group)


def members(group: str) -> list[Any]:
    """Give the ``presence`` of each member of a group in all processes, in no order.

    It is what ``join`` was given, None where that was nothing. Raises as ``count``.
    """
    check_name(group)
    _check_not_on_loop("members")
    return reach_backend().members(group)


async def amembers(group: str) -> list[Any]:
    """Give the presence of each member of a group in all processes, see ``members``."""
    check_name(group)
    return await reach_backend().amembers(group)


@contextmanager
def _counted() -> Iterator[None]:
    """Count a message that is published, or is not."""
    try:
        yield
    except Exception as error:
        counts.unpublished[type(error).__name__] += 1
        raise
    counts.published += 1


def _envelope(group: str, message: Any, exclude: WebSocketBase | None, key: str | None) -> Envelope:
    check_name(group)
    if key is not None and not isinstance(key, str):
        raise TypeError(f"key must be a str, not {type(key).__name__}")
    body = _body(message)
    most = get_backend().config.options_of(group).max_message_size
    if len(body) > most:
        raise ValueError(
            f"a message to the group {group} may have {most} bytes (max_message_size), "
            f"not {len(body)}"
        )
    address = None if exclude is None else exclude.address_in(group)
    return Envelope(group, body, key, address)


def _body(message: Any) -> Body:
    if isinstance(message, bytes):
        return message
    if isinstance(message, str):
        message.encode()  # which raises for what cannot be sent
        return message
    if isinstance(message, (bytearray, memoryview)):
        return bytes(message)
    return json.dumps(message, cls=DjangoJSONEncoder, separators=(",", ":"))


def _closing(target: Any, code: int, reason: str) -> Closing:
    check_close(code, reason)
    if isinstance(target, str):
        check_name(target)
        return Closing(target, None, int(code), reason)
    key = id_of(target) if hasattr(target, "pk") else None
    if key is None:
        raise TypeError(f"expected the name of a group or a user that is saved, not {target!r}")
    return Closing(None, key, int(code), reason)


def _check_not_on_loop(name: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SynchronousOnlyOperation(
        f"groups.{name}() may wait, which would stop the event loop: use await groups.a{name}()"
    )
