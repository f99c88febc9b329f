"""Caller keys: ``kzk_{id}_{secret}``. Both planes store a hash; the text exists only where a person keeps it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import AwareDatetime, Field, field_validator

from contract.canonical import DIGEST_PATTERN, MAX_SAFE_INTEGER
from contract.document import Document, Part
from contract.errors import ContractError
from contract.names import check_key_id, check_registration_name

PREFIX = "kzk"
EVERYTHING = "*"
RATE_LIMIT_MAX = 1_000_000
_SECRET_BYTES = 32
_SECRET_MAX_LENGTH = 128


def hash_secret(key_id: str, secret: str) -> str:
    """``sha256:<hex>`` of a key's secret, bound to its id.

    A plain hash is right here: the secret has 256 random bits, so there is nothing a slow hash would protect.
    """
    digest = hashlib.sha256(f"kaizen.key/1\n{key_id}\n{secret}".encode()).hexdigest()
    return f"sha256:{digest}"


def new_key_id() -> str:
    """A new id, never used before: 24 hexadecimal digits."""
    return secrets.token_hex(12)


@dataclass(frozen=True)
class KeyText:
    """A caller key as its owner holds it. Its repr hides the secret."""

    id: str
    secret: str = field(repr=False)

    @classmethod
    def generate(cls, key_id: str | None = None) -> Self:
        """A new key with 256 random bits."""
        return cls(check_key_id(key_id or new_key_id()), secrets.token_urlsafe(_SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``kzk_{id}_{secret}``.

        Raises:
            ContractError: it has another form. The message does not repeat it.
        """
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != PREFIX or not secret or len(secret) > _SECRET_MAX_LENGTH or not secret.isascii():
            raise ContractError(f"a caller key has the form {PREFIX}_<id>_<secret>")
        return cls(check_key_id(key_id), secret)

    @property
    def text(self) -> str:
        """The key to show once to its owner."""
        return f"{PREFIX}_{self.id}_{self.secret}"

    @property
    def hash(self) -> str:
        """What the planes store."""
        return hash_secret(self.id, self.secret)


TOKENS = "tokens"
"""The unit of a budget that counts tokens."""

MICRO = 1_000_000
"""Budgets of money are kept in millionths of the currency's unit."""


class BudgetWindow(StrEnum):
    """How long a budget lasts until it is filled up again: calendar windows in UTC, a week from Monday on."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Budget(Part):
    """What a key may spend in each window.

    Attributes:
        amount: tokens, read and written together; or millionths of the currency's unit.
        unit: `tokens`, or a currency (three capital letters, ISO 4217). Money is reckoned with the prices of the
            gateway's own model profiles; a gateway that has none in this currency refuses the key.
    """

    amount: Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)]
    unit: Annotated[str, Field(pattern=r"^(tokens|[A-Z]{3})$")]
    window: BudgetWindow


class KeyLimits(Part):
    """Limits of one key, on each gateway or on all that share their counts. None is no limit.

    A gateway that does not know a limit refuses the key: a limit is never ignored.

    Attributes:
        requests_per_minute: executions begun in any 60 seconds.
        tokens_per_minute: tokens, read and written together, in any 60 seconds.
        concurrent: executions at once.
        budget: tokens or money in a calendar window.
    """

    requests_per_minute: Annotated[int, Field(ge=1, le=RATE_LIMIT_MAX)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)] | None = None
    concurrent: Annotated[int, Field(ge=1, le=RATE_LIMIT_MAX)] | None = None
    budget: Budget | None = None


class CallerKey(Document):
    """The payload of the kind `api-key`: who may call what, until when.

    Attributes:
        hash: `hash_secret` of the key.
        scopes: registration names, or ``["*"]`` for every registration of the gateway.
        expires_at: from then on the key is refused; None means never.
    """

    max_bytes: ClassVar[int] = 200_000

    hash: Annotated[str, Field(pattern=DIGEST_PATTERN)]
    scopes: Annotated[list[str], Field(min_length=1, max_length=1_000)]
    expires_at: AwareDatetime | None = None
    limits: KeyLimits = Field(default_factory=KeyLimits)

    @field_validator("scopes")
    @classmethod
    def _are_names(cls, scopes: list[str]) -> list[str]:
        if scopes != [EVERYTHING]:
            for scope in scopes:
                check_registration_name(scope)
        return scopes

    def matches(self, key: KeyText) -> bool:
        """Whether this is the key, in constant time."""
        return hmac.compare_digest(self.hash, key.hash)

    def allows(self, registration: str) -> bool:
        """Whether the key may call the registration."""
        return self.scopes == [EVERYTHING] or registration in self.scopes

    def expired(self, now: datetime | None = None) -> bool:
        """Whether the key's time is over."""
        return self.expires_at is not None and (now or datetime.now(UTC)) >= self.expires_at
