"""A Redis that gateways share: with it they are replicas, any of which can answer.

It is the gateways' own, never Studio's. The client library is imported with the first use, as only such gateways need
it. All keys of one caller key have its id as hash tag, so that scripts work on a cluster. Nothing is retried: a script
whose answer got lost may have counted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

_TIMEOUT_S = 2.0
_CONNECTIONS = 64


class RedisAway(Exception):
    """Redis does not answer, or not as it should."""


class SharedRedis:
    """One gateway's connections. Lives on one event loop."""

    def __init__(self, url: str, group: str) -> None:
        """Prepare; connections are made when they are needed.

        Args:
            url: ``redis://`` or ``rediss://``.
            group: sets gateways apart that share a server, but no state.
        """
        self._url = url
        self._group = group
        self._redis: Redis | None = None
        self._scripts: dict[str, AsyncScript] = {}

    def key(self, key_id: str, *parts: str) -> str:
        """The name under which something of a caller key lies."""
        return ":".join((f"kaizen:{self._group}:{{{key_id}}}", *parts))

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[str | bytes | float]) -> Any:
        """Run a Lua script, which nothing else interrupts.

        Raises:
            RedisAway: whether it ran is unknown.
        """
        if script not in self._scripts:
            self._scripts[script] = self._client().register_script(script)
        return await self._answered(self._scripts[script](keys=list(keys), args=list(arguments)))

    async def do(self, *command: str | bytes | float) -> Any:
        """Run one command.

        Raises:
            RedisAway: whether it ran is unknown.
        """
        return await self._answered(self._client().execute_command(*command))  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()

    def _client(self) -> Redis:
        if self._redis is None:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            pool = BlockingConnectionPool.from_url(
                self._url, max_connections=_CONNECTIONS, timeout=_TIMEOUT_S, socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0), protocol=2,
            )  # fmt: skip
            self._redis = Redis.from_pool(pool)
        return self._redis

    async def _answered(self, answer: Any) -> Any:
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(2 * _TIMEOUT_S):
                return await answer
        except (RedisError, OSError, TimeoutError) as error:
            # Its words may hold the address with the password.
            raise RedisAway(type(error).__name__) from None
