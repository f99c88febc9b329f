"""Agents through the API, as an integration uses it."""

from __future__ import annotations

from typing import Any

import pytest

from apps.agents import commands
from apps.agents.models import Agent, AgentVersion
from tests.agents.conftest import TRIAGE
from tests.harness.world import Inhabited

NEW = {"slug": "greeter", "name": "Greeter", "instructions": "Greet people."}


def _errors(response: Any) -> dict[str, str]:
    assert response["content-type"] == "application/problem+json"
    return {error["field"]: error["message"] for error in response.json()["errors"]}


def test_the_life_of_an_agent(acme: Inhabited) -> None:
    api = acme.api("builder")
    made = api.post("/agents/", NEW)
    assert made.status_code == 201
    agent = made.json()
    assert agent["slug"] == "greeter"
    assert (agent["state"], agent["latest_version"], agent["revision"]) == ("draft", None, 1)
    assert (agent["temperature"], agent["max_tokens"], agent["memory"]) == (0.7, 1024, False)
    assert agent["input_schema"]["required"] == ["message"]
    assert agent["output_schema"] is None

    first = api.post("/agents/greeter/publish/", {"note": "first", "revision": 1})
    assert first.status_code == 201
    assert (first.json()["number"], first.json()["content"]["instructions"]) == (1, "Greet people.")

    edited = api.patch("/agents/greeter/", {"revision": 1, "instructions": "Greet in rhymes.", "temperature": 1})
    assert edited.status_code == 200
    assert (edited.json()["state"], edited.json()["revision"]) == ("changed", 2)
    assert edited.json()["name"] == "Greeter"

    assert api.post("/agents/greeter/publish/").json()["number"] == 2
    listed = api.get("/agents/greeter/versions/").json()["results"]
    assert [(version["number"], version["note"]) for version in listed] == [(2, ""), (1, "first")]
    assert api.get("/agents/greeter/versions/1/").json()["content"]["temperature"] == 0.7

    restored = api.post("/agents/greeter/versions/1/restore/", {"revision": 2})
    assert restored.status_code == 200
    assert (restored.json()["instructions"], restored.json()["revision"]) == ("Greet people.", 3)

    assert api.delete("/agents/greeter/").status_code == 204
    assert api.get("/agents/").json()["results"] == []
    assert api.get("/agents/greeter/").json()["state"] == "deleted"
    assert api.post("/agents/greeter/restore/").json()["state"] == "changed"


def test_the_difference_names_words_and_places(acme: Inhabited, published: Agent) -> None:
    api = acme.api("viewer")
    difference = api.get("/agents/support-triage/diff/").json()
    assert (difference["old"], difference["new"]) == ("1", "draft")
    text, temperature = difference["changes"]
    assert text["field"] == "instructions"
    marked = [piece["text"] for line in text["lines"] for piece in line["segments"] if piece["changed"]]
    assert marked == ["three", "two"]
    assert (temperature["before"], temperature["after"], temperature["lines"]) == (0.2, 0.1, [])

    back = api.get("/agents/support-triage/diff/", **{"from": "draft", "to": "1"}).json()
    assert back["changes"][1]["before"] == 0.1
    assert api.get("/agents/support-triage/diff/", **{"from": "1", "to": "1"}).json()["changes"] == []
    assert api.get("/agents/support-triage/diff/", to="9").status_code == 404
    assert api.get("/agents/support-triage/diff/", to="x").status_code == 404


def test_without_a_version_there_is_nothing_to_compare_with(acme: Inhabited, triage: Agent) -> None:
    response = acme.api().get("/agents/support-triage/diff/")
    assert response.status_code == 404
    assert "no version yet" in response.json()["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slug": "Not A Slug"}, "slug"),
        ({"slug": "with space"}, "slug"),
        ({"slug": 5}, "slug"),
        ({"slug": None}, "slug"),
        ({"name": ""}, "name"),
        ({"name": ["x"]}, "name"),
        ({"name": "n" * 200}, "name"),
        ({"instructions": ""}, "instructions"),
        ({"instructions": "i" * 100_001}, "instructions"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"memory": "yes"}, "memory"),
        ({"memory": 1}, "memory"),
        ({"input_schema": "{}"}, "input_schema"),
        ({"input_schema": None}, "input_schema"),
        ({"input_schema": {"type": "objekt"}}, "input_schema"),
        ({"output_schema": []}, "output_schema"),
        ({"temprature": 0.5}, "temprature"),
        ({"revision": 1}, "revision"),
    ],
)
def test_bad_input_names_its_field(acme: Inhabited, change: dict[str, Any], field: str) -> None:
    response = acme.api("builder").post("/agents/", {**NEW, **change})
    assert response.status_code == 422
    assert list(_errors(response)) == [field]
    assert not Agent.objects.exists()


@pytest.mark.parametrize("missing", ["slug", "name", "instructions"])
def test_what_is_missing_is_named(acme: Inhabited, missing: str) -> None:
    body = {name: value for name, value in NEW.items() if name != missing}
    assert list(_errors(acme.api("builder").post("/agents/", body))) == [missing]


def test_a_body_that_is_no_object_is_refused(acme: Inhabited, triage: Agent) -> None:
    api = acme.api("builder")
    assert api.client.post("/api/v1/agents/", "{", content_type="application/json").status_code == 400
    assert api.client.post("/api/v1/agents/", "[1]", content_type="application/json").status_code == 422
    assert api.client.post("/api/v1/agents/", "x=1", content_type="text/plain").status_code == 415
    huge = '{"instructions": "' + "i" * (2 * 1024 * 1024) + '"}'
    assert api.client.post("/api/v1/agents/", huge, content_type="application/json").status_code == 413
    deep = '{"input_schema": ' + '{"a":' * 100 + "1" + "}" * 100 + ', "slug": "a", "name": "A", "instructions": "x"}'
    assert api.client.post("/api/v1/agents/", deep, content_type="application/json").status_code == 400
    for text in ("nul\0", "half \ud800"):
        assert api.post("/agents/", {**NEW, "instructions": text}).status_code == 400
    assert [agent.slug for agent in Agent.objects.all()] == ["support-triage"]


def test_a_taken_slug_is_a_conflict(acme: Inhabited, triage: Agent) -> None:
    response = acme.api("builder").post("/agents/", {**NEW, "slug": "support-triage"})
    assert response.status_code == 409
    assert "“support-triage” is taken" in response.json()["detail"]
    copy = acme.api("builder").post("/agents/support-triage/duplicate/", {"slug": "support-triage"})
    assert copy.status_code == 409


def test_a_copy_is_made(acme: Inhabited, published: Agent) -> None:
    response = acme.api("builder").post("/agents/support-triage/duplicate/", {"slug": "two", "name": "Two"})
    assert response.status_code == 201
    assert response.json()["instructions"] == published.instructions
    assert (response.json()["name"], response.json()["latest_version"]) == ("Two", None)


def test_two_integrations_do_not_overwrite_each_other(acme: Inhabited, triage: Agent) -> None:
    api = acme.api("builder")
    assert api.patch("/agents/support-triage/", {"revision": 1, "memory": True}).status_code == 200
    late = api.patch("/agents/support-triage/", {"revision": 1, "memory": False})
    assert late.status_code == 409
    assert "revision 2" in late.json()["detail"]
    without = api.patch("/agents/support-triage/", {"memory": False})
    assert list(_errors(without)) == ["revision"]
    assert list(_errors(api.patch("/agents/support-triage/", {"revision": 2, "slug": "other"}))) == ["slug"]
    assert Agent.objects.get().memory is True


def test_publishing_is_refused_with_the_reason(acme: Inhabited, triage: Agent) -> None:
    api = acme.api("builder")
    assert list(_errors(api.post("/agents/support-triage/publish/", {"note": "n" * 1001}))) == ["note"]
    assert api.post("/agents/support-triage/publish/", {"revision": 7}).status_code == 409
    assert api.post("/agents/support-triage/publish/").status_code == 201
    again = api.post("/agents/support-triage/publish/")
    assert again.status_code == 409
    assert again.json()["detail"] == "Nothing changed since version 1."


def test_the_same_post_sent_twice_has_one_effect(acme: Inhabited, triage: Agent) -> None:
    api = acme.api("builder")
    first = api.post("/agents/support-triage/publish/", {"note": "once"}, key="k1")
    second = api.post("/agents/support-triage/publish/", {"note": "once"}, key="k1")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert AgentVersion.objects.count() == 1
    assert api.post("/agents/", NEW, key="k2").status_code == 201
    assert api.post("/agents/", NEW, key="k2").json()["slug"] == "greeter"
    assert Agent.objects.count() == 2


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, {"support-triage", "greeter"}),
        ({"search": "TICKETS sorts"}, {"support-triage"}),
        ({"search": "nothing like it"}, set()),
        ({"model_profile": "large"}, {"greeter"}),
        ({"published": "true"}, {"support-triage"}),
        ({"published": "false"}, {"greeter"}),
        ({"deleted": "true"}, {"gone"}),
        ({"deleted": "false"}, {"support-triage", "greeter"}),
    ],
)
def test_the_list_is_narrowed(acme: Inhabited, published: Agent, query: dict[str, str], found: set[str]) -> None:
    builder = acme.actor("builder")
    greeter = TRIAGE.replaced(name="Greeter", description="Greets.", model_profile="large")
    commands.create(actor=builder, slug="greeter", definition=greeter)
    commands.delete(actor=builder, agent=commands.create(actor=builder, slug="gone", definition=TRIAGE))
    results = acme.api("viewer").get("/agents/", **query).json()["results"]
    assert {agent["slug"] for agent in results} == found
    assert all("instructions" not in agent for agent in results)


@pytest.mark.parametrize("query", [{"deleted": "maybe"}, {"published": "2"}, {"ordering": "-slug,secret"}])
def test_a_filter_that_cannot_be_is_refused(acme: Inhabited, query: dict[str, str]) -> None:
    assert list(_errors(acme.api().get("/agents/", **query))) == list(query)


def test_the_list_is_sorted_and_paged_by_cursor(acme: Inhabited) -> None:
    builder = acme.actor("builder")
    for letter in "cab":
        commands.create(actor=builder, slug=letter, definition=TRIAGE.replaced(name=letter))
    api = acme.api("viewer")
    page = api.get("/agents/", ordering="name", page_size=2).json()
    assert [agent["slug"] for agent in page["results"]] == ["a", "b"]
    rest = api.client.get(page["next"]).json()
    assert [agent["slug"] for agent in rest["results"]] == ["c"]
    newest = api.get("/agents/").json()["results"]
    assert [agent["slug"] for agent in newest] == ["b", "a", "c"]


@pytest.mark.parametrize("role", ["viewer", "approver"])
def test_a_reader_is_told_what_is_missing(acme: Inhabited, published: Agent, role: str) -> None:
    api = acme.api(role)
    assert api.get("/agents/support-triage/").status_code == 200
    for response in (
        api.post("/agents/", NEW),
        api.patch("/agents/support-triage/", {"revision": 2, "memory": True}),
        api.post("/agents/support-triage/publish/"),
        api.post("/agents/support-triage/duplicate/", {"slug": "copy"}),
        api.post("/agents/support-triage/versions/1/restore/"),
        api.delete("/agents/support-triage/"),
    ):
        assert response.status_code == 403
        assert "builder" in response.json()["detail"]


ADDRESSES = [
    "/agents/{}/",
    "/agents/{}/diff/",
    "/agents/{}/versions/",
    "/agents/{}/versions/1/",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_another_organization_sees_nothing(acme: Inhabited, globex: Inhabited, published: Agent, address: str) -> None:
    path = address.format(published.slug)
    assert acme.api().get(path).status_code == 200
    assert globex.api().get(path).status_code == 404


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_does_not_exist_is_not_found(acme: Inhabited, address: str) -> None:
    assert acme.api().get(address.format("unknown")).status_code == 404


def test_without_a_credential_nothing_is_shown(acme: Inhabited, published: Agent) -> None:
    client = acme.client(None)
    assert client.get("/api/v1/agents/").status_code == 401
    assert client.post("/api/v1/agents/", NEW, content_type="application/json").status_code == 401
