"""The changes of a deployment's wish, and how far each of them came."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q

from apps.core.models import BaseModel
from apps.deployments.models.deployments import LABEL_MAX_LENGTH, NOTE_MAX_LENGTH, Deployment
from apps.deployments.models.releases import Release
from apps.deployments.strategies.plans import ALL_AT_ONCE, Share
from apps.gateways.models import Gateway

if TYPE_CHECKING:
    from datetime import datetime

SHARE_MAX_LENGTH = 120
FAILURE_MAX_LENGTH = 120


def all_at_once() -> dict[str, Any]:
    """The plan of a change that nobody planned."""
    return ALL_AT_ONCE.to_json()


class Rollout(BaseModel):
    """One change of a deployment: from which release to which, by whom, and how far it came.

    Attributes:
        from_release, to_release: None where nothing ran before, or nothing shall run after. Gateways whose turn has
            not come keep, or get, `from_release`.
        generation: the deployment's generation that it brought.
        strategy: the name of the strategy in `plan`.
        plan: how it reaches the gateways, as JSON; fixed when it began. Its steps are rows.
        state: `progressing` until every gateway has confirmed its last step (`succeeded`), a newer change took over
            (`superseded`), somebody cancelled it, or its health gate found it worse than what ran before (`degraded`).
        reason: why it ended otherwise than by success, or anything that is remarkable about its success.
        finished_at: null exactly while it is progressing.
        paused_at, paused_by, pause_reason: while it takes no further step by itself.
        failures, failure, retry_at: how often in a row Studio itself failed to take its next step, with what, and when
            it tries again.
    """

    class Kind(models.TextChoices):
        DEPLOY = "deploy", "deploy"
        REDEPLOY = "redeploy", "redeploy"
        ROLLBACK = "rollback", "rollback"
        CANCEL = "cancel", "cancel"
        UNDEPLOY = "undeploy", "undeploy"

    class State(models.TextChoices):
        PROGRESSING = "progressing", "progressing"
        SUCCEEDED = "succeeded", "succeeded"
        CANCELLED = "cancelled", "cancelled"
        SUPERSEDED = "superseded", "superseded"
        DEGRADED = "degraded", "degraded"

    access_scopes = ("deployment",)
    audit_ignored = BaseModel.audit_ignored | {"failures", "failure", "retry_at"}

    deployment = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="rollouts")
    kind = models.CharField(max_length=20, choices=Kind)
    from_release = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="+")
    to_release = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="rollouts")
    generation = models.PositiveIntegerField()
    strategy = models.CharField(max_length=40)
    plan = models.JSONField(default=all_at_once)
    started_by = models.CharField(max_length=LABEL_MAX_LENGTH)
    note = models.CharField(max_length=NOTE_MAX_LENGTH, blank=True)
    state = models.CharField(max_length=20, choices=State, default=State.PROGRESSING)
    reason = models.CharField(max_length=NOTE_MAX_LENGTH, blank=True)
    finished_at = models.DateTimeField(null=True)
    paused_at = models.DateTimeField(null=True)
    paused_by = models.CharField(max_length=LABEL_MAX_LENGTH, blank=True)
    pause_reason = models.CharField(max_length=NOTE_MAX_LENGTH, blank=True)
    failures = models.PositiveIntegerField(default=0)
    failure = models.CharField(max_length=FAILURE_MAX_LENGTH, blank=True, default="")
    retry_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["deployment", "generation"], name="rollout_generation"),
            models.UniqueConstraint(
                fields=["deployment"], condition=Q(state="progressing"), name="one_rollout_progresses"
            ),
            models.CheckConstraint(
                condition=Q(state="progressing", finished_at=None)
                | (~Q(state="progressing") & Q(finished_at__isnull=False)),
                name="rollout_ends_when_it_finishes",
            ),
            models.CheckConstraint(
                condition=Q(paused_at=None, paused_by="", pause_reason="")
                | (Q(paused_at__isnull=False) & ~Q(paused_by="") & ~Q(pause_reason="")),
                name="rollout_pause_has_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.generation} of {self.deployment}"

    def get_absolute_url(self) -> str:
        return self.deployment.get_absolute_url()

    @property
    def started_at(self) -> datetime:
        """When it began."""
        return self.created_at

    @property
    def paused(self) -> bool:
        """Whether it takes no further step until somebody resumes it."""
        return self.paused_at is not None

    @property
    def decides(self) -> bool:
        """Whether it has more to decide than that its gateways have confirmed: further steps, or a comparison."""
        return self.strategy != ALL_AT_ONCE.strategy or bool(self.plan.get("gate"))

    @property
    def in_words(self) -> str:
        """What it changes: “deploy version 4 over version 3”."""
        before, after = _version(self.from_release), _version(self.to_release)
        match self.kind:
            case self.Kind.UNDEPLOY:
                return f"undeploy {before}"
            case self.Kind.REDEPLOY:
                return f"send {after} again"
            case self.Kind.ROLLBACK:
                return f"roll back to {after}" + (f" from {before}" if before else "")
            case self.Kind.CANCEL:
                what = before or "the undeploy"
                return f"cancel {what}: back to {after}" if after else f"cancel {what}: nothing runs"
            case _:
                return f"deploy {after}" + (f" over {before}" if before else "")


def _version(release: Release | None) -> str:
    return f"version {release.number}" if release is not None else ""


class RolloutStep(BaseModel):
    """One step of a rollout, and how far it came. Everything that decides about the next step stands in this row.

    Attributes:
        kind: `wave`: some gateways get the new release; `weight`: a part of the callers of every gateway gets it;
            `promote`: it takes the place of the old one everywhere, and the canary goes.
        share: of the gateways or callers, as text; see `strategies.plans.Share`.
        soak_s: seconds to watch it, counted from `placed_at`.
        approval: whether a person has to approve that the rollout goes on.
        started_at: since when gateways are given what the step says. `gateways` are fixed then, but those of the last
            wave, of weights and of a promotion, which are all that serve the environment at any time.
        placed_at: when every one of them had confirmed.
        finished_at: when the next step could begin.
        watched_since: executions from then on count for the gate.
        judged_at, verdict: the newest comparison of the new release with the old, as JSON; see `strategies.gates`.
        approved_at, approved_by: who let the rollout go on after it.
        forced_at, forced_by: who let it go on without waiting for what was missing.
        decision: why it is finished, in words.
    """

    class Kind(models.TextChoices):
        WAVE = "wave", "wave"
        WEIGHT = "weight", "weight"
        PROMOTE = "promote", "promote"

    access_scopes = ("rollout",)

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="steps")
    index = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    share = models.CharField(max_length=SHARE_MAX_LENGTH)
    soak_s = models.PositiveIntegerField(default=0)
    approval = models.BooleanField(default=False)
    gateways = models.ManyToManyField(Gateway, related_name="+")
    started_at = models.DateTimeField(null=True)
    placed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    watched_since = models.DateTimeField(null=True)
    judged_at = models.DateTimeField(null=True)
    verdict = models.JSONField(null=True)
    approved_at = models.DateTimeField(null=True)
    approved_by = models.CharField(max_length=LABEL_MAX_LENGTH, blank=True)
    forced_at = models.DateTimeField(null=True)
    forced_by = models.CharField(max_length=LABEL_MAX_LENGTH, blank=True)
    decision = models.CharField(max_length=NOTE_MAX_LENGTH, blank=True)

    class Meta:
        ordering = ["rollout", "index"]
        constraints = [
            models.UniqueConstraint(fields=["rollout", "index"], name="rollout_step_once"),
            models.CheckConstraint(
                condition=Q(finished_at=None) | Q(started_at__isnull=False), name="rollout_step_starts_before_it_ends"
            ),
        ]

    def __str__(self) -> str:
        return f"step {self.index + 1} of {self.rollout}"

    @property
    def reach(self) -> Share:
        """`share`, read."""
        return Share.parse(self.share)

    @property
    def everywhere(self) -> bool:
        """Whether it concerns every gateway that serves, also one that joins meanwhile."""
        return self.kind != self.Kind.WAVE or self.reach.whole

    @property
    def soaks_until(self) -> datetime | None:
        """When it has been watched long enough; None while some gateway has not confirmed."""
        return self.placed_at + timedelta(seconds=self.soak_s) if self.placed_at else None
