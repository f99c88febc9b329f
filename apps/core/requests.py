"""Facts about a request that several apps need."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from django.conf import settings

from apps.core.actors import Actor

if TYPE_CHECKING:
    from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """Where the request came from, for the log and for limits."""
    return address_behind_proxy(str(request.META.get("REMOTE_ADDR", "")), request.headers.get("x-forwarded-for", ""))


def address_behind_proxy(peer: str, forwarded: str) -> str:
    """The peer's address; behind our own proxy, the one that the proxy saw.

    The proxy adds what it saw at the end of `X-Forwarded-For`. What stands before that, anybody can claim.
    """
    if not settings.KAIZEN_BEHIND_PROXY:
        return peer
    try:
        return str(ip_address(forwarded.rpartition(",")[2].strip()))
    except ValueError:
        return peer


def actor_of(request: HttpRequest) -> Actor:
    """The actor that `ActorMiddleware` or the API's authentication put on the request."""
    actor = getattr(request, "actor", None)
    return actor if isinstance(actor, Actor) else Actor.anonymous(address=client_address(request))
