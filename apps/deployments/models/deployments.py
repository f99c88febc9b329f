"""The wish that an agent runs in an environment, and how its changes reach the gateways."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.urls import reverse

from apps.agents.models import Agent
from apps.core.models import BaseModel
from apps.deployments.models.releases import Release
from apps.gateways.models import Environment
from contract.names import REGISTRATION_MAX_LENGTH

LABEL_MAX_LENGTH = 320
NOTE_MAX_LENGTH = 1_000


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
        stable_release: the last one that a rollout brought to its end, or that somebody rolled back to; what an
            automatic rollback goes back to.
        plan: how its changes reach the gateways (`strategies.plans`), as JSON; null: as its environment does it.
        held_since: set while automation must leave it alone (after a rollback), with `held_by` and `hold_reason`.
    """

    access_scopes = ("environment", "agent")
    locked_under = ("environment",)

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="deployments")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="deployments")
    registration = models.CharField(max_length=REGISTRATION_MAX_LENGTH, unique=True)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="deployments")
    stable_release = models.ForeignKey(Release, on_delete=models.PROTECT, null=True, related_name="+")
    generation = models.PositiveIntegerField(default=0)
    plan = models.JSONField(null=True)
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


class RolloutPolicy(BaseModel):
    """How changes reach the gateways of one environment, unless a deployment or a deploy says otherwise.

    Without one, they reach all of them at once.

    Attributes:
        plan: `strategies.plans.Plan` as JSON.
    """

    access_scopes = ("environment",)
    locked_under = ("environment",)

    environment = models.OneToOneField(Environment, on_delete=models.CASCADE, related_name="rollout_policy")
    plan = models.JSONField()
    changed_by = models.CharField(max_length=LABEL_MAX_LENGTH)

    def __str__(self) -> str:
        return f"Rollout policy of {self.environment}"
