"""Stops: what must not run, since when and why, and what each gateway signed about it."""

from __future__ import annotations

import secrets
import string

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.urls import reverse

from apps.accounts.models import User
from apps.agents.models import Agent
from apps.core.models import BaseModel
from apps.deployments.models.deployments import LABEL_MAX_LENGTH, NOTE_MAX_LENGTH
from apps.deployments.models.releases import Release
from apps.gateways.models import Environment
from contract.names import SLUG_MAX_LENGTH

_ID_ALPHABET = string.ascii_lowercase + string.digits
_ID_LENGTH = 16
_DIGEST_LENGTH = 71


def new_stop_id() -> str:
    """An id as the contract wants it; no other stop, of whatever organization, ever has it."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))


class StopQuerySet(models.QuerySet["Stop"]):
    """Stops, also those that were lifted."""

    def live(self) -> StopQuerySet:
        """Those that hold."""
        return self.filter(lifted_at=None)

    def in_environment(self, environment: Environment) -> StopQuerySet:
        """Those that hold, or held, in an environment: its own, and those of everywhere."""
        return self.filter(Q(environment=environment) | Q(environment=None))


class Stop(BaseModel):
    """Something that must not run, until a person lifts the stop.

    What it covers is fixed when it begins, so that nothing escapes it by changing hands. An author's stop also keeps
    whatever that author owns later from being deployed.

    Attributes:
        public_id: its name on gateways.
        subject: what was stopped: an agent, a release, everything that a member owns; or `found`, if a gateway had it
            and a restored Studio did not.
        label: the subject in words, as it was called then.
        slugs: of the agents whose registrations are stopped.
        digests: of the releases that are stopped, under whatever name.
        environment: None for all, also future ones.
        gateways: names of the gateways that it concerned when it began; some may be forgotten since.
        confirmed_at: when Studio had the last gateway's receipt; None as long as one is missing.
        lifted_at, lifted_by, lift_reason: set together, by the one act that ends it.
    """

    class Subject(models.TextChoices):
        AGENT = "agent", "agent"
        RELEASE = "release", "release"
        AUTHOR = "author", "author"
        FOUND = "found", "found"

    access_scopes = ("environment",)
    audit_ignored = frozenset({"updated_at", "confirmed_at"})

    public_id = models.CharField(max_length=40, unique=True, default=new_stop_id)
    subject = models.CharField(max_length=10, choices=Subject)
    label = models.CharField(max_length=LABEL_MAX_LENGTH)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, null=True, related_name="stops")
    release = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="stops")
    author = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    slugs = ArrayField(models.CharField(max_length=SLUG_MAX_LENGTH), default=list)
    digests = ArrayField(models.CharField(max_length=_DIGEST_LENGTH), default=list)
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, null=True, related_name="stops")
    gateways = ArrayField(models.CharField(max_length=100), default=list)
    reason = models.CharField(max_length=NOTE_MAX_LENGTH)
    started_by = models.CharField(max_length=LABEL_MAX_LENGTH)
    confirmed_at = models.DateTimeField(null=True)
    lifted_at = models.DateTimeField(null=True)
    lifted_by = models.CharField(max_length=LABEL_MAX_LENGTH, blank=True)
    lift_reason = models.CharField(max_length=NOTE_MAX_LENGTH, blank=True)

    objects = StopQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=~Q(reason=""), name="stop_has_a_reason"),
            models.CheckConstraint(condition=Q(slugs__len__gt=0) | Q(digests__len__gt=0), name="stop_covers_something"),
            models.CheckConstraint(
                condition=Q(lifted_at=None, lifted_by="", lift_reason="")
                | (Q(lifted_at__isnull=False) & ~Q(lifted_by="") & ~Q(lift_reason="")),
                name="stop_is_lifted_by_somebody_for_a_reason",
            ),
        ]
        indexes = [models.Index(fields=["-created_at"], condition=Q(lifted_at=None), name="stop_live")]

    def __str__(self) -> str:
        return f"Stop of {self.label} {self.where}"

    def get_absolute_url(self) -> str:
        return reverse("deployments:stop", kwargs={"public_id": self.public_id})

    @property
    def live(self) -> bool:
        """Whether it holds."""
        return self.lifted_at is None

    @property
    def where(self) -> str:
        """“in production”, or “everywhere”."""
        return f"in {self.environment.slug}" if self.environment is not None else "everywhere"


class StopReceipt(BaseModel):
    """The first statement of one gateway that it holds a stop, with all that is needed to verify it without Studio.

    It outlives the gateway's row and whatever the gateway holds later. `contract.envelope.Receipt` says what is signed.

    Attributes:
        gateway, environment: names, as values.
        gateway_id, public_key: who signed, and the key that was pinned when it was registered.
        at: since when the gateway holds it, word for word as it signed it.
        arrived_at: when Studio had the receipt and found it genuine.
    """

    audit_ignored = frozenset({"updated_at"})

    stop = models.ForeignKey(Stop, on_delete=models.PROTECT, related_name="receipts")
    gateway = models.CharField(max_length=100)
    environment = models.CharField(max_length=40)
    gateway_id = models.CharField(max_length=100)
    public_key = models.CharField(max_length=60)
    generation = models.BigIntegerField()
    digest = models.CharField(max_length=_DIGEST_LENGTH)
    at = models.CharField(max_length=40)
    signature = models.CharField(max_length=100)
    arrived_at = models.DateTimeField()

    class Meta:
        ordering = ["arrived_at"]
        constraints = [models.UniqueConstraint(fields=["stop", "gateway_id"], name="stop_receipt_per_gateway")]
        triggers = [pgtrigger.Protect(name="immutable", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"Receipt of {self.gateway} for {self.stop.public_id}"
