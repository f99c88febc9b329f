"""Releases, the wish that one runs in an environment, and the changes of that wish.

What a gateway actually holds is no fact of this app: placements in `gateways` know it, and every status here is derived
from them at the moment of asking (`queries.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pgtrigger
from django.db import models
from django.db.models import Q
from django.urls import reverse

from apps.agents.models import Agent, AgentVersion
from apps.core.models import BaseModel
from apps.gateways.models import CallerKey, Environment
from contract.names import REGISTRATION_MAX_LENGTH

if TYPE_CHECKING:
    from datetime import datetime

LABEL_MAX_LENGTH = 320
NOTE_MAX_LENGTH = 1_000
_DIGEST_LENGTH = 71


class Release(BaseModel):
    """What a version compiles to for gateways: immutable canonical JSON, named by its sha256.

    Attributes:
        digest: `sha256:<hex>` of `body`.
        body: the canonical JSON; `contract.release.Release` reads it.
    """

    access_scopes = ("agent_version",)
    audit_hidden = frozenset({"body"})

    digest = models.CharField(max_length=_DIGEST_LENGTH, unique=True)
    body = models.BinaryField()
    agent_version = models.OneToOneField(AgentVersion, on_delete=models.PROTECT, related_name="release")

    class Meta:
        ordering = ["-created_at"]
        triggers = [pgtrigger.Protect(name="immutable", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.agent_version.agent.slug} version {self.agent_version.number}"

    @property
    def number(self) -> int:
        """The number of the version behind it."""
        return self.agent_version.number


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    """Deployments, also those in which nothing runs any more."""

    def wanted(self) -> DeploymentQuerySet:
        """Those in which something should run."""
        return self.exclude(release=None)

    def with_names(self) -> DeploymentQuerySet:
        """Read what their `str` and their release's need in the same query."""
        return self.select_related("agent", "environment", "release__agent_version__agent")


class Deployment(BaseModel):
    """The wish that an agent runs in an environment. There is one row a pair, for ever; what it wishes for changes.

    Attributes:
        registration: the name under which gateways of the environment offer it.
        release: what should run now; None: nothing.
        generation: counts the changes of the wish; the number of its newest rollout.
        held_since: set while automation must leave it alone (after a rollback), with `held_by` and `hold_reason`.
    """

    access_scopes = ("environment", "agent")
    locked_under = ("environment",)

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="deployments")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="deployments")
    registration = models.CharField(max_length=REGISTRATION_MAX_LENGTH, unique=True)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="deployments")
    generation = models.PositiveIntegerField(default=0)
    held_since = models.DateTimeField(null=True)
    held_by = models.CharField(max_length=LABEL_MAX_LENGTH, blank=True)
    hold_reason = models.CharField(max_length=NOTE_MAX_LENGTH, blank=True)

    objects = DeploymentQuerySet.as_manager()

    class Meta:
        ordering = ["agent__name", "environment__order"]
        constraints = [
            models.UniqueConstraint(fields=["agent", "environment"], name="deployment_per_agent_and_environment"),
            models.CheckConstraint(
                condition=Q(held_since=None, hold_reason="", held_by="")
                | (Q(held_since__isnull=False) & ~Q(hold_reason="") & ~Q(held_by="")),
                name="deployment_hold_has_a_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.agent.name} in {self.environment.slug}"

    def get_absolute_url(self) -> str:
        return reverse("deployments:detail", kwargs={"pk": self.pk})

    @property
    def held(self) -> bool:
        """Whether automation must leave it alone."""
        return self.held_since is not None


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


class Playground(BaseModel):
    """One person's conversation with a deployed agent, and the short-lived caller key that it uses.

    The key's clear text is in the memory of the one WebSocket that opened it, and nowhere else.
    """

    access_scopes = ("deployment", "environment")
    locked_under = ("environment",)

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="playgrounds")
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="+")
    key = models.OneToOneField(CallerKey, on_delete=models.CASCADE, related_name="playground")
    opened_by = models.CharField(max_length=LABEL_MAX_LENGTH)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["key"], condition=Q(closed_at=None), name="playground_open")]

    def __str__(self) -> str:
        return f"Playground of {self.opened_by} with {self.deployment}"
