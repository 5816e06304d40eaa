"""The histories of ``local``: one file for all processes of a machine, in the runtime directory.

It gives the messages of a group one order, whoever sends them, and is still there when processes
come back. Whoever reads or writes it has the others wait, so it is never used on an event loop.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ..base import GroupsUnavailable, Recovery
from ..messages import Envelope, ForeignEnvelopeError, Position, decode, encode

try:
    import fcntl
except ImportError:  # on Windows, where nothing below is used
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ..options import GroupOptions
    from .place import Place

logger = logging.getLogger("adwebsocket.groups")

# Groups whose history is known; beyond it, that of the group that has been silent for longest goes.
_MOST_HISTORIES: Final = 10_000
# Messages that one process sends between two looks for those that have expired.
_MESSAGES_PER_CLEANING: Final = 500
_SHORTEST_PAUSE: Final = 0.0001
_LONGEST_PAUSE: Final = 0.005

# The number of the last message outlives the messages: who has seen it has missed nothing.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS histories (
    name TEXT PRIMARY KEY, epoch TEXT NOT NULL, last INTEGER NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS histories_expires ON histories (expires);
CREATE TABLE IF NOT EXISTS messages (
    name TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (name, number)
);
"""


class HistoryFile:
    """The last messages of each group that wants a history. From any thread.

    Arguments:
        place: in whose directory the file is.
        timeout: seconds to wait for other processes.
        clock: gives the time in seconds, the same to all processes.
    """

    def __init__(
        self, place: Place, timeout: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._place = place
        self._timeout = timeout
        self._clock = clock
        self._messages_until_cleaning = 0
        self._kept_from_parents: list[sqlite3.Connection] = []
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._directory: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Keep all other threads and processes away from the file. For ``append`` and ``since``.

        Raises:
            GroupsUnavailable: another one does not let go of it, or it cannot be used.
        """
        deadline = time.monotonic() + self._timeout
        if not self._lock.acquire(timeout=self._timeout):
            raise GroupsUnavailable(f"another thread kept the history for {self._timeout:g} s")
        try:
            directory = self._open_directory()
            self._lock_directory(directory, deadline)
            try:
                yield
            finally:
                fcntl.flock(directory, fcntl.LOCK_UN)
        except sqlite3.Error as error:
            if not isinstance(error, sqlite3.OperationalError):
                self._discard(error)
            raise GroupsUnavailable(f"the history cannot be used: {error}") from error
        finally:
            self._lock.release()

    def append(self, envelope: Envelope, options: GroupOptions) -> Envelope:
        """Give a message its position, and keep it for ``options.ttl`` seconds. In a turn."""
        connection = self._connect()
        now = self._clock()
        with connection:
            connection.execute("BEGIN")
            epoch, last, expires = self._read(connection, envelope.group)
            envelope = envelope._replace(position=Position(epoch, last + 1))
            connection.execute(
                "UPDATE histories SET last = ?, expires = ? WHERE name = ?",
                (last + 1, now + options.ttl, envelope.group),
            )
            connection.execute(
                "DELETE FROM messages WHERE name = ? AND number <= ?",
                (envelope.group, last if expires <= now else last + 1 - options.history),
            )
            connection.execute(
                "INSERT INTO messages VALUES (?, ?, ?)",
                (envelope.group, last + 1, encode(envelope, self._place.tag)),
            )
            self._clean(connection, now)
        return envelope

    def since(self, group: str, since: Position | int | None) -> Recovery:
        """Give the messages behind a position, if all of them are still there. In a turn."""
        connection = self._connect()
        with connection:
            connection.execute("BEGIN")
            epoch, last, expires = self._read(connection, group)
            position = Position(epoch, last)
            if since is None:
                return Recovery([], position, None)
            if isinstance(since, int):
                since = Position(epoch, since)
            missed = last - since.offset
            if since.epoch != epoch or missed < 0 or (missed and expires <= self._clock()):
                return Recovery([], position, False)
            rows = connection.execute(
                "SELECT data FROM messages WHERE name = ? AND number > ? ORDER BY number",
                (group, since.offset),
            ).fetchall()
        try:
            items = [decode(data, self._place.tag) for (data,) in rows]
        except ForeignEnvelopeError as error:
            logger.warning("What is in the history of %s cannot be read: %s", group, error)
            items = []
        if len(items) != missed:
            return Recovery([], position, False)
        return Recovery([each for each in items if isinstance(each, Envelope)], position, True)

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        with self._lock:
            self._close()

    def abandon(self) -> None:
        """Leave the file to the parent of this process."""
        if self._connection is not None:
            # Not closed, which would write to the parent's file; nor let go of, which closes it.
            self._kept_from_parents.append(self._connection)
        if self._directory is not None:
            os.close(self._directory)
        self._forget()

    def _read(self, connection: sqlite3.Connection, group: str) -> tuple[str, int, float]:
        """Give epoch, last number and time of expiry of a group, which begins here if it is new."""
        row: tuple[str, int, float] | None = connection.execute(
            "SELECT epoch, last, expires FROM histories WHERE name = ?", (group,)
        ).fetchone()
        if row is None:
            row = secrets.token_hex(4), 0, self._clock()
            connection.execute("INSERT INTO histories VALUES (?, ?, ?, ?)", (group, *row))
        return row

    def _clean(self, connection: sqlite3.Connection, now: float) -> None:
        """Let go of messages that have expired, and of too many histories."""
        self._messages_until_cleaning -= 1
        if self._messages_until_cleaning >= 0:
            return
        self._messages_until_cleaning = _MESSAGES_PER_CLEANING
        connection.execute(
            "DELETE FROM messages WHERE name IN (SELECT name FROM histories WHERE expires <= ?)",
            (now,),
        )
        (count,) = connection.execute("SELECT count(*) FROM histories").fetchone()
        names = connection.execute(
            "SELECT name FROM histories ORDER BY expires LIMIT ?",
            (max(0, count - _MOST_HISTORIES),),
        ).fetchall()
        connection.executemany("DELETE FROM messages WHERE name = ?", names)
        connection.executemany("DELETE FROM histories WHERE name = ?", names)

    def _open_directory(self) -> int:
        """Give the descriptor of the directory, which is what processes lock."""
        directory = self._place.directory
        if self._directory is not None:
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._directory), directory.stat()):
                    return self._directory
            self._close()
        self._directory = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        return self._directory

    def _lock_directory(self, directory: int, deadline: float) -> None:
        # Waiting for a lock has no time limit of its own.
        pause = _SHORTEST_PAUSE
        while True:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise GroupsUnavailable(
                        f"another process kept the history for {self._timeout:g} s"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _connect(self) -> sqlite3.Connection:
        """Open the file, anew where somebody has removed it."""
        path = self._path
        with suppress(FileNotFoundError):
            status = path.stat()
            if self._connection is not None and self._identity == (status.st_dev, status.st_ino):
                return self._connection
        self._close_connection()
        self._connection = _open(str(path))
        status = path.stat()
        self._identity = status.st_dev, status.st_ino
        return self._connection

    def _discard(self, error: sqlite3.Error) -> None:
        """Remove a file that is damaged, as all processes find out when they look at it."""
        logger.error("%s is damaged, so all histories begin anew: %s", self._path, error)
        self._close_connection()
        self._path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self._place.directory / f"{self._place.name}.history"

    def _close(self) -> None:
        self._close_connection()
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None

    def _close_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _open(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        # It need not outlive the machine, only the process; and one at a time is here.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection
