"""The pages about what runs where, as a browser without JavaScript gets them, and what a live region renders."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from apps.core.errors import NotFound
from apps.deployments import commands
from apps.deployments.live import deployment_progress
from apps.deployments.models import Deployment, Rollout
from apps.gateways.models import Environment
from tests.deployments.steps import SYSTEM, deploy, fresh, next_version, release_of

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

    from apps.agents.models import AgentVersion
    from tests.harness.fleet import Fleet
    from tests.harness.world import Inhabited


@pytest.fixture
def version(fleet: Fleet) -> AgentVersion:
    _, version = fleet.write_agent(instructions="You greet people warmly.")
    return version


@pytest.fixture
def deployment(version: AgentVersion, staging: Environment) -> Deployment:
    return deploy(SYSTEM, staging, version)


def text_of(answer: Any) -> str:
    """What a reader sees: without markup, with single spaces."""
    html = answer if isinstance(answer, str) else answer.content.decode()
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def address(deployment: Deployment, page: str = "") -> str:
    return f"/deployments/{deployment.pk}/{page}"


def test_the_matrix_shows_each_agent_in_each_environment(acme: Inhabited, fleet: Fleet, deployment: Deployment) -> None:
    fleet.write_agent("triage")
    page = acme.client("viewer").get("/deployments/")
    shown = text_of(page)
    assert "Development Staging Production" in shown
    assert "waiting v1 version 1 waits for a gateway in staging" in shown
    assert f'href="{deployment.get_absolute_url()}"' in page.content.decode()

    only = text_of(acme.client("viewer").get("/deployments/", {"deployed": "no"}))
    assert "Triage" in only
    assert "Greeter" not in only


def test_the_matrix_costs_the_same_for_many(
    acme: Inhabited, fleet: Fleet, deployment: Deployment, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for slug in ("one", "two", "three"):
        _, version = fleet.write_agent(slug)
        for environment in Environment.objects.all():
            deploy(SYSTEM, environment, version)
    client = acme.client("viewer")
    for path in ("/deployments/", "/deployments/all/"):
        client.get(path)
        with django_assert_max_num_queries(24):
            assert client.get(path).status_code == 200


def test_the_list_filters_by_status(acme: Inhabited, deployment: Deployment) -> None:
    client = acme.client("viewer")
    assert "greeter-staging" in text_of(client.get("/deployments/all/", {"adjective": "waiting"}))
    assert "greeter-staging" not in text_of(client.get("/deployments/all/", {"adjective": "running"}))
    assert "greeter-staging" not in text_of(client.get("/deployments/all/", {"held": "yes"}))


def test_deploying_shows_the_difference_first(
    acme: Inhabited, fleet: Fleet, deployment: Deployment, staging: Environment
) -> None:
    fleet.start_gateway("stage-1", "staging")
    second = next_version(deployment.agent, "You greet people coolly.")
    client = acme.client("owner")

    shown = text_of(client.get("/agents/greeter/deploy/staging/"))
    assert "What changes: version 1 → 2" in shown
    assert "warmly" in shown
    assert "coolly" in shown
    assert "As Staging does it: all at once; not judged. All gateways stage-1" in shown
    assert fresh(deployment).generation == 1, "looking changes nothing"

    form = {"version": str(second.pk), "environment": str(staging.pk), "note": "cooler"}
    answer = client.post("/agents/greeter/deploy/", form, follow=True)
    assert answer.redirect_chain == [(deployment.get_absolute_url(), 302)]
    assert "greeter version 2 is on its way to Staging." in text_of(answer)
    assert Rollout.objects.get(generation=2).note == "cooler"


def test_the_preview_alone_answers_htmx(acme: Inhabited, version: AgentVersion) -> None:
    production = Environment.objects.get(slug="production")
    query = {"version": str(version.pk), "environment": str(production.pk)}
    headers = {"hx-request": "true", "hx-target": "preview"}
    answer = acme.client("builder").get("/agents/greeter/deploy/", query, headers=headers)
    shown = text_of(answer)
    assert "<html" not in answer.content.decode()
    assert "You may not deploy to Production. builder@acme.example lacks environment.deploy" in shown
    assert "disabled" in answer.content.decode()
    nonsense = acme.client("owner").get(
        "/agents/greeter/deploy/", {"version": "x", "environment": "y"}, headers=headers
    )
    assert "Choose a version and an environment" in text_of(nonsense)


def test_deploying_is_refused_with_what_is_missing(acme: Inhabited, version: AgentVersion) -> None:
    production = Environment.objects.get(slug="production")
    form = {"version": str(version.pk), "environment": str(production.pk)}
    refused = acme.client("builder").post("/agents/greeter/deploy/", form)
    assert refused.status_code == 403
    assert "lacks environment.deploy on Production" in text_of(refused)
    assert not Deployment.objects.exists()
    assert acme.client("viewer").get("/agents/greeter/deploy/").status_code == 403


def test_what_runs_already_and_what_is_held_is_said_at_the_form(
    acme: Inhabited, deployment: Deployment, version: AgentVersion, staging: Environment
) -> None:
    client = acme.client("owner")
    form = {"version": str(version.pk), "environment": str(staging.pk)}
    conflict = client.post("/agents/greeter/deploy/", form)
    assert conflict.status_code == 409
    assert "is what runs in staging already" in text_of(conflict)

    second = next_version(deployment.agent, "You greet people coolly.")
    deploy(SYSTEM, staging, second)
    commands.rollback(actor=SYSTEM, deployment=deployment, to=release_of(version))
    held = {**form, "version": str(second.pk)}
    assert "Staging is held:" in text_of(client.get("/agents/greeter/deploy/staging/"))
    assert client.post("/agents/greeter/deploy/", held).status_code == 409
    assert client.post("/agents/greeter/deploy/", {**held, "release_hold": "on"}).status_code == 302
    assert not fresh(deployment).held


def test_an_agent_without_a_version_has_nothing_to_deploy(acme: Inhabited) -> None:
    api = acme.api("owner")
    api.post("/agents/", {"slug": "draft", "name": "Draft", "instructions": "Wait."})
    client = acme.client("owner")
    assert client.get("/agents/draft/deploy/").status_code == 404
    assert "Publish a version first" in client.get("/agents/draft/").content.decode()


def test_rolling_back_from_the_page(acme: Inhabited, deployment: Deployment, version: AgentVersion) -> None:
    client = acme.client("approver")
    assert "No other release ran here" in text_of(client.get(address(deployment, "rollback/")))
    deploy(SYSTEM, deployment.environment, next_version(deployment.agent, "You greet people coolly."))

    shown = text_of(client.get(address(deployment, "rollback/")))
    assert "What changes: version 2 → 1" in shown
    form = {"to": str(release_of(version).pk), "note": "too cool"}
    answer = client.post(address(deployment, "rollback/"), form, follow=True)

    assert "goes back to version 1, and is held there." in text_of(answer)
    assert "Held by approver@acme.example" in text_of(answer)
    answer = client.post(address(deployment, "release-hold/"), follow=True)
    assert "is no longer held" in text_of(answer)


def test_cancel_undeploy_and_retry_from_the_page(acme: Inhabited, fleet: Fleet, deployment: Deployment) -> None:
    fleet.start_gateway("stage-1", "staging")
    client = acme.client("owner")
    assert "Trying again now." in text_of(client.post(address(deployment, "retry/"), follow=True))
    assert client.get(address(deployment, "retry/")).status_code == 405
    assert "taken away again" in text_of(client.get(address(deployment, "cancel/")))
    answer = client.post(address(deployment, "cancel/"), {"note": "wrong one"}, follow=True)
    assert "The rollout is cancelled." in text_of(answer)
    fleet.reconcile()
    assert "Every gateway of staging has confirmed" in text_of(client.post(address(deployment, "retry/"), follow=True))
    assert client.post(address(deployment, "undeploy/"), {}).status_code == 409


def test_how_to_call_it_names_the_real_address_and_no_key(
    acme: Inhabited, fleet: Fleet, deployment: Deployment
) -> None:
    client = acme.client("viewer")
    assert "Nowhere to call yet" in text_of(client.get(address(deployment), {"tab": "call"}))
    gateway = fleet.start_gateway("stage-1", "staging")
    shown = text_of(client.get(address(deployment), {"tab": "call"}))
    for command in (
        f"curl {gateway.address}/workflows/greeter-staging/execute",
        f'base_url="{gateway.address}/v1"',
        f'"url": "{gateway.address}/mcp"',
        f"python -m gateway_service.cli --url {gateway.address} run greeter-staging --param 'message=Hello!'",
    ):
        assert command in shown
    assert "kzk_" not in shown


def test_the_history_names_who_what_and_why(acme: Inhabited, deployment: Deployment) -> None:
    deploy(
        acme.actor("admin"), deployment.environment, next_version(deployment.agent, "Be brief."), note="<b>brief</b>"
    )
    page = acme.client("viewer").get(address(deployment), {"tab": "history"})
    shown = text_of(page)
    assert "Deploy version 2 over version 1 <b>brief</b> 2 admin@acme.example" in shown
    assert "<b>brief</b>" not in page.content.decode(), "a note is text"
    assert "superseded by admin@acme.example" in shown
    assert shown.count("environment.deploy") == 2


def test_where_an_agent_runs_stands_on_its_pages(acme: Inhabited, deployment: Deployment) -> None:
    client = acme.client("builder")
    agent = client.get("/agents/greeter/")
    assert "Where it runs" in text_of(agent)
    assert "Staging Version 1" in text_of(agent)
    assert "/agents/greeter/deploy/" in agent.content.decode()
    assert "Staging Version 1" in text_of(client.get("/agents/greeter/versions/1/"))
    second = next_version(deployment.agent, "Be brief.")
    assert "No environment runs this version." in text_of(client.get(second.get_absolute_url()))


def test_the_playground_is_for_those_who_may(acme: Inhabited, deployment: Deployment) -> None:
    path = address(deployment, "playground/")
    shown = acme.client("builder").get(path)
    assert f'data-playground="/ws/playground/{deployment.pk}/"' in shown.content.decode()
    assert acme.client("viewer").get(path).status_code == 403
    assert "Playground" not in text_of(acme.client("viewer").get(address(deployment)))
    commands.undeploy(actor=SYSTEM, deployment=deployment)
    assert acme.client("builder").get(path).status_code == 404


@pytest.mark.parametrize("page", ["", "rollback/", "cancel/", "undeploy/", "release-hold/", "playground/"])
def test_another_organization_gets_404(globex: Inhabited, deployment: Deployment, page: str) -> None:
    assert globex.client("owner").get(address(deployment, page)).status_code == 404


def test_the_live_region_names_every_gateway_and_offers_what_the_viewer_may(
    acme: Inhabited, fleet: Fleet, version: AgentVersion, staging: Environment
) -> None:
    fleet.start_gateway("stage-1", "staging")
    dead = fleet.start_gateway("stage-2", "staging")
    fleet.reconcile()
    dead.kill()
    deployment = deploy(acme.actor("owner"), staging, version, note="slowly")
    fleet.reconcile()

    html = deployment_progress(acme.actor("owner"), str(deployment.pk))
    shown = text_of(html)
    assert "progressing 1 of 2 gateways acknowledged version 1; stage-2: connection refused" in shown
    assert "Started by owner@acme.example" in shown
    assert "“slowly”" in shown
    assert "Try again now" in shown
    assert "Cancel the rollout" in shown
    for_viewer = text_of(deployment_progress(acme.actor("viewer"), str(deployment.pk)))
    assert "Try again now" not in for_viewer
    assert "stage-2: connection refused" in for_viewer


def test_the_live_region_is_refused_to_strangers(acme: Inhabited, globex: Inhabited, deployment: Deployment) -> None:
    for actor, identifier in _strangers(acme, globex, deployment):
        with pytest.raises(NotFound):
            deployment_progress(actor, identifier)


def _strangers(acme: Inhabited, globex: Inhabited, deployment: Deployment) -> list[tuple[Any, str]]:
    owner = acme.actor("owner")
    return [(globex.actor("owner"), str(deployment.pk)), (owner, "nothing"), (owner, str(release_of_any(deployment)))]


def release_of_any(deployment: Deployment) -> object:
    assert deployment.release is not None
    return deployment.release.pk
