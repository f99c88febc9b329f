"""Sign-ins, which Django owns, reach the log here; passwords do in `adapter` and `operators`, in their transaction."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver

from apps.core.actors import Actor
from apps.core.commands import PendingEvent, Resource
from apps.core.ports import ports
from apps.core.requests import client_address
from apps.core.tenancy import in_public

if TYPE_CHECKING:
    from django.http import HttpRequest

    from apps.accounts.models import User


def _record(action: str, actor: Actor, resource: Resource, **detail: Any) -> None:
    ports.record([PendingEvent(uuid.uuid4(), action, actor, resource, detail=detail)])


def _by(user: User, request: HttpRequest | None) -> Actor:
    address = client_address(request) if request else ""
    return Actor.operator(user, address=address) if in_public() else Actor.of(user, address=address)


@receiver(user_logged_in)
def record_sign_in(sender: type[User], request: HttpRequest, user: User, **_: Any) -> None:
    _record("user.sign-in", _by(user, request), Resource.of(user))


@receiver(user_logged_out)
def record_sign_out(sender: type[User], request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        _record("user.sign-out", _by(user, request), Resource.of(user))


@receiver(user_login_failed)
def record_failed_sign_in(sender: str, credentials: dict[str, Any], request: HttpRequest | None, **_: Any) -> None:
    """A failed attempt names the address that was tried, never the password."""
    tried = str(credentials.get("email") or credentials.get("username") or "")[:300]
    actor = Actor.anonymous(address=client_address(request) if request else "")
    _record("user.sign-in-failed", actor, Resource("user", label=tried))


def record_password_change(user: User, request: HttpRequest | None, *, by: Actor | None = None) -> None:
    """Tell the log, in the transaction that changes the password, who changed it."""
    _record("user.change-password", by or _by(user, request), Resource.of(user))
