"""Steps that stories about delivery repeat."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from apps.agents.commands import edit, publish
from apps.core.actors import Actor
from apps.deployments import commands
from apps.deployments.queries import DeploymentStatus, status_of

if TYPE_CHECKING:
    from apps.agents.models import Agent, AgentVersion
    from apps.deployments.models import Deployment, Release, Rollout, RolloutStep
    from apps.gateways.models import Environment
    from tests.harness.fleet import Fleet

SYSTEM = Actor.system("tests")


def next_version(agent: Agent, instructions: str) -> AgentVersion:
    """Publish the agent with other instructions."""
    agent.refresh_from_db()
    definition = agent.definition.replaced(instructions=instructions)
    edited = edit(actor=SYSTEM, agent=agent, revision=agent.revision, definition=definition)
    return publish(actor=SYSTEM, agent=type(agent).objects.get(pk=edited.pk))


def deploy(actor: Actor, environment: Environment, version: AgentVersion, **options: Any) -> Deployment:
    """Deploy, and return the deployment as it is now."""
    rollout = commands.deploy(actor=actor, environment=environment, version=version, **options)
    return fresh(rollout.deployment)


def fresh(deployment: Deployment) -> Deployment:
    """The deployment as the database has it."""
    return type(deployment).objects.with_names().get(pk=deployment.pk)


def status(deployment: Deployment) -> DeploymentStatus:
    """Its status now."""
    return status_of(fresh(deployment))


def said(deployment: Deployment) -> str:
    """Its status as a person reads it."""
    now = status(deployment)
    return f"{now.adjective}: {now.reason}"


def rollouts(deployment: Deployment) -> list[tuple[str, str]]:
    """Kind and state of every rollout, oldest first."""
    return [(each.kind, each.state) for each in deployment.rollouts.order_by("generation")]


def last(deployment: Deployment) -> Rollout:
    """The newest rollout."""
    return deployment.rollouts.order_by("-generation").select_related("to_release")[0]


def release_of(version: AgentVersion) -> Release:
    """The release of a version that was deployed."""
    from apps.deployments.models import Release

    return Release.objects.get(agent_version=version)


def let_soak(deployment: Deployment) -> None:
    """Let the present step have been watched for as long as it should be, and what judges it look anew."""
    step = present_step(deployment)
    assert step.placed_at is not None, said(deployment)
    step.placed_at -= timedelta(seconds=step.soak_s)
    step.judged_at = None
    step.save()


def present_step(deployment: Deployment) -> RolloutStep:
    """The step of the newest rollout that is not finished."""
    found: RolloutStep = last(deployment).steps.filter(finished_at=None).order_by("index")[0]
    return found


def held_by(fleet: Fleet, name: str) -> dict[str, str]:
    """What a gateway itself says that it holds of greeter in staging: names of kinds and things, and digests."""
    items = fleet.processes[name].admin().state(items=True)["items"]
    return {
        f"{item['kind']} {item['name']}": item["digest"]
        for item in items
        if item["name"].startswith("greeter-staging") and not item["tombstone"]
    }
