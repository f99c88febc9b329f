"""Keys with which applications call agents on gateways."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from apps.core.models import BaseModel
from apps.gateways.models.environments import Environment
from contract.names import REGISTRATION_MAX_LENGTH

KEY_NAME_MAX_LENGTH = 80
EPHEMERAL_LIMIT_MIN = 15


class CallerKeyQuerySet(models.QuerySet["CallerKey"]):
    """Caller keys, also those that ended."""

    def living(self) -> CallerKeyQuerySet:
        """Those that gateways should accept."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=Now()), revoked_at=None)

    def lasting(self) -> CallerKeyQuerySet:
        """Those that people made; without the playground's."""
        return self.filter(ephemeral=False)


class CallerKey(BaseModel):
    """A credential of an application, for the gateways of one environment. Both planes store a hash of its secret.

    Attributes:
        public_id: the part of the key that names it, everywhere and for ever: no other key will have it.
        secret_hash: `contract.caller_keys.hash_secret`.
        hint: the last characters of the key, so that its owner can tell it from others.
        scopes: registration names, or ["*"].
        limits: as the contract defines them; {} for none.
        created_by: label of whoever made it.
        last_used_at: start of the latest execution with it that Studio knows of.
        ephemeral: made by the playground for one person and one registration, for minutes.
    """

    access_scopes = ("environment",)
    locked_under = ("environment",)
    audit_hidden = frozenset({"secret_hash"})
    audit_ignored = frozenset({"updated_at", "last_used_at"})

    environment = models.ForeignKey(Environment, models.PROTECT, related_name="caller_keys")
    name = models.CharField(max_length=KEY_NAME_MAX_LENGTH)
    public_id = models.CharField(max_length=40, unique=True)
    secret_hash = models.CharField(max_length=71)
    hint = models.CharField(max_length=8)
    scopes = ArrayField(models.CharField(max_length=REGISTRATION_MAX_LENGTH))
    limits = models.JSONField(default=dict)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=320)
    last_used_at = models.DateTimeField(null=True, blank=True)
    ephemeral = models.BooleanField(default=False)

    objects = CallerKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(scopes__len__gt=0), name="caller_key_has_a_scope"),
            models.CheckConstraint(
                condition=Q(ephemeral=False) | Q(expires_at__isnull=False), name="ephemeral_caller_key_expires"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("gateways:caller-key", kwargs={"pk": self.pk})

    @property
    def state(self) -> str:
        """active, expiring (within a week), expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is None:
            return "active"
        left = (self.expires_at - timezone.now()).total_seconds()
        if left <= 0:
            return "expired"
        return "expiring" if left < 7 * 86_400 else "active"
