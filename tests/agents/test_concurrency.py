"""Two people at the same moment: the row's lock decides, and one of them is told."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from django.db import connection

from apps.agents import commands
from apps.agents.models import Agent, AgentVersion
from apps.audit.chain import verify
from apps.core.errors import Conflict
from apps.core.tenancy import tenant
from tests.agents.conftest import TRIAGE
from tests.harness.world import Inhabited

AT_ONCE = 4


def _race(world: Inhabited, act: Callable[[int], object]) -> list[object]:
    """What each of several simultaneous attempts returned, or the conflict that it met."""
    start = Barrier(AT_ONCE)

    def attempt(number: int) -> object:
        try:
            with tenant(world.schema):
                start.wait(timeout=30)
                return act(number)
        except Conflict as conflict:
            return conflict
        finally:
            connection.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(attempt, range(AT_ONCE)))


def test_one_of_several_simultaneous_changes_wins(live_organization: Inhabited) -> None:
    world = live_organization
    actor = world.actor("builder")
    agent = commands.create(actor=actor, slug="contended", definition=TRIAGE)

    outcomes = _race(
        world,
        lambda number: commands.edit(
            actor=actor, agent=agent, revision=1, definition=TRIAGE.replaced(max_tokens=number + 1)
        ),
    )
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == AT_ONCE - 1
    assert Agent.objects.get().revision == 2

    outcomes = _race(world, lambda _: commands.publish(actor=actor, agent=agent))
    assert sum(isinstance(outcome, AgentVersion) for outcome in outcomes) == 1
    assert [version.number for version in AgentVersion.objects.all()] == [1]

    outcomes = _race(world, lambda _: commands.create(actor=actor, slug="same", definition=TRIAGE))
    assert sum(isinstance(outcome, Agent) for outcome in outcomes) == 1
    assert verify().broken_at is None
