"""The cache, with this process's memory in its place while Redis does not answer.

What is cached are counts of rate limits. Without Redis nobody should be kept from working, and nobody should be let
guess passwords without a limit: each process counts for itself until Redis is back.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)
# A Redis that hangs would hold up each request by its time-out; after a failure it is left alone for so long.
_PAUSE_S = 5.0
_quiet: dict[str, float] = {"until": 0.0}


def _resilient(name: str) -> Callable[..., Any]:
    def operation(self: ResilientRedisCache, *args: Any, **kwargs: Any) -> Any:
        if time.monotonic() >= _quiet["until"]:
            try:
                return getattr(RedisCache, name)(self, *args, **kwargs)
            except (RedisError, OSError) as error:
                _quiet["until"] = time.monotonic() + _PAUSE_S
                log.warning("cache_unavailable", reason=type(error).__name__)
        return getattr(self.memory, name)(*args, **kwargs)

    return operation


class ResilientRedisCache(RedisCache):
    """Django's Redis cache; an operation that fails is done in memory instead."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self.memory = LocMemCache("while-redis-is-away", {**params, "OPTIONS": {}})

    add = _resilient("add")
    get = _resilient("get")
    set = _resilient("set")
    touch = _resilient("touch")
    delete = _resilient("delete")
    get_many = _resilient("get_many")
    has_key = _resilient("has_key")
    incr = _resilient("incr")
    set_many = _resilient("set_many")
    delete_many = _resilient("delete_many")
    clear = _resilient("clear")
