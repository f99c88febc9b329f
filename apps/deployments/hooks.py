"""What this app tells the floors beneath: what a joining gateway receives, which agents are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.agents.ports import deletion_guards
from apps.deployments.models import Deployment
from apps.deployments.playground import close_ended
from apps.deployments.rollouts import advance_all, joining_release, next_due, under_way
from apps.gateways.due import due_sources
from apps.gateways.observers import after_change
from apps.gateways.placements import Wanted, desired_sources
from contract.kinds import WORKFLOW

if TYPE_CHECKING:
    from collections.abc import Iterable

    from apps.agents.models import Agent
    from apps.gateways.models import Gateway


def register() -> None:
    """Fill the registries of `agents` and `gateways`; once, when Django starts."""
    desired_sources.append(running_releases)
    deletion_guards.append(why_needed)
    after_change.append(advance_all)
    due_sources.append(next_due)
    after_change.append(close_ended)


def running_releases(gateway: Gateway) -> Iterable[Wanted]:
    """Everything that should run in a gateway's environment; of a deployment that was rolled back, the old release.

    While a rollout is under way, that is what its steps have come to: a wave that has not begun concerns nobody yet.
    """
    deployments = Deployment.objects.wanted().filter(environment=gateway.environment_id).select_related("release")
    rollouts = {rollout.deployment_id: rollout for rollout in under_way().filter(deployment__in=deployments)}
    for deployment in deployments:
        rollout = rollouts.get(deployment.pk)
        release = joining_release(rollout, gateway) if rollout is not None else deployment.release
        if release is not None:
            yield Wanted(WORKFLOW.name, deployment.registration, bytes(release.body))


def why_needed(agent: Agent) -> str | None:
    """Why an agent cannot be deleted: it runs somewhere."""
    places = list(
        Deployment.objects.wanted()
        .filter(agent=agent)
        .order_by("environment__order")
        .values_list("environment__slug", flat=True)
    )
    if not places:
        return None
    return f"{agent} runs in {' and '.join(places)}; undeploy it there first."
