"""The place where a server process takes what is sent to groups: a unix socket on its event loop.

Whoever publishes connects to it, sends messages and asks for members. What comes is delivered at
once and nothing is stored, so that a publisher who is too fast has to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.serializers.json import DjangoJSONEncoder

from ..counts import counts
from ..messages import ForeignEnvelopeError, decode
from .frames import ANSWER, MESSAGE, MISSED, QUESTION, FrameReader, pack, read_json
from .place import EveryMinute, abandon_in_children

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from ..hub import Hub
    from .place import Place

logger = logging.getLogger("adwebsocket.groups")

_CHUNK: Final = 64 * 1024
# For messages of one publisher at a time, before whatever else is to be done has its turn.
_LONGEST_SLICE: Final = 0.01
_SECONDS_BETWEEN_CHECKS: Final = 10.0
_SECONDS_WITHOUT_ROOM: Final = 1.0
_SECONDS_FOR_AN_ANSWER: Final = 5.0


class Station:
    """A socket at which one hub is reached. On its event loop only.

    Arguments:
        hub: who gets the messages.
        place: where publishers look for it.
        longest: the bytes of the longest frame that is taken.
    """

    def __init__(self, hub: Hub, place: Place, longest: int) -> None:
        self.hub = hub
        self.tag = place.tag
        self.longest = longest
        self.visitors: set[Visitor] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._place = place
        self._loop = asyncio.get_running_loop()
        self._listener: socket.socket | None = None
        self._path: Path | None = None
        self._check: asyncio.TimerHandle | None = None
        self._minute = EveryMinute()
        abandon_in_children(self)

    @property
    def is_open(self) -> bool:
        """Whether it can be reached, as far as it knows."""
        return self._listener is not None

    def open(self) -> None:
        """Listen.

        Raises:
            OSError, ImproperlyConfigured: it does not work.
        """
        self._listener, self._path = self._place.listen()
        self._stop_checking()
        self._loop.add_reader(self._listener, self._accept)
        self._check_later()

    async def close(self) -> None:
        """Hang up, and leave nothing behind."""
        self._close_listener()
        self._stop_checking()
        for visitor in list(self.visitors):
            visitor.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def abandon(self) -> None:
        """Close in a child process, which shares the selector with its parent."""
        if self._listener is not None:
            self._listener.close()
        for visitor in self.visitors:
            visitor.connection.close()

    def report(self, error: Exception) -> None:
        """Count what is no frame of ours, and write it to the log once a minute."""
        counts.skipped["foreign bytes"] += 1
        if self._minute.is_due():
            logger.warning("Closed a connection to the socket of groups, %s: %s", self._path, error)

    def _close_listener(self) -> None:
        if self._listener is not None:
            assert self._path is not None
            # First the name: who connects from now on would not be heard.
            self._path.unlink(missing_ok=True)
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _check_later(self) -> None:
        self._check = self._loop.call_later(_SECONDS_BETWEEN_CHECKS, self._check_place)

    def _stop_checking(self) -> None:
        if self._check is not None:
            self._check.cancel()

    def _check_place(self) -> None:
        """Listen again if the socket's name is gone: directories of temporary files are cleaned."""
        assert self._path is not None
        if self._path.exists():
            self._check_later()
            return
        logger.warning("%s has been removed; listening again at another socket", self._path)
        self._close_listener()
        self.try_to_open()

    def try_to_open(self) -> None:
        """Listen, or write to the log why that does not work and try again later."""
        try:
            self.open()
        except (OSError, ImproperlyConfigured) as error:
            logger.error("Messages to groups do not reach this process: %s", error)
            self._check = self._loop.call_later(_SECONDS_BETWEEN_CHECKS, self.try_to_open)

    def _accept(self) -> None:
        listener = self._listener
        assert listener is not None
        try:
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                self.visitors.add(Visitor(self, connection, self._loop))
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            pass
        except OSError as error:
            # Without a file descriptor the queue stays full, and the loop would spin.
            logger.error("Cannot accept a connection from a publisher to groups: %s", error)
            self._loop.remove_reader(listener)
            self._loop.call_later(_SECONDS_WITHOUT_ROOM, partial(self._accept_again, listener))

    def _accept_again(self, listener: socket.socket) -> None:
        if self._listener is listener:
            self._loop.add_reader(listener, self._accept)


class Visitor:
    """A connection from somebody who publishes or asks."""

    def __init__(
        self, station: Station, connection: socket.socket, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.connection = connection
        self._station = station
        self._loop = loop
        self._frames = FrameReader(station.longest)
        self._is_answering = False
        loop.add_reader(connection, self._read)

    def close(self) -> None:
        """Hang up."""
        if self in self._station.visitors:
            self._station.visitors.remove(self)
            self._loop.remove_reader(self.connection)
            self.connection.close()

    def _read(self) -> None:
        try:
            data = self.connection.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._frames.feed(data)
        if not self._work():
            # Nothing is read before all is delivered: then the publisher waits.
            self._loop.remove_reader(self.connection)
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self in self._station.visitors:
            if self._work():
                if self in self._station.visitors:
                    self._loop.add_reader(self.connection, self._read)
            else:
                self._loop.call_soon(self._go_on)

    def _work(self) -> bool:
        """Take what has come, for a while; tell whether that is all."""
        end = time.monotonic() + _LONGEST_SLICE
        try:
            while (frame := self._frames.next_frame()) is not None:
                self._take(*frame)
                if time.monotonic() > end:
                    return False
        except ForeignEnvelopeError as error:
            self._station.report(error)
            self.close()
        return True

    def _take(self, kind: bytes, payload: bytes) -> None:
        station = self._station
        if kind == MESSAGE:
            item = decode(payload, station.tag)
            try:
                station.hub.receive_now(item)
            except Exception:
                # One message's failure must not take all others with it.
                logger.exception("a message to a group could not be delivered")
        elif kind == MISSED:
            groups = read_json(payload, station.tag)
            station.hub.resume(groups if isinstance(groups, list) else station.hub.groups())
        elif kind == QUESTION and not self._is_answering:
            self._answer(read_json(payload, station.tag))
        else:
            raise ForeignEnvelopeError(f"no frame of the kind {kind!r} was expected")

    def _answer(self, question: Any) -> None:
        match question:
            case ["count", str(group)]:
                answer: Any = len(self._station.hub.presences(group))
            case ["members", str(group)]:
                answer = self._station.hub.presences(group)
            case _:
                raise ForeignEnvelopeError("it asks for nothing that is known")
        try:
            text = json.dumps(answer, cls=DjangoJSONEncoder, separators=(",", ":"))
        except (TypeError, ValueError):
            logger.exception("the members of %s cannot be told, because of a presence", group)
            text = "[]"
        self._is_answering = True
        task = self._loop.create_task(self._send(pack(ANSWER, text.encode())))
        self._station.tasks.add(task)
        task.add_done_callback(self._station.tasks.discard)

    async def _send(self, frame: bytes) -> None:
        """Send an answer, and hang up."""
        try:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_SECONDS_FOR_AN_ANSWER):
                    await self._loop.sock_sendall(self.connection, frame)
        finally:
            self.close()
