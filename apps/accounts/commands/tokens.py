"""API tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from apps.accounts.models import ApiToken, User
from apps.accounts.tokens import TokenText
from apps.core.commands import command
from apps.core.errors import Conflict, Invalid
from apps.core.secrets import hash_secret
from apps.core.tenancy import current_schema
from apps.tenants.models import Organization

if TYPE_CHECKING:
    from datetime import datetime

    from apps.core.actors import Actor


@command("api-token.create", on="user")
def create_token(
    *, actor: Actor, user: User, name: str, expires_at: datetime | None = None
) -> tuple[ApiToken, TokenText]:
    """Make a token that acts as the user. The text is returned this once and not kept.

    Raises:
        Invalid: it has no name, ends in the past, or is for somebody else.
    """
    if not name.strip():
        raise Invalid(fields={"name": ["Name what will use the token."]})
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid(fields={"expires_at": ["That is in the past."]})
    if actor.kind == "user" and actor.id != str(user.pk):
        # An administrator's role covers the action, but a token is a way to act as somebody else.
        raise Invalid(fields={"user": ["A token can only be made for oneself."]})
    text = TokenText.new(Organization.objects.get(schema_name=current_schema()).slug)
    token = ApiToken.objects.create(
        user=user,
        name=name.strip()[:80],
        public_id=text.public_id,
        secret_hash=hash_secret(text.secret),
        expires_at=expires_at,
    )
    return token, text


@command("api-token.revoke", on="token")
def revoke_token(*, actor: Actor, token: ApiToken) -> ApiToken:
    """End a token at once.

    Raises:
        Conflict: it was revoked before.
    """
    if token.revoked_at is not None:
        raise Conflict(f"The token “{token}” was revoked already.")
    token.revoked_at = timezone.now()
    token.save(update_fields=["revoked_at", "updated_at"])
    return token
