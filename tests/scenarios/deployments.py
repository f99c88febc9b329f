"""Scenarios of the commands in `deployments`."""

from __future__ import annotations

from collections.abc import Callable

from django.utils import timezone

from apps.agents import commands as agents
from apps.agents.definitions import Definition
from apps.agents.models import AgentVersion
from apps.core.actors import Actor
from apps.deployments import commands
from apps.deployments.models import Deployment, RolloutStep
from apps.deployments.strategies.plans import Plan, default_steps, steps_from_text
from apps.gateways.commands import register_gateway
from apps.gateways.models import Environment
from tests.harness.world import Inhabited
from tests.scenarios import Scenario

_SYSTEM = Actor.system("tests")


def _version(number: int = 1) -> AgentVersion:
    """The version of that number of an agent that is made when it is first asked for."""
    definition = Definition(name="Greeter", instructions=f"Greet people, {number} times.")
    found = AgentVersion.objects.filter(agent__slug="greeter").select_related("agent").first()
    if found is None:
        agent = agents.create(actor=_SYSTEM, slug="greeter", definition=definition)
    else:
        agent = found.agent
        agent.refresh_from_db()
        agents.edit(actor=_SYSTEM, agent=agent, revision=agent.revision, definition=definition)
        agent.refresh_from_db()
    return agents.publish(actor=_SYSTEM, agent=agent)


def _staging() -> Environment:
    return Environment.objects.get(slug="staging")


def _deployed(versions: int = 1) -> Deployment:
    """A deployment to which so many versions were deployed, one after the other; no gateway has confirmed."""
    rollouts = [
        commands.deploy(actor=_SYSTEM, environment=_staging(), version=_version(number + 1))
        for number in range(versions)
    ]
    return Deployment.objects.get(pk=rollouts[-1].deployment_id)


def _deploy(world: Inhabited) -> Callable[[Actor], object]:
    version = _version()
    return lambda actor: commands.deploy(actor=actor, environment=_staging(), version=version)


def _rollback(world: Inhabited) -> Callable[[Actor], object]:
    deployment = _deployed(versions=2)
    first = deployment.rollouts.get(generation=1).to_release
    assert first is not None
    return lambda actor: commands.rollback(actor=actor, deployment=deployment, to=first)


def _release_hold(world: Inhabited) -> Callable[[Actor], object]:
    _rollback(world)(_SYSTEM)
    deployment = Deployment.objects.get()
    return lambda actor: commands.release_hold(actor=actor, deployment=deployment)


def _cancel(world: Inhabited) -> Callable[[Actor], object]:
    deployment = _deployed()
    return lambda actor: commands.cancel(actor=actor, deployment=deployment)


def _undeploy(world: Inhabited) -> Callable[[Actor], object]:
    deployment = _deployed()
    return lambda actor: commands.undeploy(actor=actor, deployment=deployment)


def _register_silent() -> None:
    """A gateway that never answers."""
    register_gateway(
        actor=_SYSTEM,
        environment=_staging(),
        name="silent",
        address="http://127.0.0.1:9",
        deploy_token="a-token-that-opens-nothing",
    )


def _retry(world: Inhabited) -> Callable[[Actor], object]:
    _register_silent()
    deployment = _deployed()
    return lambda actor: commands.retry(actor=actor, deployment=deployment)


def _stepwise(world: Inhabited) -> Deployment:
    """A rollout in two waves, whose first one has begun and waits for a gateway that does not answer."""
    _register_silent()
    plan = Plan("waves", steps_from_text("1, 100 %", approval=True))
    rollout = commands.deploy(actor=_SYSTEM, environment=_staging(), version=_version(), plan=plan)
    return Deployment.objects.get(pk=rollout.deployment_id)


def _approve(world: Inhabited) -> Callable[[Actor], object]:
    deployment = _stepwise(world)
    RolloutStep.objects.filter(index=0).update(placed_at=timezone.now())
    return lambda actor: commands.approve(actor=actor, deployment=deployment)


def _force(world: Inhabited) -> Callable[[Actor], object]:
    deployment = _stepwise(world)
    return lambda actor: commands.force(actor=actor, deployment=deployment)


def _pause(world: Inhabited) -> Callable[[Actor], object]:
    deployment = _stepwise(world)
    return lambda actor: commands.pause(actor=actor, deployment=deployment, note="a public holiday")


def _resume(world: Inhabited) -> Callable[[Actor], object]:
    _pause(world)(_SYSTEM)
    deployment = Deployment.objects.get()
    return lambda actor: commands.resume(actor=actor, deployment=deployment)


def _set_plan(world: Inhabited) -> Callable[[Actor], object]:
    deployment = _deployed()
    return lambda actor: commands.set_plan(
        actor=actor, deployment=deployment, plan=Plan("canary", default_steps("canary"))
    )


def _set_rollout_policy(world: Inhabited) -> Callable[[Actor], object]:
    plan = Plan("waves", default_steps("waves"))
    return lambda actor: commands.set_rollout_policy(actor=actor, environment=_staging(), plan=plan)


def _open_playground(world: Inhabited) -> Callable[[Actor], object]:
    deployment = _deployed()
    return lambda actor: commands.open_playground(actor=actor, deployment=deployment)


def _close_playground(world: Inhabited) -> Callable[[Actor], object]:
    playground, _ = commands.open_playground(actor=_SYSTEM, deployment=_deployed())
    return lambda actor: commands.close_playground(actor=actor, playground=playground)


SCENARIOS: dict[str, Scenario] = {
    "environment.deploy": _deploy,
    "deployment.rollback": _rollback,
    "deployment.release-hold": _release_hold,
    "deployment.cancel": _cancel,
    "deployment.undeploy": _undeploy,
    "deployment.retry": _retry,
    "deployment.approve": _approve,
    "deployment.force": _force,
    "deployment.pause": _pause,
    "deployment.resume": _resume,
    "deployment.set-plan": _set_plan,
    "environment.set-rollout-policy": _set_rollout_policy,
    "playground.open": _open_playground,
    "playground.close": _close_playground,
}
