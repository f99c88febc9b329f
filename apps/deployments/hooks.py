"""What this app tells the floors beneath: what a joining gateway receives, which agents are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.agents.ports import deletion_guards
from apps.deployments.models import Deployment
from apps.deployments.playground import close_ended
from apps.deployments.rollouts import advance_all
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
    after_change.append(close_ended)


def running_releases(gateway: Gateway) -> Iterable[Wanted]:
    """Everything that should run in a gateway's environment; of a deployment that was rolled back, the old release."""
    deployments = Deployment.objects.wanted().filter(environment=gateway.environment_id).select_related("release")
    for deployment in deployments:
        if deployment.release is not None:
            yield Wanted(WORKFLOW.name, deployment.registration, bytes(deployment.release.body))


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
