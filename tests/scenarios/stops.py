"""Scenarios of the commands on stops."""

from __future__ import annotations

from collections.abc import Callable

from apps.agents import commands as agents
from apps.agents.definitions import Definition
from apps.agents.models import AgentVersion
from apps.core.actors import Actor
from apps.deployments import commands
from apps.deployments.models import Stop
from apps.deployments.releases import release_of
from apps.gateways.commands import register_gateway
from apps.gateways.models import Environment
from tests.harness.world import Inhabited
from tests.scenarios import Scenario

_SYSTEM = Actor.system("tests")


def _version(world: Inhabited) -> AgentVersion:
    definition = Definition(name="Stopped", instructions="Say nothing.")
    agent = agents.create(actor=world.actor("builder"), slug="scenario-stopped", definition=definition)
    return agents.publish(actor=_SYSTEM, agent=agent)


def _stopped(world: Inhabited) -> Stop:
    return commands.stop_agent(actor=_SYSTEM, agent=_version(world).agent, reason="it misbehaves")


def _stop_agent(world: Inhabited) -> Callable[[Actor], object]:
    agent = _version(world).agent
    return lambda actor: commands.stop_agent(actor=actor, agent=agent, reason="it misbehaves")


def _stop_release(world: Inhabited) -> Callable[[Actor], object]:
    release = release_of(_version(world))
    return lambda actor: commands.stop_release(actor=actor, release=release, reason="it misbehaves")


def _stop_author(world: Inhabited) -> Callable[[Actor], object]:
    _version(world)
    author = world.users["builder"]
    return lambda actor: commands.stop_author(actor=actor, author=author, reason="their laptop was stolen")


def _lift(world: Inhabited) -> Callable[[Actor], object]:
    stop = _stopped(world)
    return lambda actor: commands.lift_stop(actor=actor, stop=stop, reason="it was repaired")


def _retry(world: Inhabited) -> Callable[[Actor], object]:
    register_gateway(
        actor=_SYSTEM,
        environment=Environment.objects.get(slug="staging"),
        name="silent-to-stops",
        address="http://127.0.0.1:9",
        deploy_token="a-token-that-opens-nothing",
    )
    stop = _stopped(world)
    return lambda actor: commands.retry_stop(actor=actor, stop=stop)


SCENARIOS: dict[str, Scenario] = {
    "stop.agent": _stop_agent,
    "stop.release": _stop_release,
    "stop.author": _stop_author,
    "stop.lift": _lift,
    "stop.retry": _retry,
}
