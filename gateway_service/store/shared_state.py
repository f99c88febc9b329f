"""Where the state lies that callers make: sessions, what their keys have spent, results of calls in the background.

In files of this gateway, or in a Redis that gateways share, which makes them replicas. Never in both: a gateway that
fell back to its files while Redis is away would forget conversations and count limits anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway_service.limits.redis_ledger import RedisLedger
from gateway_service.limits.sqlite_ledger import SqliteLedger
from gateway_service.store.redis_results import RedisResults
from gateway_service.store.redis_sessions import RedisSessions
from gateway_service.store.shared_redis import SharedRedis
from gateway_service.store.sqlite_results import SqliteResults
from gateway_service.store.sqlite_sessions import SqliteSessions

if TYPE_CHECKING:
    from gateway_service.execution.results import Results
    from gateway_service.limits.ledger import Ledger
    from gateway_service.settings import Settings
    from gateway_service.store.session_memory import SessionMemory


@dataclass(frozen=True)
class SharedState:
    """The three, and the connections that they may have in common."""

    memory: SessionMemory
    ledger: Ledger
    results: Results
    redis: SharedRedis | None = None

    async def close(self) -> None:
        """Let go of all of it."""
        await self.memory.close()
        await self.ledger.close()
        await self.results.close()
        if self.redis is not None:
            await self.redis.close()


def shared_state(settings: Settings) -> SharedState:
    """The state as the settings want it. Blocks on the disk; connects to nothing yet.

    Raises:
        sqlite3.DatabaseError: a file is damaged.
    """
    kept_s = settings.sessions_kept_s
    if settings.redis_url:
        redis = SharedRedis(settings.redis_url, settings.redis_group)
        return SharedState(RedisSessions(redis, kept_s=kept_s), RedisLedger(redis), RedisResults(redis), redis)
    folder = settings.data_dir
    return SharedState(SqliteSessions(folder, kept_s=kept_s), SqliteLedger(folder), SqliteResults(folder))
