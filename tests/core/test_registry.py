"""Every command, without exception: a stranger is refused, and a success leaves exactly one event."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest

from apps.audit.chain import verify
from apps.audit.models import Event
from apps.core.actors import Actor
from apps.core.commands import registry
from apps.core.errors import Denied
from apps.core.tenancy import public
from tests.harness.world import Inhabited
from tests.scenarios import all_scenarios

# Parametrised by name at collection; Django is set up by then, so the registry is whole.
ACTIONS = sorted(registry)
STRANGERS = {"nobody": Actor.anonymous(), "impostor": Actor("user", "00000000-0000-0000-0000-000000000000", "ghost")}


def _actor(action: str, world: Inhabited) -> Actor:
    return Actor.system("operator") if action.startswith("organization.") else world.actor("owner")


def _place(action: str) -> AbstractContextManager[None]:
    """Organizations are changed from the public schema, everything else from inside the organization."""
    return public() if action.startswith("organization.") else nullcontext()


def test_every_command_has_a_scenario() -> None:
    assert set(ACTIONS) == set(all_scenarios())


@pytest.mark.parametrize("action", ACTIONS)
def test_success_leaves_one_event(action: str, acme: Inhabited) -> None:
    with _place(action):
        perform = all_scenarios()[action](acme)
        before = Event.objects.count()

        perform(_actor(action, acme))

        new = list(Event.objects.order_by("sequence")[before:])
        own = [event for event in new if event.action == action]
        assert len(own) == 1, [event.action for event in new]
        assert own[0].outcome == "succeeded"
        # Whatever else was recorded is a nested command's event, linked to its parent.
        assert all(event.parent is not None for event in new if event is not own[0])
        assert verify().broken_at is None


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("action", [action for action in ACTIONS if not registry[action].open])
def test_a_stranger_is_refused_and_the_denial_recorded(action: str, stranger: str, acme: Inhabited) -> None:
    with _place(action):
        perform = all_scenarios()[action](acme)
        before = Event.objects.count()

        with pytest.raises(Denied):
            perform(STRANGERS[stranger])

        new = list(Event.objects.order_by("sequence")[before:])
        assert [(event.action, event.outcome) for event in new] == [(action, "denied")]
        assert new[0].detail["reason"]


@pytest.mark.parametrize("action", [action for action in ACTIONS if not registry[action].open])
def test_a_member_of_another_organization_is_refused(action: str, acme: Inhabited, globex: Inhabited) -> None:
    with _place(action):
        perform = all_scenarios()[action](acme)
        with pytest.raises(Denied):
            perform(globex.actor("owner"))


def test_a_command_open_to_strangers_says_why() -> None:
    assert all(spec.why for spec in registry.values() if spec.open)


def test_an_operators_act_stands_in_both_logs(acme: Inhabited) -> None:
    with public():
        perform = all_scenarios()["organization.suspend"](acme)
        perform(Actor.system("operator"))
        assert Event.objects.get(action="organization.suspend").resource_label == "Acme"
    assert Event.objects.get(action="organization.suspend").detail == {}
