"""Agents in the dashboard, as a builder works with them."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from guardian.shortcuts import assign_perm

from apps.agents import commands
from apps.agents.models import Agent
from tests.agents.conftest import TRIAGE
from tests.harness.world import Inhabited

FORM = {
    "name": "Greeter",
    "slug": "",
    "description": "",
    "instructions": "Greet people.\r\nBe brief.",
    "model_profile": "default",
    "temperature": "0.7",
    "max_tokens": "1024",
    "input_schema": json.dumps(TRIAGE.input_schema),
    "output_schema": "",
}


def _text(response: Any) -> str:
    """What a person reads, without the markup."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", response.content.decode())))


def _hidden(response: Any, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', response.content.decode())
    assert found is not None
    return found[1]


def _form_of(agent: Agent, **changes: str) -> dict[str, str]:
    own = {name: str(getattr(agent, name)) for name in ("name", "description", "instructions", "max_tokens")}
    own |= {"model_profile": agent.model_profile, "temperature": str(agent.temperature)}
    own |= {"input_schema": json.dumps(agent.input_schema), "revision": str(agent.revision)}
    return own | changes


def test_write_publish_change_compare_restore(acme: Inhabited) -> None:
    client = acme.client("builder")
    response = client.post("/agents/new/", FORM, follow=True)
    assert response.redirect_chain[-1][0] == "/agents/greeter/"
    assert "Greeter is a draft now" in _text(response)
    assert Agent.objects.get().instructions == "Greet people.\nBe brief."

    sheet = client.get("/agents/greeter/publish/")
    assert "freezes the draft as version 1" in _text(sheet)
    response = client.post(
        "/agents/greeter/publish/", {"note": "the first", "revision": _hidden(sheet, "revision")}, follow=True
    )
    assert "Published version 1" in _text(response)

    page = client.get("/agents/greeter/edit/")
    changed = {**FORM, "instructions": "Greet people.\r\nBe verbose.", "revision": _hidden(page, "revision")}
    response = client.post("/agents/greeter/edit/", changed, follow=True)
    assert "the draft differs from version 1" in _text(response)

    compared = client.get("/agents/greeter/?tab=compare").content.decode()
    assert "<mark>brief</mark>" in compared
    assert "<mark>verbose</mark>" in compared
    assert "the first" in _text(client.get("/agents/greeter/?tab=versions"))
    history = _text(client.get("/agents/greeter/?tab=history"))
    assert list(re.findall(r"agent\.\w+", history)) == ["agent.edit", "agent.publish", "agent.create"]

    sheet = client.get("/agents/greeter/versions/1/restore/")
    revision = {"revision": _hidden(sheet, "revision")}
    response = client.post("/agents/greeter/versions/1/restore/", revision, follow=True)
    assert "The draft is version 1 again" in _text(response)
    assert Agent.objects.get().instructions == "Greet people.\nBe brief."


def test_the_button_of_a_version_leads_to_its_comparison(acme: Inhabited, published: Agent) -> None:
    client = acme.client("viewer")
    response = client.get("/agents/support-triage/versions/1/compare/", follow=True)
    assert "<mark>three</mark>" in response.content.decode()
    assert "You sort tickets" in _text(client.get("/agents/support-triage/versions/1/"))


@pytest.mark.parametrize("query", ["from=1&to=1", "from=draft&to=draft"])
def test_equal_sides_say_so(acme: Inhabited, published: Agent, query: str) -> None:
    response = acme.client("viewer").get(f"/agents/support-triage/?tab=compare&{query}")
    assert "The same on both sides" in _text(response)


@pytest.mark.parametrize("query", ["tab=compare&from=9", "tab=compare&to=x", "tab=nothing"])
def test_a_comparison_with_what_is_not_there_is_not_found(acme: Inhabited, published: Agent, query: str) -> None:
    assert acme.client("viewer").get(f"/agents/support-triage/?{query}").status_code == 404


def test_nothing_typed_is_lost_when_somebody_else_saved(acme: Inhabited, triage: Agent) -> None:
    commands.edit(actor=acme.actor("admin"), agent=triage, revision=1, definition=TRIAGE.replaced(name="Theirs"))
    client = acme.client("builder")
    mine = _form_of(triage, name="Mine", revision="1")

    response = client.post("/agents/support-triage/edit/", mine)
    assert response.status_code == 409
    assert "admin@acme.example saved the draft while you were editing" in _text(response)
    assert "Theirs" in response.content.decode()
    assert 'value="Mine"' in response.content.decode()
    assert Agent.objects.get().name == "Theirs"

    again = client.post("/agents/support-triage/edit/", {**mine, "revision": _hidden(response, "revision")})
    assert again.status_code == 302
    assert Agent.objects.get().name == "Mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "!!!"}, "The name makes no slug; type one"),
        ({"slug": "with space"}, "must be made of lower-case letters"),
        ({"slug": "s" * 49}, "at most 48 characters"),
        ({"slug": "support-triage"}, "“support-triage” is taken"),
        ({"name": "Support Triage"}, "“support-triage” is taken"),
        ({"instructions": ""}, "This field is required"),
        ({"instructions": "  "}, "Write what the agent is to do"),
        ({"instructions": "i" * 100_001}, "at most 100000 characters"),
        ({"model_profile": "GPT 4"}, "Name a model profile"),
        ({"temperature": "hot"}, "Enter a number"),
        ({"temperature": "3"}, "less than or equal to 2"),
        ({"max_tokens": "0"}, "greater than or equal to 1"),
        ({"input_schema": ""}, "This field is required"),
        ({"input_schema": "{"}, "Not valid JSON: Expecting property name enclosed in double quotes at line 1 column 2"),
        ({"input_schema": '{"a": 1, "a": 2}'}, "names the same key twice"),
        ({"input_schema": "[]"}, "Must be a JSON object, in braces"),
        ({"input_schema": '{"type": "objekt"}'}, "not a JSON Schema"),
        ({"output_schema": '{"type": "string"}'}, 'write "type": "object" at its top'),
    ],
)
def test_bad_input_stands_at_its_field(acme: Inhabited, triage: Agent, change: dict[str, str], message: str) -> None:
    response = acme.client("builder").post("/agents/new/", {**FORM, **change})
    assert response.status_code == 422
    assert message in _text(response)
    (field,) = {"slug"} if message.startswith(("The name", "“support")) else set(change)
    assert f'id="id_{field}_error"' in response.content.decode()
    assert Agent.objects.count() == 1


def test_everything_wrong_is_said_at_once(acme: Inhabited) -> None:
    wrong = {"name": "!!!", "instructions": " ", "input_schema": '{"type": "objekt"}'}
    page = acme.client("builder").post("/agents/new/", {**FORM, **wrong}).content.decode()
    assert set(re.findall(r'id="id_(\w+)_error"', page)) == {"slug", "instructions", "input_schema"}


def test_a_deleted_agent_is_found_and_restored(acme: Inhabited, triage: Agent) -> None:
    client = acme.client("builder")
    assert "Delete Support triage?" in _text(client.get("/agents/support-triage/delete/"))
    response = client.post("/agents/support-triage/delete/", follow=True)
    assert "Support triage is deleted" in _text(response)
    assert "/agents/support-triage/" not in client.get("/agents/").content.decode()

    trash = client.get("/agents/?state=deleted").content.decode()
    assert "/agents/support-triage/restore/" in trash
    page = client.get("/agents/support-triage/").content.decode()
    assert "/agents/support-triage/restore/" in page
    assert "/agents/support-triage/edit/" not in page
    assert client.post("/agents/support-triage/edit/", _form_of(triage)).status_code == 409

    response = client.post("/agents/support-triage/restore/", follow=True)
    assert "Support triage is back" in _text(response)
    assert Agent.objects.alive().count() == 1


def test_the_slug_of_a_deleted_agent_is_explained(acme: Inhabited, triage: Agent) -> None:
    commands.delete(actor=acme.actor("builder"), agent=triage)
    response = acme.client("builder").post("/agents/new/", {**FORM, "slug": "support-triage"})
    assert "belongs to a deleted agent, which can be restored" in _text(response)


def test_a_copy_is_made(acme: Inhabited, triage: Agent) -> None:
    client = acme.client("builder")
    taken = client.post("/agents/support-triage/duplicate/", {"name": "Two", "slug": "support-triage"})
    assert taken.status_code == 422
    response = client.post("/agents/support-triage/duplicate/", {"name": "Two", "slug": "two"}, follow=True)
    assert response.redirect_chain[-1][0] == "/agents/two/"


def test_publishing_again_says_why_not(acme: Inhabited, triage: Agent) -> None:
    commands.publish(actor=acme.actor("builder"), agent=triage)
    client = acme.client("builder")
    page = client.get("/agents/support-triage/").content.decode()
    assert "Nothing changed since version 1" in page
    assert 'href="/agents/support-triage/publish/"' not in page
    response = client.post("/agents/support-triage/publish/", {"note": "", "revision": "1"})
    assert response.status_code == 409
    assert "Nothing changed since version 1" in _text(response)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["Greeter", "Support triage"]),
        ("?sort=-name", ["Support triage", "Greeter"]),
        ("?search=sorts", ["Support triage"]),
        ("?state=draft", ["Greeter"]),
        ("?state=changed", ["Support triage"]),
        ("?state=published", []),
        ("?model_profile=large", ["Greeter"]),
        ("?state=nonsense", []),
    ],
)
def test_the_list_is_searched_filtered_and_sorted(
    acme: Inhabited, published: Agent, query: str, found: list[str]
) -> None:
    greeter = TRIAGE.replaced(name="Greeter", description="", model_profile="large")
    commands.create(actor=acme.actor("builder"), slug="greeter", definition=greeter)
    page = acme.client("viewer").get(f"/agents/{query}").content.decode()
    assert re.findall(r'class="cell-main" href="/agents/[^"]+">([^<]+)<', page) == found


def test_the_list_has_pages(acme: Inhabited) -> None:
    for number in range(26):
        definition = TRIAGE.replaced(name=f"Agent {number:02}")
        commands.create(actor=acme.actor("builder"), slug=f"agent-{number}", definition=definition)
    client = acme.client("viewer")
    assert "25 of 26" in _text(client.get("/agents/"))
    assert "Agent 25" in _text(client.get("/agents/?page=2"))


def test_an_empty_list_says_what_to_do(acme: Inhabited) -> None:
    assert "Write your first one" in _text(acme.client("builder").get("/agents/"))


def test_a_reader_gets_no_buttons_and_is_told_why(acme: Inhabited, published: Agent) -> None:
    client = acme.client("viewer")
    page = client.get("/agents/support-triage/").content.decode()
    for verb in ("edit", "publish", "delete", "duplicate"):
        assert f"/agents/support-triage/{verb}/" not in page
        refused = client.get(f"/agents/support-triage/{verb}/")
        assert refused.status_code == 403
        assert f"agent.{verb}" in refused.content.decode()
    assert client.get("/agents/new/").status_code == 403
    assert client.post("/agents/support-triage/edit/", _form_of(published)).status_code == 403


ADDRESSES = [
    "",
    "?tab=versions",
    "?tab=compare",
    "?tab=history",
    "edit/",
    "publish/",
    "duplicate/",
    "delete/",
    "versions/1/",
    "versions/1/compare/",
    "versions/1/restore/",
]


@pytest.mark.parametrize("rest", ADDRESSES)
def test_another_organization_sees_nothing(acme: Inhabited, globex: Inhabited, published: Agent, rest: str) -> None:
    assert acme.client().get(f"/agents/support-triage/{rest}").status_code in (200, 302)
    assert globex.client().get(f"/agents/support-triage/{rest}").status_code == 404


@pytest.mark.parametrize("rest", ADDRESSES)
def test_a_stranger_is_sent_to_sign_in(acme: Inhabited, published: Agent, rest: str) -> None:
    response = acme.client(None).get(f"/agents/support-triage/{rest}")
    assert response.status_code == 302
    assert response["location"].startswith("/accounts/login/")


def test_instructions_are_shown_and_never_run(acme: Inhabited) -> None:
    evil = TRIAGE.replaced(name="<b>bold</b>", instructions="<script>alert(1)</script>", description="<img src=x>")
    agent = commands.create(actor=acme.actor("builder"), slug="evil", definition=evil)
    commands.publish(actor=acme.actor("builder"), agent=agent, note="<i>note</i>")
    client = acme.client("builder")
    for rest in ("", "?tab=versions", "?tab=history", "edit/", "publish/", "delete/", "versions/1/"):
        page = client.get(f"/agents/evil/{rest}").content.decode()
        assert not re.search(r"<script>alert|<img src=x|<b>bold|<i>note", page)


def test_a_grant_on_one_agent_opens_that_one(acme: Inhabited, triage: Agent) -> None:
    other = commands.create(actor=acme.actor("builder"), slug="other", definition=TRIAGE.replaced(name="Other"))
    kind = ContentType.objects.get_for_model(Agent)
    assign_perm(Permission.objects.get(codename="agent.edit", content_type=kind), acme.users["viewer"], triage)

    client = acme.client("viewer")
    page = client.get("/agents/").content.decode()
    assert "/agents/support-triage/edit/" in page
    assert "/agents/other/edit/" not in page
    assert client.post("/agents/support-triage/edit/", _form_of(triage, name="Mine")).status_code == 302
    assert client.post("/agents/other/edit/", _form_of(other, name="Mine")).status_code == 403
