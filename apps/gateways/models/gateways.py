"""Gateways as Studio wants them, and what it last saw of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone

from apps.core.models import BaseModel
from apps.gateways.models.environments import Environment

if TYPE_CHECKING:
    from datetime import datetime

NAME = RegexValidator(
    r"\A[a-z0-9]+(?:-[a-z0-9]+)*\Z", "Use lower-case letters, digits and single hyphens, such as “eu-1”."
)
NAME_MAX_LENGTH = 40

# What polling and pushing keep up to date. It is seen, not wanted: no command writes it and no event repeats it.
OBSERVED = frozenset({
    "status", "status_reason", "status_since", "version", "boot_id", "revision", "state_digest", "in_flight",
    "max_concurrent", "registrations", "started_at", "latency_ms", "last_seen_at", "last_polled_at",
    "consecutive_failures", "next_poll_at", "circuit_failures", "circuit_open_until",
})  # fmt: skip


class GatewayQuerySet(models.QuerySet["Gateway"]):
    """Gateways, also those that are on their way out unless `serving()` says otherwise."""

    def serving(self) -> GatewayQuerySet:
        """Those that should hold what their environment runs."""
        return self.filter(leaving_at=None)


class Gateway(BaseModel):
    """One replica of the data plane. It belongs to one environment for good.

    Attributes:
        address: `http(s)://host:port` of its admin API, which is also where callers reach it.
        deploy_token: opens its admin API; encrypted, shown never again.
        labels: what is true of it by name, such as `{"region": "eu"}`; waves of a rollout choose by them.
        leaving_at: since when it is being emptied before it is removed.
        gateway_id, public_key: what it said it is at the first poll. Pinned: another identity at the same address is
            refused until a person accepts it.
        status, status_reason: never one without the other.
        boot_id: changes with each start of the process.
        revision: counts the changes of its store, within a boot never falling.
        state_digest: digest of everything on it when that last agreed with `Placement.observed_*`; "" when unknown.
        started_at: when its process started, by what it says of its uptime.
        latency_ms: of the last answered poll.
        consecutive_failures: polls since the last one that was answered.
        circuit_failures, circuit_open_until: pushes that failed in a row; while the circuit is open none is tried.
    """

    class Status(models.TextChoices):
        PENDING = "pending", "pending"
        HEALTHY = "healthy", "healthy"
        DEGRADED = "degraded", "degraded"
        UNREACHABLE = "unreachable", "unreachable"
        REFUSED = "refused", "refused"
        DRAINING = "draining", "draining"

    access_scopes = ("environment",)
    locked_under = ("environment",)
    audit_hidden = frozenset({"deploy_token"})
    audit_ignored: ClassVar[frozenset[str]] = OBSERVED | {"updated_at"}

    environment = models.ForeignKey(Environment, models.PROTECT, related_name="gateways")
    name = models.CharField(max_length=NAME_MAX_LENGTH, unique=True, validators=[NAME])
    address = models.CharField(max_length=300, unique=True)
    deploy_token = models.TextField()
    labels = models.JSONField(default=dict, blank=True)
    leaving_at = models.DateTimeField(null=True, blank=True)
    gateway_id = models.CharField(max_length=100, blank=True)
    public_key = models.CharField(max_length=60, blank=True)

    status = models.CharField(max_length=12, choices=Status, default=Status.PENDING)
    status_reason = models.CharField(max_length=300, default="has not been polled yet")
    status_since = models.DateTimeField(default=timezone.now)
    version = models.CharField(max_length=60, blank=True)
    boot_id = models.CharField(max_length=100, blank=True)
    revision = models.BigIntegerField(default=0)
    state_digest = models.CharField(max_length=71, blank=True)
    in_flight = models.PositiveIntegerField(default=0)
    max_concurrent = models.PositiveIntegerField(default=0)
    registrations = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True)
    latency_ms = models.FloatField(null=True)
    last_seen_at = models.DateTimeField(null=True)
    last_polled_at = models.DateTimeField(null=True)
    consecutive_failures = models.PositiveIntegerField(default=0)
    next_poll_at = models.DateTimeField(default=timezone.now)
    circuit_failures = models.PositiveIntegerField(default=0)
    circuit_open_until = models.DateTimeField(null=True)

    objects = GatewayQuerySet.as_manager()

    class Meta:
        ordering = ["environment__order", "name"]
        constraints = [
            models.UniqueConstraint(fields=["gateway_id"], condition=~Q(gateway_id=""), name="gateway_identity_once"),
            models.CheckConstraint(condition=~Q(status_reason=""), name="gateway_status_has_a_reason"),
            models.CheckConstraint(
                condition=Q(gateway_id="", public_key="") | ~Q(gateway_id="") & ~Q(public_key=""),
                name="gateway_identity_whole",
            ),
        ]
        indexes = [models.Index(fields=["next_poll_at"], name="gateway_next_poll")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("gateways:gateway", kwargs={"name": self.name})

    @property
    def reachable(self) -> bool:
        """Whether its last poll was answered as agreed."""
        return self.status in (self.Status.HEALTHY, self.Status.DEGRADED, self.Status.DRAINING)

    @property
    def pinned(self) -> bool:
        """Whether its identity is known, without which nothing can be addressed to it."""
        return bool(self.gateway_id)


class GatewayReading(models.Model):
    """How a gateway was during one minute, for its history. Pruned after `KEPT_DAYS`.

    Attributes:
        minute: the start of the minute.
        status: the worst of the minute.
        in_flight: the most executions that ran at once, of those moments that were polled.
        latency_ms: the slowest answered poll; null if none was answered.
    """

    KEPT_DAYS = 8

    gateway = models.ForeignKey(Gateway, models.CASCADE, related_name="readings")
    minute = models.DateTimeField()
    status = models.CharField(max_length=12, choices=Gateway.Status)
    in_flight = models.PositiveIntegerField(default=0)
    latency_ms = models.FloatField(null=True)
    polls = models.PositiveIntegerField(default=1)
    failures = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["minute"]
        constraints = [
            models.UniqueConstraint(fields=["gateway", "minute"], name="gateway_reading_once"),
            models.CheckConstraint(condition=Q(failures__lte=F("polls")), name="gateway_reading_failures"),
        ]
        indexes = [models.Index(fields=["minute"], name="gateway_reading_minute")]

    def __str__(self) -> str:
        return f"{self.minute:%Y-%m-%d %H:%M} {self.status}"


def minute_of(moment: datetime) -> datetime:
    """The minute that a moment belongs to."""
    return moment.replace(second=0, microsecond=0)
