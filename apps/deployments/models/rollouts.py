"""The changes of a deployment's wish, and how far each of them came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

from apps.core.models import BaseModel
from apps.deployments.models.deployments import LABEL_MAX_LENGTH, NOTE_MAX_LENGTH, Deployment
from apps.deployments.models.releases import Release

if TYPE_CHECKING:
    from datetime import datetime


class Rollout(BaseModel):
    """One change of a deployment: from which release to which, by whom, and how far it came.

    Attributes:
        from_release, to_release: None where nothing ran before, or nothing shall run after.
        generation: the deployment's generation that it brought.
        strategy: how the change reaches the gateways; a name in `strategies.STRATEGIES`.
        state: `progressing` until every gateway has confirmed (`succeeded`), a newer change took over (`superseded`),
            or somebody cancelled it.
        reason: why it ended otherwise than by success.
        finished_at: null exactly while it is progressing.
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

    access_scopes = ("deployment",)

    deployment = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="rollouts")
    kind = models.CharField(max_length=20, choices=Kind)
    from_release = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="+")
    to_release = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="rollouts")
    generation = models.PositiveIntegerField()
    strategy = models.CharField(max_length=40)
    started_by = models.CharField(max_length=LABEL_MAX_LENGTH)
    note = models.CharField(max_length=NOTE_MAX_LENGTH, blank=True)
    state = models.CharField(max_length=20, choices=State, default=State.PROGRESSING)
    reason = models.CharField(max_length=NOTE_MAX_LENGTH, blank=True)
    finished_at = models.DateTimeField(null=True)

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
