"""The gate of every WebSocket: host, origin and session, checked as strictly as for a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.core.exceptions import ValidationError
from django.utils.crypto import constant_time_compare

from apps.accounts.models import User
from apps.core.actors import Actor
from apps.core.errors import StudioError, Unauthenticated
from apps.core.requests import address_behind_proxy
from apps.core.tenancy import tenant
from apps.tenants.models import Organization
from apps.tenants.queries import organization_at, require_active

_Scope = dict[str, Any]
_Application = Callable[[_Scope, Any, Any], Awaitable[None]]


class SocketGate:
    """Puts `schema` and `actor_now` on the scope, or a `refusal` (close code, reason) that the consumer sends.

    `actor_now()` re-reads the session, so that a socket outlives neither sign-out nor deactivation nor suspension. It
    must be called inside the organization's schema.
    """

    def __init__(self, application: _Application) -> None:
        self.application = application

    async def __call__(self, scope: _Scope, receive: Any, send: Any) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        scope = dict(scope)
        try:
            organization = await database_sync_to_async(organization_at)(_hostname(headers))
            scope["refusal"] = _refusal(organization, headers)
            if scope["refusal"] is None:
                scope["actor_now"] = _actor_now(organization.schema_name, scope, headers)
                await database_sync_to_async(_try)(organization.schema_name, scope["actor_now"])
                scope["schema"] = organization.schema_name
        except StudioError as error:
            scope["refusal"] = (4000 + error.status, error.message)
        await self.application(scope, receive, send)


def _hostname(headers: dict[str, str]) -> str:
    return headers.get("host", "").rsplit(":", 1)[0].lower().rstrip(".")


def _refusal(organization: Organization, headers: dict[str, str]) -> tuple[int, str] | None:
    origin = urlsplit(headers.get("origin", ""))
    # A browser always sends Origin; a page of another site must not ride on the visitor's cookie.
    if origin.netloc.lower() != headers.get("host", "").lower():
        return 4403, "The page that opened this socket is not of this host."
    if organization.schema_name == "public":
        return 4404, "There are no sockets on the public site."
    if organization.status != Organization.Status.ACTIVE:
        return 4403, f"This organization is {organization.status}. {organization.reason}"
    return None


def _session_key(headers: dict[str, str]) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _actor_now(schema: str, scope: _Scope, headers: dict[str, str]) -> Callable[[], Actor]:
    key = _session_key(headers)
    address = address_behind_proxy(str((scope.get("client") or ("",))[0]), headers.get("x-forwarded-for", ""))

    def actor_now() -> Actor:
        require_active(schema)
        return actor_of_session(key, address)

    return actor_now


def _try(schema: str, actor_now: Callable[[], Actor]) -> None:
    with tenant(schema):
        actor_now()


def actor_of_session(session_key: str, address: str) -> Actor:
    """The member behind a session of the present schema.

    Raises:
        Unauthenticated: there is no such session, it ended, or its user is deactivated.
    """
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key or None)
    if session.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        raise Unauthenticated("Sign in first.")
    try:
        user = User.objects.filter(pk=session.get(SESSION_KEY), is_active=True).first()
    except ValidationError:
        user = None
    if user is None or not constant_time_compare(session.get(HASH_SESSION_KEY, ""), user.get_session_auth_hash()):
        raise Unauthenticated("Sign in first.")
    return Actor.of(user, via="session", address=address)
