"""What the pages of agents, versions and environments show of where things run and how changes get there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.core.panels import page_button, panel
from apps.core.ports import ports
from apps.core.requests import actor_of
from apps.deployments.models import Deployment, RolloutPolicy
from apps.deployments.pictures import picture_of
from apps.deployments.queries import statuses
from apps.deployments.rollouts import effective_plan
from apps.deployments.tables import DEPLOY, EDIT_POLICY

if TYPE_CHECKING:
    from django.http import HttpRequest

    from apps.agents.models import Agent, AgentVersion
    from apps.gateways.models import Environment

page_button(DEPLOY, on="agent")


@panel(on="agent", title="Where it runs", template="deployments/panels/where.html", order=20, action="deployment.view")
def where_agent_runs(request: HttpRequest, agent: Agent) -> dict[str, Any] | None:
    if agent.deleted_at is not None:
        return None
    return _shown(request, agent, "Deploy a version to an environment, and it can be called through its gateways.")


@panel(
    on="agent-version",
    title="Where this version runs",
    template="deployments/panels/where.html",
    order=20,
    action="deployment.view",
)
def where_version_runs(request: HttpRequest, version: AgentVersion) -> dict[str, Any]:
    return _shown(request, version.agent, "No environment runs this version.", version=version)


@panel(
    on="agent",
    title="Playground",
    template="deployments/panels/playground.html",
    order=30,
    action="playground.open",
)
def talk_to_agent(request: HttpRequest, agent: Agent) -> dict[str, Any] | None:
    """A conversation with the agent where it runs; opened on demand, because each one mints a key."""
    running = [each for each in _visible(request, agent) if each.release_id is not None]
    return {"deployments": running} if running else None


def _shown(
    request: HttpRequest, agent: Agent, empty_text: str, *, version: AgentVersion | None = None
) -> dict[str, Any]:
    found = [each for each in _visible(request, agent) if version is None or _runs(each, version)]
    by_key = statuses(found)
    return {
        "agent": agent,
        "deployments": [(each, by_key[each.pk]) for each in found],
        "empty_text": empty_text,
    }


def _runs(deployment: Deployment, version: AgentVersion) -> bool:
    return deployment.release is not None and deployment.release.agent_version_id == version.pk


def _visible(request: HttpRequest, agent: Agent) -> list[Deployment]:
    seen = ports.visible(Deployment.objects.with_names(), actor_of(request), "deployment.view")
    return list(seen.filter(agent=agent).order_by("environment__order"))


@panel(
    on="environment",
    title="How changes reach the gateways",
    template="deployments/panels/policy.html",
    order=30,
    action="deployment.view",
)
def rollout_policy(request: HttpRequest, environment: Environment) -> dict[str, Any]:
    plan = effective_plan(None, environment.pk)
    return {
        "environment": environment,
        "policy": RolloutPolicy.objects.filter(environment=environment).first(),
        "plan": plan,
        "picture": picture_of(plan, environment),
        "button": EDIT_POLICY,
    }
