"""Who answers for an agent, and how that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from apps.agents.commands import create, delete, duplicate, hand_over
from apps.agents.definitions import Definition
from apps.audit.models import Event
from apps.core.actors import Actor
from apps.core.errors import Conflict

if TYPE_CHECKING:
    from apps.agents.models import Agent
    from tests.harness.world import Inhabited

_DEFINITION = Definition(name="Greeter", instructions="Greet people.")


@pytest.fixture
def agent(acme: Inhabited) -> Agent:
    return create(actor=acme.actor("builder"), slug="greeter", definition=_DEFINITION)


def test_whoever_makes_an_agent_owns_it(acme: Inhabited, agent: Agent) -> None:
    assert agent.owner == acme.users["builder"]
    assert create(actor=Actor.system("tests"), slug="studio-made", definition=_DEFINITION).owner is None
    assert duplicate(actor=acme.actor("admin"), agent=agent, slug="copy").owner == acme.users["admin"]


def test_handing_over_leaves_an_event_that_names_both(acme: Inhabited, agent: Agent) -> None:
    hand_over(actor=acme.actor("builder"), agent=agent, owner=acme.users["admin"])
    agent.refresh_from_db()
    assert agent.owner == acme.users["admin"]
    event = Event.objects.get(action="agent.hand-over")
    assert event.detail["owner"] == acme.users["admin"].email
    before, after = event.changes["owner_id"]
    assert (before, after) == (str(acme.users["builder"].pk), str(acme.users["admin"].pk))


def test_a_deactivated_member_owns_nothing_new(acme: Inhabited, agent: Agent) -> None:
    viewer = acme.users["viewer"]
    type(viewer).objects.filter(pk=viewer.pk).update(is_active=False)
    with pytest.raises(Conflict, match="deactivated"):
        hand_over(actor=acme.actor("owner"), agent=agent, owner=viewer)


def test_neither_to_the_same_nor_of_a_deleted_agent(acme: Inhabited, agent: Agent) -> None:
    with pytest.raises(Conflict, match="already"):
        hand_over(actor=acme.actor("owner"), agent=agent, owner=acme.users["builder"])
    delete(actor=acme.actor("owner"), agent=agent)
    with pytest.raises(Conflict, match="deleted"):
        hand_over(actor=acme.actor("owner"), agent=agent, owner=acme.users["admin"])


def test_the_api_shows_the_owner_and_hands_over(acme: Inhabited, agent: Agent) -> None:
    api = acme.api("builder")
    shown = api.get("/agents/greeter/").json()
    assert shown["owner"] == acme.users["builder"].email
    answer = api.post("/agents/greeter/hand-over/", {"owner": acme.users["viewer"].email})
    assert answer.status_code == 200, answer.content
    assert answer.json()["owner"] == acme.users["viewer"].email
    found = api.get("/agents/", owner=acme.users["viewer"].email).json()["results"]
    assert [each["slug"] for each in found] == ["greeter"]
    stranger = api.post("/agents/greeter/hand-over/", {"owner": "nobody@acme.example"})
    assert stranger.status_code == 422
    assert stranger.json()["errors"][0]["field"] == "owner"


def test_the_page_hands_over(acme: Inhabited, agent: Agent) -> None:
    client = acme.client("builder")
    assert "Hand over" in client.get("/agents/greeter/").content.decode()
    answer = client.post("/agents/greeter/hand-over/", {"owner": str(acme.users["admin"].pk)})
    assert answer.status_code == 302
    assert acme.users["admin"].email in client.get("/agents/greeter/").content.decode()
