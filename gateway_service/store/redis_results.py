"""Results of executions in the background, in a Redis that gateways share: any of them can answer or cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway_service.execution.results import BYTES_PER_KEY, RESULTS_PER_KEY, KeptExecution, ResultsUnavailable
from gateway_service.store.shared_redis import RedisAway

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from gateway_service.store.shared_redis import SharedRedis

# KEYS: the execution, the key's executions by their start. ARGV: id, start, expiry, seconds kept, results kept, bytes
# kept, what the others' names begin with; then names and values. The oldest beyond the bounds go, but none that runs.
_BEGIN = """
local count, bytes = 0, 0
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[2], 0, -1)) do
  local length = redis.call('HGET', ARGV[7] .. id, 'length')
  if not length then
    redis.call('ZREM', KEYS[2], id)
  else
    count = count + 1
    bytes = bytes + tonumber(length)
    if tonumber(length) > 0 and (count > tonumber(ARGV[5]) - 1 or bytes > tonumber(ARGV[6])) then
      redis.call('DEL', ARGV[7] .. id)
      redis.call('ZREM', KEYS[2], id)
    end
  end
end
redis.call('HSET', KEYS[1], 'length', '0', unpack(ARGV, 8))
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 0
"""

# KEYS: the execution. ARGV: seconds kept (0: as before); then names and values.
_CHANGE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
if tonumber(ARGV[1]) > 0 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
"""

_FORGET = """
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])
"""


class RedisResults:
    """Keeps results in a Redis that gateways share."""

    def __init__(self, redis: SharedRedis) -> None:
        self._redis = redis

    async def begin(self, execution: KeptExecution) -> None:
        """See `Results`."""
        kept_s = max(1, round(execution.expires_at - execution.started_at))
        arguments: list[str | float] = [
            execution.execution_id, repr(execution.started_at), repr(execution.expires_at), kept_s, RESULTS_PER_KEY,
            BYTES_PER_KEY, self._name(execution.key_id, ""),
            "registration", execution.registration, "started_at", repr(execution.started_at),
            "expires_at", repr(execution.expires_at), "until", repr(execution.until),
        ]  # fmt: skip
        await self._run(_BEGIN, self._keys(execution.key_id, execution.execution_id), arguments)

    async def finish(self, execution: KeptExecution) -> None:
        """See `Results`."""
        assert execution.ending is not None
        assert execution.finished_at is not None
        arguments: list[str | bytes | float] = [
            max(1, round(execution.expires_at - execution.finished_at)),
            "finished_at", repr(execution.finished_at), "expires_at", repr(execution.expires_at),
            "ending", execution.ending, "length", len(execution.ending),
        ]  # fmt: skip
        await self._run(_CHANGE, self._keys(execution.key_id, execution.execution_id)[:1], arguments)

    async def find(self, key_id: str, execution_id: str) -> KeptExecution | None:
        """See `Results`."""
        try:
            pairs = await self._redis.do("HGETALL", self._name(key_id, execution_id))
        except RedisAway as error:
            raise ResultsUnavailable(f"Redis does not answer: {error}") from error
        found = _by_name(pairs)
        if not found:
            return None
        finished_at = found.get("finished_at")
        return KeptExecution(
            execution_id, key_id, found["registration"].decode(), float(found["started_at"]),
            float(found["expires_at"]), float(found["until"]), None if finished_at is None else float(finished_at),
            found.get("ending"),
        )  # fmt: skip

    async def forget(self, key_id: str, execution_id: str) -> bool:
        """See `Results`."""
        return bool(await self._run(_FORGET, self._keys(key_id, execution_id), [execution_id]))

    async def renew(self, execution_ids: Collection[tuple[str, str]], until: float) -> set[str]:
        """See `Results`."""
        gone = set()
        for key_id, execution_id in execution_ids:
            if not await self._run(_CHANGE, self._keys(key_id, execution_id)[:1], [0, "until", repr(until)]):
                gone.add(execution_id)
        return gone

    async def close(self) -> None:
        """Nothing: the connections are shared."""

    def _name(self, key_id: str, execution_id: str) -> str:
        return self._redis.key(key_id, "result", execution_id)

    def _keys(self, key_id: str, execution_id: str) -> list[str]:
        return [self._name(key_id, execution_id), self._redis.key(key_id, "results")]

    async def _run(self, script: str, keys: Sequence[str], arguments: Sequence[str | bytes | float]) -> Any:
        try:
            return await self._redis.run(script, keys, arguments)
        except RedisAway as error:
            raise ResultsUnavailable(f"Redis does not answer: {error}") from error


def _by_name(pairs: Sequence[bytes] | dict[bytes, bytes]) -> dict[str, bytes]:
    if isinstance(pairs, dict):
        return {name.decode(): value for name, value in pairs.items()}
    return {name.decode(): value for name, value in zip(pairs[::2], pairs[1::2], strict=True)}
