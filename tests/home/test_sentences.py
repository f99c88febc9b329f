"""Events in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from apps.agents.commands import create
from apps.agents.definitions import Definition
from apps.audit.models import Event
from apps.core.commands import registry
from apps.core.errors import Denied
from apps.home.sentences import Sentence, phrase, sentence
from tests.harness.world import Inhabited

APPS = Path(__file__).resolve().parents[2] / "apps"


def _recorded_by_studio() -> set[str]:
    """The actions that code records without a command: they stand in it as text."""
    calls = re.compile(r'record_system_event\(\s*"([a-z-]+\.[a-z-]+)"')
    return {action for path in APPS.rglob("*.py") for action in calls.findall(path.read_text())}


@pytest.mark.parametrize("action", sorted(set(registry) | _recorded_by_studio()))
def test_every_action_has_words(action: str) -> None:
    assert phrase(action) != action


def test_a_change_and_a_refusal_in_words(acme: Inhabited) -> None:
    definition = Definition(name="Greeter", instructions="Greet.")
    create(actor=acme.actor("builder"), slug="greeter", definition=definition)
    assert sentence(Event.objects.latest("sequence")) == Sentence("robot", "builder", "wrote the agent", "Greeter")

    with pytest.raises(Denied):
        create(actor=acme.actor("viewer"), slug="other", definition=definition)
    refused = sentence(Event.objects.latest("sequence"))
    assert (refused.icon, refused.who, refused.did) == ("shield-x", "viewer", "was refused agent.create on")
    assert "lacks agent.create" in refused.refused
