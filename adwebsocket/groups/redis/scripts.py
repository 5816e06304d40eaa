"""The names that groups have in Redis, and the scripts that run there.

A history is a stream, the position of its last message and the server's run. A server that was
started anew, or took over from another one, may lack the last messages and would give their offsets
to others: so a history lives no longer than one run of one server, and then has another epoch.
"""

from __future__ import annotations

import hashlib
from typing import Final

_texts: Final[dict[str, str]] = {}


def _digest(text: str) -> str:
    """Give what Redis calls a script once it has seen it."""
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    _texts[digest] = text
    return digest


def text_of(digest: str) -> str:
    """Give the script that Redis has not seen yet, or forgotten."""
    return _texts[digest]


class Names:
    """What keys and channels are called. All of a group are in one slot of a Cluster.

    Arguments:
        channel_prefix: what channels begin with.
        prefix: what keys begin with.
        tag: what tells two projects apart that use one prefix: their messages meet, are counted and
            skipped, but not their histories and members.
    """

    def __init__(self, channel_prefix: str, prefix: str, tag: bytes) -> None:
        self._channel_prefix = channel_prefix
        self._prefix = f"{prefix}:{tag.hex()}"

    @property
    def control(self) -> str:
        """The channel for orders that are about no group."""
        return f"{self._channel_prefix}:*control"

    def channel(self, group: str) -> str:
        """The channel of a group."""
        return f"{self._channel_prefix}:{{{group}}}"

    def stream(self, group: str) -> str:
        """The messages of a history."""
        return f"{self._prefix}:history:{{{group}}}"

    def state(self, group: str) -> str:
        """Where a history stands."""
        return f"{self._prefix}:state:{{{group}}}"

    def members(self, group: str) -> str:
        """The members of a group in each process."""
        return f"{self._prefix}:members:{{{group}}}"

    def process(self, token: str) -> str:
        """What is there as long as a process lives."""
        return f"{self._prefix}:process:{token}"


# Seconds that a position is kept longer than the messages. It costs a hundred bytes, and without it
# the next message of a group that was silent would look as if others were missing before it.
POSITION_SECONDS: Final = 24 * 3600

# KEYS: state, stream. ARGV[1]: the epoch if there is none yet, ARGV[2]: milliseconds to keep the
# position.
_STATE: Final = """
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local state = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'offset')
local epoch, offset = state[2], tonumber(state[3])
if state[1] ~= run or not epoch or not offset then
    epoch, offset = ARGV[1], 0
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('HSET', KEYS[1], 'run', run, 'epoch', epoch, 'offset', 0)
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
"""

# ARGV[3]: the message, ARGV[4]: how many to keep, ARGV[5]: milliseconds to keep them, ARGV[6]: the
# command that publishes, ARGV[7]: the channel. That is no key: a Cluster that moves a slot answers
# "later" where some keys are there and others are not.
PUBLISH: Final = _digest(
    _STATE
    + """
offset = offset + 1
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[4], offset .. '-1', 'm', ARGV[3])
redis.call('HSET', KEYS[1], 'offset', offset)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call(ARGV[6], ARGV[7], '@' .. epoch .. '-' .. offset .. '\\n' .. ARGV[3])
return 1
"""
)

# ARGV[3]: the epoch that the asker knows, ARGV[4]: the offset; an empty epoch for any, an empty
# offset for no messages. Gives epoch, offset and the messages, which are all if there are enough.
RECOVER: Final = _digest(
    _STATE
    + """
local since = tonumber(ARGV[4])
local messages = {}
if since and since <= offset and (ARGV[3] == '' or ARGV[3] == epoch) then
    for _, entry in ipairs(redis.call('XRANGE', KEYS[2], (since + 1) .. '-1', '+')) do
        messages[#messages + 1] = entry[2][2]
    end
end
return {epoch, offset, messages}
"""
)
