"""The connections from a publisher to all server processes of a machine.

They are kept, and made and dropped as processes come and go. A process that takes nothing holds a
publisher up once, for a bounded time; after that it misses messages, and is told so.
"""

from __future__ import annotations

import contextlib
import json
import logging
import select
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ..base import GroupsUnavailable
from ..counts import counts
from ..messages import ForeignEnvelopeError
from .frames import ANSWER, MISSED, QUESTION, FrameReader, pack_json
from .place import EveryMinute

if TYPE_CHECKING:
    from .place import Place

logger = logging.getLogger("adwebsocket.groups")

# Asked for; the system allows less, most often 208 KiB.
_SEND_BUFFER: Final = 4 * 1024 * 1024
_CHUNK: Final = 64 * 1024
# Of an answer, which may be as long as a group is large.
_MOST_BYTES: Final = 2**32 - 1
# What is kept for a process that takes nothing.
_MOST_NAMES: Final = 10_000
_MOST_ORDERS: Final = 1_000


class Link:
    """A connection to one server process. Not for several threads at once.

    Arguments:
        connection: the socket, which does not block.
        name: the name of the process's socket.
        tag: what tells this project from others.

    Attributes:
        is_stalled: it takes nothing, so messages are not kept for it.
    """

    def __init__(self, connection: socket.socket, name: str, tag: bytes) -> None:
        self._socket = connection
        self._name = name
        self._tag = tag
        self._rest = memoryview(b"")
        self._missed: set[str] = set()
        self._missed_count = 0
        self._orders: deque[bytes] = deque(maxlen=_MOST_ORDERS)
        self.is_stalled = False
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    @property
    def is_waiting(self) -> bool:
        """Whether a message has been taken in part, by a process that takes more."""
        return bool(self._rest) and not self.is_stalled

    def fileno(self) -> int:
        """Give the file descriptor, to wait for."""
        return self._socket.fileno()

    def offer(self, frame: bytes, group: str | None) -> None:
        """Send a frame as far as the process takes it; ``flush`` sends the rest.

        Arguments:
            group: the group that misses it where the process has stalled; None for an order,
                which the process gets when it goes on.

        Raises:
            OSError: the process is gone.
        """
        if self.is_stalled and not self._catch_up():
            self._miss(frame, group)
            return
        self._rest = memoryview(frame)
        self.flush()

    def flush(self) -> None:
        """Send what is left of a frame, as far as the process takes it.

        Raises:
            OSError: the process is gone.
        """
        with contextlib.suppress(BlockingIOError):
            while self._rest:
                self._rest = self._rest[self._socket.send(self._rest) :]

    def give_up(self) -> None:
        """Keep nothing more for a process that takes nothing."""
        self.is_stalled = True
        logger.warning(
            "The process at %s takes no messages of groups: its event loop is blocked, or it was "
            "stopped. Until it goes on, its members miss messages.",
            self._name,
        )

    def _miss(self, frame: bytes, group: str | None) -> None:
        if group is None:
            self._orders.append(frame)
            return
        counts.unpublished["stalled process"] += 1
        self._missed_count += 1
        if len(self._missed) <= _MOST_NAMES:
            self._missed.add(group)

    def _catch_up(self) -> bool:
        """Find out whether a process that has stalled goes on, and tell it what it has missed."""
        self.flush()
        if not self._rest:
            self._rest = memoryview(self._notice())
            self.flush()
        self.is_stalled = bool(self._rest)
        return not self.is_stalled

    def _notice(self) -> bytes:
        """Give what a process must be told that goes on."""
        frames = list(self._orders)
        self._orders.clear()
        if self._missed_count:
            logger.warning(
                "The process at %s takes messages of groups again; it has missed %d",
                self._name,
                self._missed_count,
            )
            names = None if len(self._missed) > _MOST_NAMES else list(self._missed)
            frames.append(pack_json(MISSED, self._tag, names))
            self._missed.clear()
            self._missed_count = 0
        return b"".join(frames)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class Links:
    """Connections to all server processes. Not for several threads at once.

    Arguments:
        place: where they are found.
        timeout: seconds after which a process counts as stalled that takes nothing.
    """

    def __init__(self, place: Place, timeout: float) -> None:
        self._place = place
        self._timeout = timeout
        self._links: dict[str, Link] = {}
        self._fingerprint: tuple[int, int, int] | None = None
        self._minute = EveryMinute()

    @property
    def waiting(self) -> list[Link]:
        """The connections on which a frame has been sent in part."""
        return [link for link in self._links.values() if link.is_waiting]

    def offer(self, frame: bytes, group: str | None) -> None:
        """Send a frame to all processes without waiting; ``drain`` waits for the rest."""
        reached: set[Link] = set()
        self._refresh()
        self._offer(frame, group, reached)
        if self._fingerprint is None:
            # A connection has broken: its process is gone, or did not like what it got.
            self._refresh()
            self._offer(frame, group, reached)

    def drain(self) -> None:
        """Wait until all processes have taken what was sent, or have stalled."""
        while waiting := self.waiting:
            poll = select.poll()
            for link in waiting:
                poll.register(link, select.POLLOUT)
            if not poll.poll(self._timeout * 1000):
                for link in waiting:
                    link.give_up()
                return
            for name, link in list(self._links.items()):
                try:
                    link.flush()
                except OSError:
                    self._drop(name)

    def close(self) -> None:
        """Hang up everywhere; what is sent next connects again."""
        for link in self._links.values():
            link.close()
        self._links = {}
        self._fingerprint = None

    def _offer(self, frame: bytes, group: str | None, reached: set[Link]) -> None:
        for name, link in list(self._links.items()):
            if link not in reached:
                try:
                    link.offer(frame, group)
                except OSError:
                    self._drop(name)
                else:
                    reached.add(link)

    def _drop(self, name: str) -> None:
        self._links.pop(name).close()
        self._fingerprint = None

    def _refresh(self) -> None:
        """Connect to processes that are new. Those that are gone turn out by what is sent."""
        # Before looking: what changes meanwhile shall be seen the next time.
        fingerprint = self._place.fingerprint()
        if fingerprint is not None and fingerprint == self._fingerprint:
            return
        for name in self._place.names():
            if name not in self._links:
                try:
                    connection = self._place.connect(name)
                except BlockingIOError:
                    fingerprint = None
                    self._report_full(name)
                else:
                    if connection is not None:
                        self._links[name] = Link(connection, name, self._place.tag)
        self._fingerprint = fingerprint

    def _report_full(self, name: str) -> None:
        counts.unpublished["stalled process"] += 1
        if self._minute.is_due():
            logger.warning("The process at %s has accepted no connection for long", name)


def ask(place: Place, question: list[str], timeout: float) -> list[Any]:
    """Ask all server processes, each on a connection of its own. From any thread.

    A process that ends instead of answering is left out.

    Arguments:
        place: where they are found.
        question: what ``frames.QUESTION`` says.
        timeout: seconds in which all must have answered.

    Raises:
        GroupsUnavailable: one has not.
    """
    deadline = time.monotonic() + timeout
    frame = pack_json(QUESTION, place.tag, question)
    with contextlib.ExitStack() as stack:
        poll = select.poll()
        pending: dict[int, tuple[socket.socket, FrameReader]] = {}
        for name in place.names():
            try:
                connection = place.connect(name)
                if connection is None:
                    continue
                stack.enter_context(connection)
                connection.send(frame)
            except BlockingIOError as error:
                raise GroupsUnavailable(f"the process at {name} accepts no connection") from error
            except BrokenPipeError:
                continue
            pending[connection.fileno()] = connection, FrameReader(_MOST_BYTES)
            poll.register(connection, select.POLLIN)
        answers = []
        while pending:
            ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                raise GroupsUnavailable(
                    f"{len(pending)} of the server processes did not answer within {timeout:g} s"
                )
            for descriptor, _ in ready:
                has_ended, found = _read_answer(*pending[descriptor])
                answers += found
                if has_ended:
                    del pending[descriptor]
                    poll.unregister(descriptor)
        return answers


def _read_answer(connection: socket.socket, frames: FrameReader) -> tuple[bool, list[Any]]:
    """Read what has come: whether nothing more will, and the answer, if that is whole."""
    try:
        data = connection.recv(_CHUNK)
    except ConnectionResetError:
        data = b""
    frames.feed(data)
    try:
        frame = frames.next_frame()
        if frame is not None and frame[0] == ANSWER:
            return True, [json.loads(frame[1])]
    except (ForeignEnvelopeError, ValueError) as error:
        raise GroupsUnavailable(f"a server process gave no answer: {error}") from error
    return not data, []
