"""Who is in the groups of one hub, as Redis is told, and who is in them anywhere, as it is asked.

Each hub writes what it has under a token of its own, a moment after it changed, and keeps a key
with a short life. What belongs to a token without one is that of a process that has died.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Any, Final

from django.core.serializers.json import DjangoJSONEncoder

from .errors import Reporter, Unreachable, logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..hub import Hub
    from .backend import RedisBackend
    from .client import Client
    from .scripts import Names

# Seconds in which changes are gathered.
_GATHER: Final = 0.1
# Of the life of a hub's key, after which it is written again.
_BEAT: Final = 0.25
# Seconds that Redis keeps the members of a group; after a third of that they are written again.
_KEEP: Final = 3600
# Groups that are written in one go.
_BATCH: Final = 500


class Presence:
    """Tells Redis who is in the groups of a hub. On the hub's event loop only.

    Arguments:
        backend: how Redis is reached.
        hub: who knows the members.
    """

    def __init__(self, backend: RedisBackend, hub: Hub) -> None:
        self._backend = backend
        self._hub = hub
        self._ttl = backend.settings.presence_ttl
        self._token = secrets.token_hex(8)
        # In the order in which they changed.
        self._changed: dict[str, None] = {}
        self._written: set[str] = set()
        self._has_changed = asyncio.Event()
        self._beat_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._reporter = Reporter(float("inf"))

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def note(self, group: str) -> None:
        """Take note that a member has come or gone."""
        self._changed[group] = None
        self._has_changed.set()

    def repeat(self) -> None:
        """Write everything again, for Redis may have lost it."""
        self._beat_at = 0.0
        self._note_all()

    def _note_all(self) -> None:
        for group in (*self._written, *self._hub.groups()):
            self.note(group)

    async def stop(self) -> None:
        """Take back what has been written."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._written:
            try:
                await self._backend.run_aside(self._take_back, list(self._written))
            except Unreachable as error:
                logger.debug("Members of groups stay in Redis until they are too old: %s", error)

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        keep_at = clock()
        while True:
            if not self._changed and not self._written:
                await self._has_changed.wait()
            try:
                async with asyncio.timeout_at(self._beat_at):
                    await self._has_changed.wait()
                    await asyncio.sleep(_GATHER)
            except TimeoutError:
                pass
            try:
                if clock() >= self._beat_at:
                    self._beat_at = clock() + self._ttl * _BEAT
                    # The key comes before the members, which nobody would believe without it.
                    if not await self._backend.run_aside(self._beat):
                        self._note_all()
                if clock() >= keep_at:
                    keep_at = clock() + _KEEP / 3
                    self._note_all()
                await self._write()
            except Exception as error:
                if not isinstance(error, Unreachable):
                    logger.exception("who is in groups cannot be written")
                self._reporter.report("away", "Redis does not learn who is in groups: %s", error)
                self._beat_at = 0.0
                await asyncio.sleep(min(1.0, self._ttl * _BEAT))
            else:
                self._reporter.forget()

    async def _write(self) -> None:
        """Write what has changed."""
        self._has_changed.clear()
        while self._changed:
            groups = list(self._changed)[:_BATCH]
            for group in groups:
                del self._changed[group]
            lists = {group: self._hub.presences(group) for group in groups}
            # Before it is done: what has been sent may arrive, even where no answer comes.
            self._written.update(group for group in groups if lists[group])
            try:
                await self._backend.run_aside(self._put, lists)
            except BaseException:
                self._changed = {**dict.fromkeys(groups), **self._changed}
                self._has_changed.set()
                raise
            self._written.difference_update(group for group in groups if not lists[group])

    # In threads

    def _beat(self) -> bool:
        """Say that this process lives; tell whether that was known."""
        client, name = self._backend.client, self._backend.names.process(self._token)
        milliseconds = int(self._ttl * 1000)
        was_known = client.ask(name, "SET", name, "1", "XX", "PX", milliseconds)
        if not was_known:
            client.ask(name, "SET", name, "1", "PX", milliseconds)
        return bool(was_known)

    def _put(self, lists: dict[str, list[Any]]) -> None:
        commands: list[tuple[str, tuple[Any, ...]]] = []
        for group, presences in lists.items():
            name = self._backend.names.members(group)
            if presences:
                value = dump_presences(presences)
                commands.append((name, ("HSET", name, self._token, value)))
                commands.append((name, ("EXPIRE", name, _KEEP)))
            else:
                commands.append((name, ("HDEL", name, self._token)))
        self._backend.client.ask_all(commands)

    def _take_back(self, groups: list[str]) -> None:
        names = self._backend.names
        key = names.process(self._token)
        commands: list[tuple[str, tuple[Any, ...]]] = [(key, ("DEL", key))]
        for group in groups:
            name = names.members(group)
            commands.append((name, ("HDEL", name, self._token)))
        self._backend.client.ask_all(commands)


def read_members(client: Client, names: Names, group: str) -> Iterable[tuple[int, list[Any]]]:
    """Ask Redis who is in a group: for each hub how many, and the presences that are not None.

    Raises:
        Unreachable: it did not tell.
    """
    name = names.members(group)
    reply = client.ask(name, "HGETALL", name)
    values = dict(zip(reply[::2], reply[1::2], strict=True))
    keys = [names.process(token.decode()) for token in values]
    alive = client.ask_all([(key, ("EXISTS", key)) for key in keys])
    dead = [token for token, lives in zip(values, alive, strict=True) if not lives]
    if dead:
        # Only as they were read: their process may have been silent, and be back.
        client.ask(name, "EVAL", _REMOVE, 1, name, *(x for t in dead for x in (t, values[t])))
    return [load_presences(values[token]) for token in values if token not in dead]


_REMOVE: Final = """
for index = 1, #ARGV, 2 do
    if redis.call('HGET', KEYS[1], ARGV[index]) == ARGV[index + 1] then
        redis.call('HDEL', KEYS[1], ARGV[index])
    end
end
return 1
"""


def dump_presences(presences: list[Any]) -> str:
    """Write how many members there are and the presences that are not None."""
    known = [presence for presence in presences if presence is not None]
    try:
        return _dump([len(presences), known])
    except (TypeError, ValueError, RecursionError):
        return _dump([len(presences), [each for each in known if _can_be_dumped(each)]])


def load_presences(value: bytes) -> tuple[int, list[Any]]:
    """Read what ``dump_presences`` gave; of what somebody else has written, nothing."""
    try:
        count, known = json.loads(value)
        return int(count), list(known)
    except (ValueError, TypeError, RecursionError):
        return 0, []


def _dump(value: Any) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder, separators=(",", ":"))


def _can_be_dumped(presence: Any) -> bool:
    try:
        _dump(presence)
    except (TypeError, ValueError, RecursionError):
        logger.warning("The presence %r is no JSON, and None to other processes", presence)
        return False
    return True
