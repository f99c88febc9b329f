"""Executions as gateways logged them, how far each log was read, the sums that charts are drawn from, and prices."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, OuterRef, Q, Subquery
from django.urls import reverse

from apps.agents.models import PROFILE_MAX_LENGTH
from apps.core.models import BaseModel
from apps.gateways.models import CallerKey
from apps.telemetry.histogram import BUCKETS
from contract.admin_api import Channel as GatewayChannel
from contract.admin_api import ExecutionStatus


class Status(models.TextChoices):
    """How an execution ended; the values are the contract's."""

    SUCCEEDED = ExecutionStatus.SUCCEEDED.value, "succeeded"
    FAILED = ExecutionStatus.FAILED.value, "failed"
    TIMED_OUT = ExecutionStatus.TIMED_OUT.value, "timed out"
    CANCELLED = ExecutionStatus.CANCELLED.value, "cancelled"


# A caller who leaves cancels; that is no fault of the agent and counts as no error.
ERRORS = (Status.FAILED, Status.TIMED_OUT)


class Channel(models.TextChoices):
    """How a caller came in; the values are the contract's."""

    API = GatewayChannel.API.value, "API"
    STREAM = GatewayChannel.STREAM.value, "API, streamed"
    OPENAI = GatewayChannel.OPENAI.value, "OpenAI-compatible"
    MCP = GatewayChannel.MCP.value, "MCP"
    CLI = GatewayChannel.CLI.value, "command line"


class ExecutionQuerySet(models.QuerySet["Execution"]):
    """Executions."""

    def with_key_name(self) -> ExecutionQuerySet:
        """Read `key_name` in the same query; None for a key that this organization does not know."""
        keys = CallerKey.objects.filter(public_id=OuterRef("key_id"))
        return self.annotate(key_name=Subquery(keys.values("name")[:1]))


class Execution(BaseModel):
    """One finished execution, as its gateway logged it. Holds no prompt and no answer: gateways log neither.

    Agent, release and key are values and not foreign keys, because the record outlives what it speaks of.

    Attributes:
        epoch, seq: the position in the gateway's log; together with the gateway they identify the record.
        gateway_name: stays when the gateway is removed.
        agent_slug: the first part of the registration's name.
        started_at: by the gateway's clock.
        duration_ms: until the answer was complete.
    """

    access_scopes: ClassVar[tuple[str, ...]] = ("environment",)

    gateway = models.ForeignKey("gateways.Gateway", models.SET_NULL, null=True, related_name="executions")
    gateway_name = models.CharField(max_length=120)
    environment = models.ForeignKey("gateways.Environment", models.PROTECT, related_name="executions")
    epoch = models.CharField(max_length=64)
    seq = models.BigIntegerField()
    execution_id = models.CharField(max_length=64, db_index=True)
    registration = models.CharField(max_length=80)
    agent_slug = models.CharField(max_length=64)
    release_digest = models.CharField(max_length=71)
    key_id = models.CharField(max_length=64)
    channel = models.CharField(max_length=10, choices=Channel)
    started_at = models.DateTimeField()
    duration_ms = models.FloatField()
    status = models.CharField(max_length=10, choices=Status)
    error_code = models.CharField(max_length=40, blank=True)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    session_id = models.CharField(max_length=200, blank=True)

    objects = ExecutionQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["gateway", "epoch", "seq"], name="execution_once"),
            models.CheckConstraint(condition=Q(seq__gt=0), name="execution_seq_positive"),
            models.CheckConstraint(condition=Q(status__in=Status.values), name="execution_status_known"),
            models.CheckConstraint(condition=Q(channel__in=Channel.values), name="execution_channel_known"),
            models.CheckConstraint(
                condition=Q(duration_ms__gte=0, input_tokens__gte=0, output_tokens__gte=0),
                name="execution_figures_not_negative",
            ),
        ]
        indexes = [
            models.Index(F("started_at").desc(), F("id").desc(), name="execution_newest"),
            models.Index(F("agent_slug"), F("started_at").desc(), name="execution_of_agent"),
            models.Index(F("environment"), F("started_at").desc(), name="execution_in_environment"),
            models.Index(F("key_id"), F("started_at").desc(), name="execution_by_key"),
            models.Index(fields=["registration", "release_digest", "started_at"], name="execution_of_release"),
        ]

    def __str__(self) -> str:
        return self.execution_id

    def get_absolute_url(self) -> str:
        return reverse("telemetry:execution", kwargs={"pk": self.pk})

    @property
    def reason(self) -> str:
        """Why it ended as it did, in words; "" for a success."""
        return self.error_code.replace("_", " ")


class ExecutionCursor(BaseModel):
    """How far Studio has read a gateway's execution log.

    Attributes:
        epoch: names the log; another one means that the gateway lost the log and began a new one. "" before the first.
        after: position of the last record that was read.
        missed: records that the gateway had dropped before Studio could read them.
        unreadable: records that broke the contract and were left out.
        problem: why the last attempt failed; "" if it did not.
    """

    access_scopes: ClassVar[tuple[str, ...]] = ("gateway",)

    gateway = models.OneToOneField("gateways.Gateway", models.CASCADE, related_name="execution_cursor")
    epoch = models.CharField(max_length=64, blank=True)
    after = models.BigIntegerField(default=0)
    missed = models.BigIntegerField(default=0)
    unreadable = models.BigIntegerField(default=0)
    collected_at = models.DateTimeField(null=True)
    problem = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(after__gte=0, missed__gte=0, unreadable__gte=0), name="execution_cursor_not_negative"
            )
        ]

    def __str__(self) -> str:
        return f"{self.epoch}:{self.after}"


class Resolution(models.IntegerChoices):
    """Length of a rollup in seconds. Minutes are kept for days, hours for a year."""

    MINUTE = 60, "minute"
    HOUR = 3_600, "hour"

    @property
    def length(self) -> timedelta:
        return timedelta(seconds=self.value)


def _empty_histogram() -> list[int]:
    return [0] * BUCKETS


class ExecutionRollup(models.Model):
    """The sum of all executions of one gateway, registration, release and status that began within one span of time.

    Written in the transaction of the rows that it sums, so that it neither misses one nor counts one twice. It outlives
    them: rows are pruned sooner.

    Attributes:
        histogram: numbers of executions by duration, see `histogram.BOUNDS_MS`.
    """

    access_scopes: ClassVar[tuple[str, ...]] = ("environment",)

    resolution = models.PositiveSmallIntegerField(choices=Resolution)
    start = models.DateTimeField()
    gateway = models.ForeignKey("gateways.Gateway", models.SET_NULL, null=True, related_name="+")
    environment = models.ForeignKey("gateways.Environment", models.PROTECT, related_name="+")
    registration = models.CharField(max_length=80)
    agent_slug = models.CharField(max_length=64)
    release_digest = models.CharField(max_length=71)
    status = models.CharField(max_length=10, choices=Status)
    executions = models.BigIntegerField(default=0)
    duration_sum_ms = models.FloatField(default=0)
    duration_max_ms = models.FloatField(default=0)
    histogram = ArrayField(models.BigIntegerField(), size=BUCKETS, default=_empty_histogram)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["resolution", "start", "gateway", "registration", "release_digest", "status"],
                name="execution_rollup_once",
            ),
            models.CheckConstraint(condition=Q(executions__gt=0), name="execution_rollup_sums_something"),
            models.CheckConstraint(condition=Q(histogram__len=BUCKETS), name="execution_rollup_histogram_whole"),
        ]
        indexes = [models.Index(fields=["resolution", "agent_slug", "start"], name="execution_rollup_of_agent")]

    def __str__(self) -> str:
        return f"{self.registration} {self.status} {self.start:%Y-%m-%d %H:%M}"


class ModelPrice(BaseModel):
    """What a million tokens of a model profile cost. Prices hold for comparisons from now on; no history is kept.

    Attributes:
        profile: the name that gateways' configuration and agents know the model by.
        currency: three capital letters (ISO 4217).
    """

    profile = models.CharField(max_length=PROFILE_MAX_LENGTH, unique=True)
    currency = models.CharField(max_length=3)
    input_per_million = models.DecimalField(max_digits=14, decimal_places=6)
    output_per_million = models.DecimalField(max_digits=14, decimal_places=6)

    class Meta:
        ordering = ["profile"]
        constraints = [
            models.CheckConstraint(
                condition=Q(input_per_million__gte=0, output_per_million__gte=0), name="model_price_not_negative"
            ),
            models.CheckConstraint(condition=Q(currency__regex="^[A-Z]{3}$"), name="model_price_currency"),
        ]

    def __str__(self) -> str:
        return self.profile
