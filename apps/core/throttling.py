"""Rate limit of the API per actor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError
from rest_framework.throttling import SimpleRateThrottle

from apps.core.requests import actor_of

if TYPE_CHECKING:  # rest_framework.views imports this module through the settings
    from rest_framework.request import Request
    from rest_framework.views import APIView


log = structlog.get_logger(__name__)


class ActorThrottle(SimpleRateThrottle):
    """One budget a user or token, so that a busy integration does not lock its own people out.

    The cache key carries the schema through `KEY_FUNCTION`.
    """

    scope = "actor"

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Without the cache there is no limit: a broken cache must not keep anybody from revoking a key."""
        try:
            return bool(super().allow_request(request, view))
        except (RedisError, OSError) as error:
            log.warning("throttle_unavailable", reason=type(error).__name__)
            return True

    def get_cache_key(self, request: Request, view: APIView) -> str:
        actor = actor_of(request._request)
        return f"throttle:{actor.kind}:{actor.id}:{actor.via}:{actor.address if actor.kind == 'anonymous' else ''}"
