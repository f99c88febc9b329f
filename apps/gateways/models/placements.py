"""What Studio wants on each gateway, what is there, and everything the reconciler remembers in between."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from apps.core.models import BaseModel
from apps.gateways.kinds import overtaking
from apps.gateways.models.gateways import Gateway
from contract.kinds import TOMBSTONE_DIGEST

DIGEST_LENGTH = 71
SETTLED = Q(observed_generation=F("desired_generation"), observed_digest=F("desired_digest"))
UNSETTLED = ~Q(observed_generation=F("desired_generation")) | ~Q(observed_digest=F("desired_digest"))


class Payload(models.Model):
    """The bytes behind a digest, kept once however many gateways hold them. Never changed."""

    digest = models.CharField(max_length=DIGEST_LENGTH, primary_key=True)
    body = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.digest


@dataclass(frozen=True, slots=True)
class Condition:
    """A fact about a placement that a person can read.

    Attributes:
        type: what the fact is about; `placed` says whether the gateway holds what is wanted.
        reason: stable name for programs, in kebab case: `acknowledged`, `connection-refused`.
        message: the same in words.
        since: when the reason became true.
    """

    type: str
    reason: str
    message: str
    since: datetime

    @classmethod
    def placed(cls, reason: str, message: str, since: datetime | None = None) -> Self:
        return cls("placed", reason, message, since or timezone.now())

    def to_json(self) -> dict[str, str]:
        return {**asdict(self), "since": self.since.isoformat()}

    @classmethod
    def from_json(cls, value: dict[str, str]) -> Self:
        return cls(value["type"], value["reason"], value["message"], datetime.fromisoformat(value["since"]))

    def written_over(self, conditions: list[dict[str, str]]) -> list[dict[str, str]]:
        """The conditions with this one in the place of its type; a reason that goes on keeps its `since`."""
        others = [each for each in conditions if each["type"] != self.type]
        before = next((each for each in conditions if each["type"] == self.type), None)
        if before is not None and before["reason"] == self.reason:
            return [*others, {**self.to_json(), "since": before["since"]}]
        return [*others, self.to_json()]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What keeps a placement from being as wanted.

    Attributes:
        message: in words.
        next_act, until: what Studio does by itself and when; a moment that has passed means now.
    """

    message: str
    next_act: str
    until: datetime


class PlacementQuerySet(models.QuerySet["Placement"]):
    """Placements, tombstones included."""

    def settled(self) -> PlacementQuerySet:
        """Those whose gateway holds what is wanted."""
        return self.filter(SETTLED)

    def unsettled(self) -> PlacementQuerySet:
        """Those that are not yet, or no longer, as wanted."""
        return self.filter(UNSETTLED)

    def unlocked(self) -> PlacementQuerySet:
        """Lock those that no transaction holds at this moment, and leave out the others.

        For bookkeeping about many rows at once: waiting for them, while a command waits for one of ours, would be a
        deadlock, and whoever changes a row now knows better anyway.
        """
        return self.select_for_update(skip_locked=True, of=("self",))

    def explained(self) -> PlacementQuerySet:
        """With all that `Placement.waiting` needs to say why something is not yet as wanted.

        `overtaken`: its gateway has yet to confirm a stop, which goes first.
        """
        here = Placement.objects.unsettled().filter(gateway=OuterRef("gateway"), priority=True)
        first = here.filter(kind__in=overtaking()).exclude(desired_digest=TOMBSTONE_DIGEST)
        return self.select_related("gateway__environment").annotate(overtaken=Exists(first))

    def of(self, kind: str, name: str) -> PlacementQuerySet:
        """The same thing on every gateway."""
        return self.filter(kind=kind, name=name)


class Placement(BaseModel):
    """One thing that Studio wants on one gateway, and how far that is true.

    Desired is written in the transaction of the command that wants it; the rest is bookkeeping of the reconciler.

    Attributes:
        kind, name: see `contract.kinds`.
        desired_generation, desired_digest: what should be there; the digest of a tombstone for what should be gone.
        observed_generation, observed_digest: what is there, as the gateway said; 0 and "" for nothing.
        conditions: `Condition`s as JSON.
        attempts: pushes of the present desire that failed in a row.
        next_attempt_at: not before this time.
        lease_until: a worker is at it until then; after that it is presumed dead.
        fence: counts the claims. A worker's result counts only while the fence is the one that it was given.
        priority: a revocation or stop: ahead of all else, without back-off.
        receipt: the gateway's signature over what it holds, verified; "" unless it holds what is wanted.
        receipt_at: since when it holds it, word for word as it signed it (RFC 3339, UTC).
        receipt_verified_at: when the receipt had reached Studio and was found genuine.
        adoption_due: the gateway knew something that Studio did not; see `apps.gateways.adoption`.
    """

    access_scopes = ("gateway",)
    audit_ignored: ClassVar[frozenset[str]] = frozenset({
        "updated_at", "observed_generation", "observed_digest", "conditions", "attempts", "next_attempt_at",
        "lease_until", "fence", "receipt", "receipt_at", "receipt_verified_at", "adoption_due",
    })  # fmt: skip

    gateway = models.ForeignKey(Gateway, models.CASCADE, related_name="placements")
    kind = models.CharField(max_length=20)
    name = models.CharField(max_length=80)
    desired_generation = models.BigIntegerField(default=1)
    desired_digest = models.CharField(max_length=DIGEST_LENGTH)
    observed_generation = models.BigIntegerField(default=0)
    observed_digest = models.CharField(max_length=DIGEST_LENGTH, blank=True)
    conditions = models.JSONField(default=list)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    lease_until = models.DateTimeField(null=True)
    fence = models.BigIntegerField(default=0)
    priority = models.BooleanField(default=False)
    receipt = models.CharField(max_length=100, blank=True, default="")
    receipt_at = models.CharField(max_length=40, blank=True, default="")
    receipt_verified_at = models.DateTimeField(null=True)
    adoption_due = models.BooleanField(default=False)

    objects = PlacementQuerySet.as_manager()

    class Meta:
        ordering = ["kind", "name"]
        constraints = [
            models.UniqueConstraint(fields=["gateway", "kind", "name"], name="placement_once"),
            models.CheckConstraint(
                condition=Q(desired_generation__gte=0, observed_generation__gte=0, fence__gte=0),
                name="placement_counters",
            ),
        ]
        indexes = [
            models.Index(fields=["gateway", "next_attempt_at"], condition=UNSETTLED, name="placement_due"),
            models.Index(
                fields=["gateway", "lease_until"], condition=Q(lease_until__isnull=False), name="placement_leased"
            ),
            models.Index(fields=["kind", "name"], name="placement_of"),
            models.Index(fields=["gateway"], condition=UNSETTLED & Q(priority=True), name="placement_urgent"),
            models.Index(fields=["gateway"], condition=Q(adoption_due=True), name="placement_adoption"),
        ]

    def __str__(self) -> str:
        return f"{self.name} on {self.gateway}"

    @property
    def settled(self) -> bool:
        """Whether the gateway holds what is wanted."""
        return (self.observed_generation, self.observed_digest) == (self.desired_generation, self.desired_digest)

    @property
    def confirmed(self) -> bool:
        """Whether the gateway holds what is wanted and has signed that it does."""
        return self.settled and bool(self.receipt)

    @property
    def tombstone(self) -> bool:
        """Whether the thing should be gone."""
        return self.desired_digest == TOMBSTONE_DIGEST

    @property
    def condition(self) -> Condition | None:
        """The condition `placed`."""
        found = next((each for each in self.conditions if each["type"] == "placed"), None)
        return Condition.from_json(found) if found else None

    def keep_receipt(self, receipt: str, at: str) -> None:
        """Keep a receipt that was found genuine. The caller saves."""
        self.receipt, self.receipt_at, self.receipt_verified_at = receipt, at, timezone.now()

    def drop_receipt(self) -> None:
        """What it spoke of is no longer so. The caller saves."""
        self.receipt, self.receipt_at, self.receipt_verified_at = "", "", None

    def set_condition(self, condition: Condition) -> None:
        """Put it in the place of the one of its type. The caller saves."""
        self.conditions = condition.written_over(self.conditions)

    @property
    def status(self) -> str:
        """progressing, running, removing, removed, or failed (and being retried)."""
        if self.settled:
            return "removed" if self.tombstone else "running"
        if self.attempts:
            return "failed"
        return "removing" if self.tombstone else "progressing"

    def waiting(self, now: datetime) -> Waiting | None:
        """What it waits for, and when Studio acts next by itself; None once the gateway holds what is wanted."""
        if self.settled:
            return None
        gateway, condition = self.gateway, self.condition
        if not gateway.pinned:
            return Waiting(f"waits for the first answer of {gateway.name}", "asked again", gateway.next_poll_at)
        if gateway.status == Gateway.Status.REFUSED:
            message = f"waits until {gateway.name} is accepted again: {gateway.status_reason}"
            return Waiting(message, "asked again", gateway.next_poll_at)
        message = condition.message if condition else "waits for its turn"
        if self.lease_until is not None and self.lease_until > now:
            under_way = f"{message}, and is on its way again" if self.attempts else "is on its way"
            return Waiting(under_way, "without an answer tried again", self.lease_until)
        if not self.priority and getattr(self, "overtaken", False):
            message = f"waits until {gateway.name} has confirmed a stop, which goes first"
            return Waiting(message, "asked again", gateway.next_poll_at)
        opens = gateway.circuit_open_until
        if opens is None or self.priority or opens <= max(self.next_attempt_at, now):
            return Waiting(message, "next try", self.next_attempt_at)
        if not self.attempts:
            message = f"waits, because {gateway.name} failed several times in a row"
        return Waiting(message, "next try", opens)

    @property
    def next_act_at(self) -> datetime | None:
        """When Studio acts next by itself; None once nothing is left to do."""
        waiting = self.waiting(timezone.now())
        return waiting.until if waiting is not None else None

    def reason(self, now: datetime | None = None) -> str:
        """Why it has this status, and what comes next when: “connection refused, next try in 12 s”."""
        moment = now or timezone.now()
        waiting = self.waiting(moment)
        if waiting is None:
            return self.condition.message if self.condition else "as wanted"
        left = (waiting.until - moment).total_seconds()
        if left >= 1:
            return f"{waiting.message}, {waiting.next_act} in {round(left)} s"
        return f"{waiting.message}, trying again now" if self.attempts else waiting.message
