"""Sessions in a Redis that gateways share: a conversation goes on at any of them."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

from gateway_service.models.messages import Message
from gateway_service.store.session_memory import (
    CHARACTERS_KEPT,
    MESSAGES_KEPT,
    SESSIONS_PER_KEY,
    MemoryUnavailable,
    Position,
    Remembered,
    Session,
)
from gateway_service.store.shared_redis import RedisAway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway_service.store.session_memory import Conversation, SessionName
    from gateway_service.store.shared_redis import SharedRedis

_log = logging.getLogger(__name__)

# A session is a hash (when it was made, used, and its nodes) and a list of messages for each node. Two sorted sets, of
# the key and of the registration, have the sessions by their last use. A member of these is `registration`, a newline,
# and `session id`: neither can hold one.
_FORGET = """
local function forget(prefix, all, member)
  local registration = string.match(member, '^(.-)\\n')
  local session = prefix .. ':session:' .. member
  for _, field in ipairs(redis.call('HKEYS', session)) do
    if string.sub(field, 1, 5) == 'node:' then redis.call('DEL', session .. '\\n' .. field) end
  end
  redis.call('DEL', session)
  redis.call('ZREM', all, member)
  redis.call('ZREM', all .. ':' .. registration, member)
end
"""

# KEYS: the session, the node's messages, the key's sessions, the registration's. ARGV: prefix, member, node, now,
# oldest use that counts, seconds kept, messages kept, characters kept, sessions kept; then the messages.
_REMEMBER = (
    _FORGET
    + """
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[5])) do
  forget(ARGV[1], KEYS[3], member)
end
redis.call('HSETNX', KEYS[1], 'created_at', ARGV[4])
redis.call('HSET', KEYS[1], 'node:' .. ARGV[3], '')
for i = 10, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end
local kept, room = 0, tonumber(ARGV[8])
for i = -1, -tonumber(ARGV[7]), -1 do
  local message = redis.call('LINDEX', KEYS[2], i)
  if not message then break end
  room = room - cjson.decode(message).characters
  if room < 0 then break end
  kept = kept + 1
end
if kept == 0 then redis.call('DEL', KEYS[2]) else redis.call('LTRIM', KEYS[2], -kept, -1) end
redis.call('ZADD', KEYS[3], ARGV[4], ARGV[2])
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[2])
for i = 1, #KEYS do redis.call('EXPIRE', KEYS[i], ARGV[6]) end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 5) == 'node:' then redis.call('EXPIRE', KEYS[1] .. '\\n' .. field, ARGV[6]) end
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[3], 0, -tonumber(ARGV[9]) - 1)) do
  forget(ARGV[1], KEYS[3], member)
end
return 0
"""
)

# KEYS: the key's sessions, those that are meant. ARGV: prefix, oldest use that counts; then a member, or none for all.
_FORGET_THESE = (
    _FORGET
    + """
local members = {ARGV[3]}
if not ARGV[3] then members = redis.call('ZRANGE', KEYS[2], 0, -1) end
local forgotten = 0
for _, member in ipairs(members) do
  local used_at = redis.call('ZSCORE', KEYS[2], member)
  if used_at and tonumber(used_at) >= tonumber(ARGV[2]) then forgotten = forgotten + 1 end
  if used_at then forget(ARGV[1], KEYS[1], member) end
end
return forgotten
"""
)

# KEYS: the session, the key's sessions. ARGV: member.
_READ = """
local used_at = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not used_at then return nil end
local nodes = {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 5) == 'node:' then
    nodes[#nodes + 1] = {string.sub(field, 6), redis.call('LRANGE', KEYS[1] .. '\\n' .. field, 0, -1)}
  end
end
return {redis.call('HGET', KEYS[1], 'created_at'), used_at, nodes}
"""

# KEYS: the sessions. ARGV: oldest use that counts, newest use, the member that was seen last (may be empty), limit,
# prefix. Members of one score are in the order of their bytes.
_LIST = """
local found = {}
local seen = ARGV[3]
for _, member in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[2], ARGV[1])) do
  local used_at = redis.call('ZSCORE', KEYS[1], member)
  if seen == '' or tonumber(used_at) < tonumber(ARGV[2]) or member < seen then
    found[#found + 1] = {member, redis.call('HGET', ARGV[5] .. ':session:' .. member, 'created_at'), used_at}
    if #found >= tonumber(ARGV[4]) then break end
  end
end
return found
"""


class RedisSessions:
    """Keeps sessions in a Redis that gateways share."""

    def __init__(self, redis: SharedRedis, *, kept_s: float, clock: Callable[[], float] = time.time) -> None:
        """Keep sessions.

        Args:
            redis: where.
            kept_s: seconds after its last use for which a session is kept.
            clock: seconds since 1970.
        """
        self._redis = redis
        self._kept_s = kept_s
        self._clock = clock

    async def recall(self, conversation: Conversation) -> list[Message]:
        """See `SessionMemory`."""
        found = await self.read(conversation.session)
        return [] if found is None else [each.message for each in found[1] if each.node == conversation.node]

    async def remember(self, conversation: Conversation, messages: Sequence[Message]) -> None:
        """See `SessionMemory`."""
        name, now = conversation.session, self._clock()
        session = self._session(name)
        keys = [session, f"{session}\nnode:{conversation.node}", *self._lists(name.key_id, name.registration)]
        bounds = [max(1, round(self._kept_s)), MESSAGES_KEPT, CHARACTERS_KEPT, SESSIONS_PER_KEY]
        where = [self._redis.key(name.key_id), _member(name), conversation.node]
        written = [
            json.dumps({"role": each.role, "content": each.content, "at": now, "characters": len(each.content)})
            for each in messages
        ]
        await _answered(self._redis.run(_REMEMBER, keys, [*where, repr(now), self._oldest, *bounds, *written]))

    async def sessions(
        self, key_id: str, *, registration: str | None, after: Position | None, limit: int
    ) -> list[Session]:
        """See `SessionMemory`."""
        everything, of_registration = self._lists(key_id, registration or "")
        newest = "+inf" if after is None else repr(after.used_at)
        seen = "" if after is None else f"{after.registration}\n{after.session_id}"
        keys = [everything if registration is None else of_registration]
        rows = await _answered(
            self._redis.run(_LIST, keys, [self._oldest, newest, seen, limit, self._redis.key(key_id)])
        )
        return [_session(*row) for row in rows]

    async def read(self, name: SessionName) -> tuple[Session, list[Remembered]] | None:
        """See `SessionMemory`."""
        keys = [self._session(name), self._lists(name.key_id, name.registration)[0]]
        found = await _answered(self._redis.run(_READ, keys, [_member(name)]))
        if found is None or float(found[1]) < float(self._oldest):
            return None
        created_at, used_at, nodes = found
        remembered = [_remembered(node, message) for node, messages in nodes for message in messages]
        session = _session(_member(name).encode(), created_at, used_at)
        return session, sorted(remembered, key=lambda each: each.at)

    async def forget(self, key_id: str, registration: str, session_id: str | None) -> int:
        """See `SessionMemory`."""
        arguments = [self._redis.key(key_id), self._oldest]
        if session_id is not None:
            arguments.append(f"{registration}\n{session_id}")
        forgotten = await _answered(self._redis.run(_FORGET_THESE, self._lists(key_id, registration), arguments))
        return int(forgotten)

    async def close(self) -> None:
        """Nothing: the connections are shared."""

    @property
    def _oldest(self) -> str:
        return repr(self._clock() - self._kept_s)

    def _session(self, name: SessionName) -> str:
        return self._redis.key(name.key_id, "session", _member(name))

    def _lists(self, key_id: str, registration: str) -> list[str]:
        """The sessions of a key, and those of one registration among them."""
        return [self._redis.key(key_id, "sessions"), self._redis.key(key_id, "sessions", registration)]


async def _answered(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except RedisAway as error:
        _log.error("sessions are out of reach: Redis does not answer: %s", error)
        raise MemoryUnavailable from error


def _member(name: SessionName) -> str:
    return f"{name.registration}\n{name.session_id}"


def _session(member: bytes, created_at: bytes | None, used_at: bytes) -> Session:
    registration, _, session_id = member.decode().partition("\n")
    return Session(registration, session_id, float(created_at or used_at), float(used_at))


def _remembered(node: bytes, message: bytes) -> Remembered:
    content = json.loads(message)
    return Remembered(node.decode(), Message(content["role"], content["content"]), content["at"])
