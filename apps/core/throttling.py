"""Rate limit of the API per actor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.throttling import SimpleRateThrottle

from apps.core.requests import actor_of

if TYPE_CHECKING:  # rest_framework.views imports this module through the settings
    from rest_framework.request import Request
    from rest_framework.views import APIView


class ActorThrottle(SimpleRateThrottle):
    """One budget a user or token, so that a busy integration does not lock its own people out.

    The cache key carries the schema through `KEY_FUNCTION`. While Redis is away, each process counts for itself.
    """

    scope = "actor"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        actor = actor_of(request._request)
        return f"throttle:{actor.kind}:{actor.id}:{actor.via}:{actor.address if actor.kind == 'anonymous' else ''}"
