"""Environments, and the key that signs what an organization puts on its gateways."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, URLValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse

from apps.core.models import BaseModel
from contract.errors import ContractError
from contract.names import ENVIRONMENT_MAX_LENGTH, check_environment

DEFAULT_POLL_INTERVAL_S = 5


def validate_environment(slug: str) -> None:
    """The rule of environment names that both planes share.

    Raises:
        ValidationError: it is no such name.
    """
    try:
        check_environment(slug)
    except ContractError as error:
        raise ValidationError(f"{error.reason[:1].upper()}{error.reason[1:]}.") from None


class EnvironmentQuerySet(models.QuerySet["Environment"]):
    """Environments, in the order in which releases move through them."""


class Environment(BaseModel):
    """A stage that agents run in, with its own gateways and keys.

    Attributes:
        slug: the last part of every registration's name in it, so it never changes.
        order: where it stands among the others; releases move from the lowest to the highest.
        poll_interval_s: seconds between two looks at each of its gateways.
        caller_url: where applications reach its gateways if they stand behind a load balancer; "" if they do not.
    """

    slug = models.CharField(max_length=ENVIRONMENT_MAX_LENGTH, unique=True, validators=[validate_environment])
    name = models.CharField(max_length=60)
    order = models.PositiveSmallIntegerField(default=0)
    poll_interval_s = models.PositiveIntegerField(
        default=DEFAULT_POLL_INTERVAL_S, validators=[MinValueValidator(1), MaxValueValidator(3600)]
    )
    caller_url = models.CharField(max_length=300, blank=True, validators=[URLValidator(schemes=["http", "https"])])

    objects = EnvironmentQuerySet.as_manager()

    class Meta:
        ordering = ["order", "slug"]
        constraints = [
            models.CheckConstraint(
                condition=Q(poll_interval_s__gte=1, poll_interval_s__lte=3600), name="environment_poll_interval"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("gateways:environment", kwargs={"slug": self.slug})


class SigningKey(BaseModel):
    """The organization's Ed25519 key. Gateways are installed with the public half and obey nothing else.

    Attributes:
        public_key: 32 bytes as base64url.
        private_key: encrypted with KAIZEN_ENCRYPTION_KEYS.
        active: whether new envelopes are signed with it; exactly one key is.
    """

    audit_hidden = frozenset({"private_key"})

    public_key = models.CharField(max_length=60, unique=True)
    private_key = models.TextField()
    active = models.BooleanField(default=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["active"], condition=Q(active=True), name="one_active_signing_key")
        ]

    def __str__(self) -> str:
        return self.public_key
