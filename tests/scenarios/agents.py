"""Scenarios of the commands in `agents`."""

from __future__ import annotations

from collections.abc import Callable

from apps.agents import commands
from apps.agents.definitions import Definition
from apps.agents.models import Agent
from apps.core.actors import Actor
from tests.harness.world import Inhabited
from tests.scenarios import Scenario

_FIRST = Definition(name="Greeter", instructions="Greet people.")
_SECOND = _FIRST.replaced(instructions="Greet people in rhymes.")


def _agent(world: Inhabited) -> Agent:
    return commands.create(actor=world.actor("builder"), slug="scenario-greeter", definition=_FIRST)


def _create(world: Inhabited) -> Callable[[Actor], object]:
    return lambda actor: commands.create(actor=actor, slug="scenario-greeter", definition=_FIRST)


def _edit(world: Inhabited) -> Callable[[Actor], object]:
    agent = _agent(world)
    return lambda actor: commands.edit(actor=actor, agent=agent, revision=1, definition=_SECOND)


def _publish(world: Inhabited) -> Callable[[Actor], object]:
    agent = _agent(world)
    return lambda actor: commands.publish(actor=actor, agent=agent, note="the first")


def _restore_version(world: Inhabited) -> Callable[[Actor], object]:
    agent = _agent(world)
    commands.publish(actor=Actor.system(), agent=agent)
    commands.edit(actor=Actor.system(), agent=agent, revision=1, definition=_SECOND)
    return lambda actor: commands.restore_version(actor=actor, agent=agent, number=1)


def _delete(world: Inhabited) -> Callable[[Actor], object]:
    agent = _agent(world)
    return lambda actor: commands.delete(actor=actor, agent=agent)


def _restore(world: Inhabited) -> Callable[[Actor], object]:
    agent = commands.delete(actor=Actor.system(), agent=_agent(world))
    return lambda actor: commands.restore(actor=actor, agent=agent)


def _duplicate(world: Inhabited) -> Callable[[Actor], object]:
    agent = _agent(world)
    return lambda actor: commands.duplicate(actor=actor, agent=agent, slug="scenario-copy")


def _hand_over(world: Inhabited) -> Callable[[Actor], object]:
    agent = _agent(world)
    return lambda actor: commands.hand_over(actor=actor, agent=agent, owner=world.users["viewer"])


SCENARIOS: dict[str, Scenario] = {
    "agent.create": _create,
    "agent.edit": _edit,
    "agent.publish": _publish,
    "agent.restore-version": _restore_version,
    "agent.delete": _delete,
    "agent.restore": _restore,
    "agent.duplicate": _duplicate,
    "agent.hand-over": _hand_over,
}
