"""What is sent to groups, and its form between processes.

Publishers make an ``Envelope``, back-ends carry it, hubs deliver it. The bytes here are read by
other processes, perhaps of another release, so foreign ones are told apart and never trusted.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..protocol.frames import check_close

if TYPE_CHECKING:
    from typing import TypeAlias

    Body: TypeAlias = "str | bytes"

_MAGIC: Final = b"adwebsocket/1\n"
_TAG_SIZE: Final = 8
# Nothing that could be a pattern, a hash tag or a separator to Redis, in a log or in a URL.
_NAME: Final = re.compile(r"[A-Za-z0-9_.:@/+-]{1,150}")
# Python reads other digits than these as well, and refuses to read a great many.
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_ADDRESS: Final = re.compile(r"[0-9a-f]{1,64}\.[0-9]{1,18}")


class ForeignEnvelopeError(ValueError):
    """Bytes on a channel of ours that no publisher of this project has sent."""


class Position(NamedTuple):
    """A place in the history of a group.

    Attributes:
        epoch: which history; another one begins where the one before has been lost.
        offset: how many messages it had so far.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """Read what ``str`` gave, None where it is something else: clients send it."""
        epoch, dash, offset = text.rpartition("-")
        if not dash or not _NUMBER.fullmatch(offset):
            return None
        return cls(epoch, int(offset))


class Envelope(NamedTuple):
    """One message to the members of a group.

    Attributes:
        group: the name of the group.
        body: the message, ``str`` for text and ``bytes`` for binary.
        key: what the message is the newest value of, for members that want only that.
        exclude: the address of a member that does not get it, see ``Membership.address``.
        position: its place in the history, None where the group has none.
    """

    group: str
    body: Body
    key: str | None = None
    exclude: str | None = None
    position: Position | None = None


class Closing(NamedTuple):
    """The order to close all sockets of a group, or of a user.

    Attributes:
        group: the name of the group, None for a user.
        user: the primary key of the user as text, None for a group.
        code, reason: what to close with.
    """

    group: str | None
    user: str | None
    code: int
    reason: str


def check_name(name: str) -> None:
    """Check the name of a group.

    Raises:
        TypeError, ValueError: it is none; the text says what one looks like.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a group must be a str, not {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise ValueError(
            "the name of a group must have 1 to 150 letters (A to Z), digits and _ . : @ / + -, "
            f"not {name!r}"
        )


def read_since(since: str | int | None) -> Position | int | None:
    """Read what a view gives as a position, which mostly comes from a client.

    Raises:
        ValueError: it is neither a text nor an offset.
    """
    if isinstance(since, str):
        # What is none cannot be recovered from, like one that is too old.
        return Position.parse(since) or Position("", 0)
    if since is None or (type(since) is int and since >= 0):
        return since
    raise ValueError(
        f"since must be a position as the client knows it, or an offset, not {since!r}"
    )


def deployment_tag(secret: str) -> bytes:
    """Give what tells the messages of two projects apart that share a channel by mistake."""
    return hashlib.sha256(f"adwebsocket groups {secret}".encode()).digest()[:_TAG_SIZE]


def encode(item: Envelope | Closing, tag: bytes) -> bytes:
    """Turn an envelope, or an order to close, into bytes for other processes."""
    if isinstance(item, Closing):
        return _join(tag, {"close": [item.group, item.user, item.code, item.reason]}, b"")
    header: dict[str, Any] = {"group": item.group}
    if isinstance(item.body, str):
        header["text"] = True
    for name in ("key", "exclude", "position"):
        value = getattr(item, name)
        if value is not None:
            header[name] = value
    body = item.body.encode() if isinstance(item.body, str) else item.body
    return _join(tag, header, body)


def decode(data: bytes, tag: bytes) -> Envelope | Closing:
    """Read what ``encode`` gave.

    Raises:
        ForeignEnvelopeError: these bytes are of another project, another release or nobody's.
    """
    start = len(_MAGIC)
    if not data.startswith(_MAGIC):
        raise ForeignEnvelopeError("it is no message of adwebsocket, or of another version")
    if data[start : start + _TAG_SIZE] != tag:
        raise ForeignEnvelopeError(
            "it is of a project with another SECRET_KEY; give each project a prefix of its own"
        )
    header, _, body = data[start + _TAG_SIZE :].partition(b"\n")
    try:
        return _read(json.loads(header), body)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ForeignEnvelopeError(f"its header cannot be read: {error!r}") from error


def _join(tag: bytes, header: dict[str, Any], body: bytes) -> bytes:
    return b"%b%b%b\n%b" % (_MAGIC, tag, json.dumps(header, separators=(",", ":")).encode(), body)


def _read(header: Any, body: bytes) -> Envelope | Closing:
    """Read a header, of which nothing is known; all that is of no type of ours raises."""
    if not isinstance(header, dict):
        raise TypeError("it must be an object")
    if "close" in header:
        group, user, code, reason = header["close"]
        if group is not None:
            check_name(group)
        _check_texts(user)
        check_close(code, reason)
        return Closing(group, user, code, reason)
    check_name(header["group"])
    key, exclude = header.get("key"), header.get("exclude")
    _check_texts(key, exclude)
    if exclude is not None and not _ADDRESS.fullmatch(exclude):
        raise ValueError(f"{exclude!r} is no address")
    return Envelope(
        header["group"],
        body.decode() if header.get("text") else body,
        key,
        exclude,
        _read_position(header.get("position")),
    )


def _check_texts(*values: Any) -> None:
    for value in values:
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{value!r} is no text")


def _read_position(value: Any) -> Position | None:
    if value is None:
        return None
    epoch, offset = value
    if not isinstance(epoch, str) or type(offset) is not int or not 0 <= offset < 10**18:
        raise ValueError(f"{value!r} is no position")
    return Position(epoch, offset)
