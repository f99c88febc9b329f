"""How a request to the API proves who it is: a token, or the session of the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.authentication import SessionAuthentication as DrfSessionAuthentication
from rest_framework.exceptions import AuthenticationFailed

from apps.accounts.tokens import authenticate
from apps.core.actors import Actor
from apps.core.errors import Unauthenticated
from apps.core.requests import client_address

if TYPE_CHECKING:
    from rest_framework.request import Request

    from apps.accounts.models import ApiToken, User


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer kzs_…`; stands first, so that a refusal is a 401 with `WWW-Authenticate`."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() != b"bearer":
            return None
        if len(parts) != 2:
            raise AuthenticationFailed("Send one token: Authorization: Bearer kzs_…")
        try:
            token = authenticate(
                parts[1].decode("ascii", "replace"),
                organization=request._request.tenant.slug,  # type: ignore[attr-defined]
            )
        except Unauthenticated as error:
            raise AuthenticationFailed(error.message) from None
        actor = Actor.of(token.user, via=f"token:{token.pk}", address=client_address(request._request))
        request._request.actor = actor  # type: ignore[attr-defined]
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="Kaizen Studio"'


class SessionAuthentication(DrfSessionAuthentication):
    """The dashboard's cookie, with CSRF enforced by the base class. `ActorMiddleware` has set the actor already."""


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Documents the token in OpenAPI."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "kzs_…"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Documents the session in OpenAPI."""

    target_class = SessionAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
