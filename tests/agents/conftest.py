"""Agents for stories."""

from __future__ import annotations

import pytest

from apps.agents import commands
from apps.agents.definitions import Definition
from apps.agents.models import Agent
from tests.harness.world import Inhabited

TRIAGE = Definition(
    name="Support triage",
    description="Sorts incoming tickets.",
    instructions="You sort tickets.\nAnswer in three sentences.",
    temperature=0.2,
    max_tokens=256,
)


@pytest.fixture
def triage(acme: Inhabited) -> Agent:
    """An agent that a builder wrote and nobody published."""
    return commands.create(actor=acme.actor("builder"), slug="support-triage", definition=TRIAGE)


@pytest.fixture
def published(acme: Inhabited, triage: Agent) -> Agent:
    """The same with one version, and a draft that has changed since."""
    builder = acme.actor("builder")
    commands.publish(actor=builder, agent=triage, note="the pilot")
    changed = TRIAGE.replaced(instructions="You sort tickets.\nAnswer in two sentences.", temperature=0.1)
    commands.edit(actor=builder, agent=triage, revision=1, definition=changed)
    return Agent.objects.with_latest_version().get(pk=triage.pk)
