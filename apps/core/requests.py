"""Facts about a request that several apps need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.core.actors import Actor

if TYPE_CHECKING:
    from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """The peer's address as the web server reports it; daphne's `--proxy-headers` makes that the real client's."""
    return str(request.META.get("REMOTE_ADDR", ""))


def actor_of(request: HttpRequest) -> Actor:
    """The actor that `ActorMiddleware` or the API's authentication put on the request."""
    actor = getattr(request, "actor", None)
    return actor if isinstance(actor, Actor) else Actor.anonymous(address=client_address(request))
