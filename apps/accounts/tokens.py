"""The text of an API token and the way back from it to a user."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from apps.accounts.models import ApiToken
from apps.core.errors import Unauthenticated
from apps.core.secrets import matches
from apps.core.tenancy import current_schema

_TEXT = re.compile(r"kzs_(?P<organization>[a-z0-9-]{3,40})_(?P<public_id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})")
_LAST_USED_PRECISION = timedelta(minutes=1)
_UNKNOWN = "The token is not valid in this organization."


@dataclass(frozen=True, slots=True)
class TokenText:
    """A token as its owner holds it; shown once."""

    organization: str
    public_id: str
    secret: str

    def __str__(self) -> str:
        return f"kzs_{self.organization}_{self.public_id}_{self.secret}"

    def __repr__(self) -> str:
        return f"TokenText(public_id={self.public_id!r})"

    @classmethod
    def new(cls, organization: str) -> TokenText:
        return cls(organization, secrets.token_hex(8), secrets.token_urlsafe(32))

    @classmethod
    def parse(cls, text: str) -> TokenText:
        """Read a token's text.

        Raises:
            Unauthenticated: it has not the form of a token.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise Unauthenticated("That is not an API token; one starts with kzs_.")
        return cls(**match.groupdict())


def authenticate(text: str, *, organization: str) -> ApiToken:
    """The live token with this text in the present organization.

    Raises:
        Unauthenticated: unknown, of another organization, revoked, expired, or its user is deactivated. All say the
            same to the outside, except expiry and revocation, which only the holder of the secret gets to see.
    """
    parsed = TokenText.parse(text)
    token = ApiToken.objects.select_related("user").filter(public_id=parsed.public_id).first()
    known_hash = token.secret_hash if token is not None else "0" * 64
    genuine = matches(parsed.secret, known_hash)
    if token is None or not genuine or parsed.organization != organization or current_schema() == "public":
        raise Unauthenticated(_UNKNOWN)
    now = timezone.now()
    if token.revoked_at is not None:
        raise Unauthenticated("The token was revoked.")
    if token.expires_at is not None and token.expires_at <= now:
        raise Unauthenticated("The token has expired.")
    if not token.user.is_active:
        raise Unauthenticated("The token's user is deactivated.")
    if token.last_used_at is None or now - token.last_used_at > _LAST_USED_PRECISION:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token
