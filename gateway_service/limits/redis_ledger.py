"""The ledger of gateways that share a Redis: together they count as one.

Slots are those of each gateway's clock, so their clocks should agree to a second (NTP).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway_service.limits.ledger import Finding, LedgerUnavailable
from gateway_service.store.shared_redis import RedisAway

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from gateway_service.limits.ledger import Correction, Wish
    from gateway_service.store.shared_redis import SharedRedis

_RUNNING_KEPT_S = 3_600
_MINUTE_KEPT_S = 180
_BUDGET_KEPT_S = 63 * 86_400

# As `Wish.fits` and `Quota.share` say it. KEYS: those that run, then the counts of each quota. ARGV: execution, now,
# until, how many may run (-1: any number); then of each quota limit, demand, oldest slot, present slot, seconds kept.
_RESERVE = (
    """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[2])
local running = redis.call('ZCARD', KEYS[1])
local allowed = tonumber(ARGV[4])
local granted = (allowed < 0 or running < allowed) and 1 or 0
local spent, totals = {}, {}
for i = 2, #KEYS do
  local at = 5 + (i - 2) * 5
  local counted, found, total = redis.call('HGETALL', KEYS[i]), {}, 0
  for j = 1, #counted, 2 do
    if tonumber(counted[j]) < tonumber(ARGV[at + 2]) then
      redis.call('HDEL', KEYS[i], counted[j])
    else
      found[#found + 1] = counted[j]
      found[#found + 1] = counted[j + 1]
      total = total + tonumber(counted[j + 1])
    end
  end
  spent[#spent + 1] = found
  totals[i] = total
  if total >= tonumber(ARGV[at]) then granted = 0 end
end
if granted == 1 then
  for i = 2, #KEYS do
    local at = 5 + (i - 2) * 5
    local share = math.min(tonumber(ARGV[at + 1]), tonumber(ARGV[at]) - totals[i])
    redis.call('HINCRBY', KEYS[i], ARGV[at + 3], string.format('%.0f', share))
    redis.call('EXPIRE', KEYS[i], ARGV[at + 4])
  end
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
  redis.call('EXPIRE', KEYS[1], """
    + str(_RUNNING_KEPT_S)
    + """)
end
return {granted, running, spent}
"""
)

# KEYS: those that run, then the counts of each correction. ARGV: execution; then of each slot, amount, seconds kept.
_SETTLE = """
redis.call('ZREM', KEYS[1], ARGV[1])
for i = 2, #KEYS do
  local at = 2 + (i - 2) * 3
  local counted = tonumber(redis.call('HGET', KEYS[i], ARGV[at]) or '0')
  local corrected = math.max(0, counted + tonumber(ARGV[at + 1]))
  redis.call('HSET', KEYS[i], ARGV[at], string.format('%.0f', corrected))
  redis.call('EXPIRE', KEYS[i], ARGV[at + 2])
end
return 0
"""

_RENEW = (
    """
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], ARGV[1], ARGV[i]) end
redis.call('EXPIRE', KEYS[1], """
    + str(_RUNNING_KEPT_S)
    + """)
return 0
"""
)


class RedisLedger:
    """Counts in a Redis that gateways share."""

    def __init__(self, redis: SharedRedis) -> None:
        self._redis = redis

    async def reserve(self, wish: Wish) -> Finding:
        """See `Ledger`."""
        meters = [quota.meter for quota in wish.quotas]
        concurrent = -1 if wish.concurrent is None else wish.concurrent
        arguments: list[str | float] = [wish.execution_id, repr(wish.now), repr(wish.until), concurrent]
        for quota in wish.quotas:
            arguments += [quota.limit, quota.demand, quota.first, quota.slot, _kept_s(quota.meter)]
        granted, running, spent = await self._run(_RESERVE, wish.key_id, meters, arguments)
        return Finding(bool(granted), running, tuple(_by_slot(counted) for counted in spent))

    async def settle(self, key_id: str, execution_id: str, corrections: Sequence[Correction]) -> None:
        """See `Ledger`."""
        arguments: list[str | float] = [execution_id]
        for each in corrections:
            arguments += [each.slot, each.amount, _kept_s(each.meter)]
        await self._run(_SETTLE, key_id, [each.meter for each in corrections], arguments)

    async def renew(self, key_ids: Mapping[str, str], until: float) -> None:
        """See `Ledger`."""
        executions: dict[str, list[str]] = {}
        for execution_id, key_id in key_ids.items():
            executions.setdefault(key_id, []).append(execution_id)
        for key_id, running in executions.items():
            await self._run(_RENEW, key_id, [], [repr(until), *running])

    async def close(self) -> None:
        """Nothing: the connections are shared."""

    async def _run(self, script: str, key_id: str, meters: Sequence[str], arguments: Sequence[str | float]) -> Any:
        keys = [self._redis.key(key_id, "running"), *(self._redis.key(key_id, "spent", meter) for meter in meters)]
        try:
            return await self._redis.run(script, keys, arguments)
        except RedisAway as error:
            raise LedgerUnavailable(f"Redis does not answer: {error}") from error


def _kept_s(meter: str) -> int:
    return _BUDGET_KEPT_S if meter.startswith("budget/") else _MINUTE_KEPT_S


def _by_slot(pairs: Sequence[bytes]) -> dict[int, int]:
    return {int(slot): int(amount) for slot, amount in zip(pairs[::2], pairs[1::2], strict=True)}
