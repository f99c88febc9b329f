"""Puts the actor on every request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.middleware import get_user
from django.utils.functional import SimpleLazyObject

from apps.accounts.models import User
from apps.core.actors import Actor
from apps.core.requests import client_address
from apps.core.tenancy import in_public

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse


class ActorMiddleware:
    """`request.actor`: the member, the operator on the public host, or nobody.

    Lazy, so that a page without a session costs no query.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.actor = SimpleLazyObject(lambda: _actor(request))  # type: ignore[attr-defined]
        return self.get_response(request)


def _actor(request: HttpRequest) -> Actor:
    address = client_address(request)
    if not request.user.is_authenticated:
        return Actor.anonymous(address=address)
    # The row itself: `request.user` is a lazy wrapper, whose type has no manager to lock it with.
    user = get_user(request)
    assert isinstance(user, User)
    return Actor.operator(user, address=address) if in_public() else Actor.of(user, address=address)
