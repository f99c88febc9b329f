"""What ran where before, what is under way, and what the log says about it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from django.db.models import Q

from apps.audit.models import Event
from apps.deployments.models import Deployment, Release, Rollout

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from django.db.models import QuerySet

    from apps.agents.models import Agent


def earlier_releases(deployment: Deployment) -> list[Release]:
    """Releases that ran here and can be rolled back to; without the one that runs, or is to run.

    The last good one comes first, then the others, the latest first: one that was abandoned halfway is no good advice.
    """
    seen: dict[UUID, Release] = {}
    rollouts = deployment.rollouts.exclude(to_release=None).select_related("to_release__agent_version__agent")
    for rollout in rollouts.order_by("-generation"):
        release = rollout.to_release
        if release is not None and release.pk != deployment.release_id:
            seen.setdefault(release.pk, release)
    return sorted(seen.values(), key=lambda release: release.pk != deployment.stable_release_id)


def current_rollout(deployment: Deployment) -> Rollout | None:
    """The rollout that is under way."""
    under_way = deployment.rollouts.filter(state=Rollout.State.PROGRESSING)
    names = ("deployment__environment", "from_release__agent_version", "to_release__agent_version")
    return under_way.select_related(*names).first()


def deployments_of(agents: Iterable[Agent]) -> dict[UUID, list[Deployment]]:
    """The deployments of agents, by agent, in the order of the environments."""
    found: dict[UUID, list[Deployment]] = defaultdict(list)
    for deployment in Deployment.objects.with_names().filter(agent__in=list(agents)).order_by("environment__order"):
        found[deployment.agent_id].append(deployment)
    return found


def events_about(deployment: Deployment) -> QuerySet[Event]:
    """Everything in the log about a deployment: what was done to it, deploys to its environment, its rollouts."""
    own = Q(resource_type="deployment", resource_id=str(deployment.pk))
    return Event.objects.filter(own | Q(detail__registration=deployment.registration))
