"""What runs where, through the API: everything that the pages can do, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from apps.deployments.models import Deployment, Release, Rollout
from apps.gateways.models import Environment, Placement
from contract.canonical import digest_of
from tests.deployments.steps import SYSTEM, deploy, fresh, next_version
from tests.harness.queries import reads

if TYPE_CHECKING:
    from apps.agents.models import AgentVersion
    from tests.harness.fleet import Fleet
    from tests.harness.world import Inhabited

DEPLOY = {"agent": "greeter", "environment": "staging"}


@pytest.fixture
def version(fleet: Fleet) -> AgentVersion:
    _, version = fleet.write_agent()
    return version


@pytest.fixture
def deployment(version: AgentVersion, staging: Environment) -> Deployment:
    return deploy(SYSTEM, staging, version)


def errors(answer: Any) -> dict[str, str]:
    """The fields that a problem document names."""
    return {each["field"]: each["message"] for each in answer.json()["errors"]}


def test_deploying_answers_with_the_rollout(acme: Inhabited, version: AgentVersion) -> None:
    answer = acme.api("owner").post("/deployments/", {**DEPLOY, "version": 1, "note": "go"})
    assert answer.status_code == 201
    rollout = answer.json()
    assert (rollout["kind"], rollout["state"], rollout["strategy"]) == ("deploy", "progressing", "all-at-once")
    assert (rollout["from_version"], rollout["to_version"], rollout["note"]) == (None, 1, "go")
    assert rollout["started_by"] == "owner@acme.example"

    shown = acme.api("viewer").get(f"/deployments/{rollout['deployment']}/").json()
    assert (shown["registration"], shown["version"], shown["hold"]) == ("greeter-staging", 1, None)
    assert (shown["status"], shown["reason"]) == ("waiting", "version 1 waits for a gateway in staging; register one")


def test_without_a_number_the_newest_version_is_deployed(acme: Inhabited, version: AgentVersion) -> None:
    next_version(version.agent, "Be brief.")
    assert acme.api("owner").post("/deployments/", DEPLOY).json()["to_version"] == 2


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"agent": "nobody"}, "agent", "There is no agent “nobody”, or you may not see it."),
        ({"agent": "with spaces"}, "agent", "There is no agent “with spaces”, or you may not see it."),
        ({"environment": "moon"}, "environment", "There is no environment “moon”."),
        ({"version": 7}, "version", "Greeter has no version 7."),
        ({"version": 0}, "version", "Ensure this value is greater than or equal to 1."),
        ({"version": "latest"}, "version", "A valid integer is required."),
        ({"note": "x" * 1001}, "note", "Ensure this field has no more than 1000 characters."),
        ({"note": "a\x1bb"}, "note", "The note holds a character that cannot be shown."),
        ({"redeploy": "perhaps"}, "redeploy", "Must be a valid boolean."),
        ({"envrionment": "staging"}, "envrionment", "There is no such member."),
    ],
)
def test_bad_input_is_named_and_changes_nothing(
    acme: Inhabited, version: AgentVersion, change: dict[str, Any], field: str, message: str
) -> None:
    answer = acme.api("owner").post("/deployments/", {**DEPLOY, **change})
    assert answer.status_code == 422
    assert errors(answer) == {field: message}
    assert not Deployment.objects.exists()
    assert not Release.objects.exists()


def test_an_agent_without_a_version_cannot_be_deployed(acme: Inhabited) -> None:
    api = acme.api("owner")
    assert api.post("/agents/", {"slug": "draft", "name": "Draft", "instructions": "Wait."}).status_code == 201
    answer = api.post("/deployments/", {"agent": "draft", "environment": "staging"})
    assert errors(answer) == {"version": "Draft has no version yet; publish one."}


def test_a_builder_deploys_to_development_and_is_told_what_production_needs(
    acme: Inhabited, version: AgentVersion
) -> None:
    api = acme.api("builder")
    assert api.post("/deployments/", {**DEPLOY, "environment": "development"}).status_code == 201

    refused = api.post("/deployments/", {**DEPLOY, "environment": "production"})

    assert refused.status_code == 403
    assert refused.json()["action"] == "environment.deploy"
    assert refused.json()["detail"].startswith("builder@acme.example lacks environment.deploy on Production.")
    assert not Deployment.objects.filter(environment__slug="production").exists()


@pytest.mark.parametrize("act", ["rollback", "cancel", "undeploy", "retry", "release-hold"])
def test_a_viewer_may_read_and_change_nothing(acme: Inhabited, deployment: Deployment, act: str) -> None:
    api = acme.api("viewer")
    next_one = deploy(SYSTEM, deployment.environment, next_version(deployment.agent, "Be brief."))
    assert api.get(f"/deployments/{deployment.pk}/").status_code == 200
    answer = api.post(f"/deployments/{deployment.pk}/{act}/")
    assert answer.status_code == 403
    assert answer.json()["action"] == f"deployment.{act}"
    assert fresh(deployment).generation == next_one.generation


def test_the_same_key_deploys_once(acme: Inhabited, version: AgentVersion) -> None:
    api = acme.api("owner")
    first = api.post("/deployments/", DEPLOY, key="ci-42")
    again = api.post("/deployments/", DEPLOY, key="ci-42")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Rollout.objects.count() == 1
    assert api.post("/deployments/", {**DEPLOY, "environment": "production"}, key="ci-42").status_code == 409
    assert api.post("/deployments/", DEPLOY).status_code == 409, "without the key it is a second deploy"


def test_rolling_back_goes_to_the_release_before_unless_told(acme: Inhabited, deployment: Deployment) -> None:
    for instructions in ("Be brief.", "Be long."):
        deploy(SYSTEM, deployment.environment, next_version(deployment.agent, instructions))
    api = acme.api("approver")
    path = f"/deployments/{deployment.pk}"

    rollout = api.post(f"{path}/rollback/", {"note": "too long"}).json()
    assert (rollout["kind"], rollout["from_version"], rollout["to_version"]) == ("rollback", 3, 2)
    hold = api.get(f"{path}/").json()["hold"]
    assert (hold["reason"], hold["by"]) == ("rolled back from version 3 to version 2", "approver@acme.example")
    assert [each["id"] for each in api.get("/deployments/", held="true").json()["results"]] == [str(deployment.pk)]

    first = Release.objects.get(agent_version__number=1)
    assert api.post(f"{path}/rollback/", {"to": str(first.pk)}).json()["to_version"] == 1
    assert api.post(f"{path}/release-hold/").json()["hold"] is None
    assert api.get("/deployments/", held="true").json()["results"] == []
    assert api.post(f"{path}/release-hold/").status_code == 409
    unknown = api.post(f"{path}/rollback/", {"to": "00000000-0000-4000-8000-000000000000"})
    assert errors(unknown) == {"to": "There is no such release."}


def test_there_is_nothing_to_roll_back_to_after_the_first_deploy(acme: Inhabited, deployment: Deployment) -> None:
    answer = acme.api("owner").post(f"/deployments/{deployment.pk}/rollback/")
    assert (answer.status_code, answer.json()["detail"]) == (409, "No other release ran in staging.")


def test_cancel_undeploy_and_retry(acme: Inhabited, deployment: Deployment) -> None:
    api, path = acme.api("owner"), f"/deployments/{deployment.pk}"
    assert api.post(f"{path}/retry/").status_code == 409
    assert api.post(f"{path}/cancel/", {"note": "oops"}).json()["kind"] == "cancel"
    assert api.get(f"{path}/").json()["status"] == "undeployed"
    assert api.post(f"{path}/undeploy/").status_code == 409
    assert api.post("/deployments/", DEPLOY).status_code == 201
    assert api.post(f"{path}/undeploy/", {"note": "enough"}).json()["to_release"] is None


def test_filters(acme: Inhabited, deployment: Deployment) -> None:
    production = Environment.objects.get(slug="production")
    undeployed = deploy(SYSTEM, production, Release.objects.get().agent_version)
    api = acme.api("viewer")
    acme.api("owner").post(f"/deployments/{undeployed.pk}/undeploy/")

    def found(**query: str) -> list[str]:
        return [each["registration"] for each in api.get("/deployments/", **query).json()["results"]]

    assert found() == ["greeter-production", "greeter-staging"]
    assert found(environment="staging") == ["greeter-staging"]
    assert found(agent="somebody-else") == []
    assert found(status="waiting") == ["greeter-staging"]
    assert found(status="undeployed") == ["greeter-production"]
    assert found(ordering="-registration") == ["greeter-staging", "greeter-production"]
    assert api.get("/deployments/", status="fine").status_code == 422


def test_rollouts_and_releases_can_be_read(acme: Inhabited, deployment: Deployment) -> None:
    api = acme.api("viewer")
    (rollout,) = api.get("/rollouts/", deployment=str(deployment.pk)).json()["results"]
    shown = api.get(f"/rollouts/{rollout['id']}/").json()
    assert shown.items() >= rollout.items()
    assert shown.keys() - rollout.keys() == {"plan", "progress"}
    assert api.get("/rollouts/", state="succeeded").json()["results"] == []

    (listed,) = api.get("/releases/", agent="greeter").json()["results"]
    assert "body" not in listed
    shown = api.get(f"/releases/{listed['id']}/").json()
    assert digest_of(shown["body"]) == shown["digest"] == listed["digest"]
    assert shown["body"]["subject"] == {"kind": "agent", "slug": "greeter", "version": 1}
    for path in ("/releases/", "/rollouts/"):
        assert api.post(path, {}).status_code == 405


@pytest.mark.parametrize("path", ["/deployments/nothing/", "/deployments/00000000-0000-4000-8000-000000000000/"])
def test_what_is_not_there_is_404(acme: Inhabited, path: str) -> None:
    assert acme.api("owner").get(path).status_code == 404


def test_another_organization_sees_nothing_of_it(globex: Inhabited, deployment: Deployment) -> None:
    rollout = Rollout.objects.get()
    with globex.inside():
        stranger = globex.api("owner")
    for path in (f"/deployments/{deployment.pk}/", f"/rollouts/{rollout.pk}/", f"/releases/{rollout.to_release_id}/"):
        assert stranger.get(path).status_code == 404
    assert stranger.post(f"/deployments/{deployment.pk}/undeploy/").status_code == 404
    assert stranger.get("/deployments/").json()["results"] == []


def test_a_list_costs_the_same_for_many(acme: Inhabited, fleet: Fleet, deployment: Deployment) -> None:
    api = acme.api("viewer")
    paths = ("/deployments/", "/rollouts/")
    few = [len(reads(lambda path=path: api.get(path))) for path in paths]
    for slug in ("one", "two", "three"):
        _, version = fleet.write_agent(slug)
        for environment in Environment.objects.all():
            deploy(SYSTEM, environment, version)
    assert [len(api.get(path).json()["results"]) for path in paths] == [10, 10]
    assert [len(reads(lambda path=path: api.get(path))) for path in paths] == few


def test_each_gateway_stands_in_the_answer(acme: Inhabited, fleet: Fleet, version: AgentVersion) -> None:
    fleet.start_gateway("stage-1", "staging")
    api = acme.api("owner")
    path = f"/deployments/{api.post('/deployments/', DEPLOY).json()['deployment']}/"
    (gateway,) = api.get(path).json()["gateways"]
    assert (gateway["gateway"], gateway["confirmed"], gateway["observed_generation"]) == ("stage-1", False, 0)
    assert gateway["next_attempt_at"] is not None
    fleet.reconcile()
    (gateway,) = api.get(path).json()["gateways"]
    assert (gateway["status"], gateway["confirmed"]) == ("running", True)
    assert gateway["observed_generation"] == gateway["desired_generation"] == 1
    assert gateway["next_attempt_at"] is None
    assert Placement.objects.filter(kind="workflow").count() == 1
