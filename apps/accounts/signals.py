"""Writes that allauth and Django own reach the log here, in their transaction."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from allauth.account.signals import password_changed, password_reset
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver

from apps.core.actors import Actor
from apps.core.commands import PendingEvent, Resource
from apps.core.ports import ports
from apps.core.requests import client_address

if TYPE_CHECKING:
    from django.http import HttpRequest

    from apps.accounts.models import User


def _record(action: str, actor: Actor, resource: Resource, **detail: Any) -> None:
    ports.record([PendingEvent(uuid.uuid4(), action, actor, resource, detail=detail)])


def _by(user: User, request: HttpRequest | None) -> Actor:
    return Actor.of(user, via="session", address=client_address(request) if request else "")


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


@receiver([password_changed, password_reset])
def record_password_change(sender: type[User], request: HttpRequest, user: User, **_: Any) -> None:
    _record("user.change-password", _by(user, request), Resource.of(user))
