"""A rollback holds: nothing but a person's explicit act undoes it. One story for each path that could."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from apps.core.errors import Conflict
from apps.deployments import commands, rollouts
from apps.gateways.commands import accept_identity
from apps.gateways.models import Gateway
from tests.deployments.steps import SYSTEM, deploy, fresh, last, next_version, release_of, said
from tests.deployments.steps import rollouts as history

if TYPE_CHECKING:
    from apps.agents.models import AgentVersion
    from apps.deployments.models import Deployment
    from apps.gateways.models import Environment
    from tests.harness.fleet import Fleet
    from tests.harness.world import Inhabited


@pytest.fixture
def versions(fleet: Fleet) -> tuple[AgentVersion, AgentVersion]:
    agent, first = fleet.write_agent(instructions="Say one.")
    return first, next_version(agent, "Say two.")


@pytest.fixture
def rolled_back(
    acme: Inhabited, fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> Deployment:
    """Version 2 ran on stage-1 and was rolled back to version 1 by the approver."""
    fleet.start_gateway("stage-1", "staging")
    deploy(SYSTEM, staging, versions[0])
    fleet.reconcile()
    deployment = deploy(SYSTEM, staging, versions[1])
    fleet.reconcile()
    commands.rollback(actor=acme.actor("approver"), deployment=deployment, to=release_of(versions[0]), note="it swears")
    fleet.reconcile()
    return fresh(deployment)


def running_on(fleet: Fleet, gateway: str) -> str:
    """The digest that a gateway answers with, for a caller."""
    answer = fleet.call(gateway, "greeter-staging", fleet.issue_key("staging"))
    return str(answer.json()["release"])


def test_a_rollback_is_a_new_generation_of_the_old_release(rolled_back: Deployment, fleet: Fleet) -> None:
    assert said(rolled_back) == "running: version 1 on 1 gateway"
    assert history(rolled_back) == [("deploy", "succeeded"), ("deploy", "succeeded"), ("rollback", "succeeded")]
    assert (rolled_back.generation, last(rolled_back).generation) == (3, 3)
    assert rolled_back.held_by == "approver@acme.example"
    assert rolled_back.hold_reason == "rolled back from version 2 to version 1"


def test_studio_itself_cannot_deploy_over_a_hold(
    rolled_back: Deployment, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    for release_hold in (False, True):
        with pytest.raises(Conflict, match="is held since"):
            deploy(SYSTEM, staging, versions[1], release_hold=release_hold)
    with pytest.raises(Conflict, match="is held since"):
        commands.undeploy(actor=SYSTEM, deployment=rolled_back)


def test_a_pipeline_with_a_token_cannot_deploy_over_a_hold_in_passing(acme: Inhabited, rolled_back: Deployment) -> None:
    body = {"agent": "greeter", "environment": "staging", "version": 2}
    refused = acme.api("owner").post("/deployments/", body)
    assert refused.status_code == 409
    assert "rolled back from version 2 to version 1" in refused.json()["detail"]


def test_a_wiped_gateway_receives_the_old_release(
    rolled_back: Deployment, fleet: Fleet, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    process = fleet.processes["stage-1"]
    process.kill()
    process.wipe_store()
    process.start()
    fleet.poll()
    fleet.reconcile()
    assert running_on(fleet, "stage-1") == release_of(versions[0]).digest


def test_a_joining_gateway_receives_the_old_release(
    rolled_back: Deployment, fleet: Fleet, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    fleet.start_gateway("stage-2", "staging")
    fleet.reconcile()
    assert running_on(fleet, "stage-2") == release_of(versions[0]).digest


def test_a_reinstalled_gateway_receives_the_old_release(
    rolled_back: Deployment, fleet: Fleet, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    accept_identity(actor=SYSTEM, gateway=Gateway.objects.get(name="stage-1"))
    fleet.poll()
    fleet.reconcile()
    assert running_on(fleet, "stage-1") == release_of(versions[0]).digest


def test_looking_again_at_old_rollouts_changes_nothing(
    rolled_back: Deployment, fleet: Fleet, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    for rollout in rolled_back.rollouts.select_related("deployment", "to_release"):
        rollouts.advance(rollout)
    fleet.poll()
    assert running_on(fleet, "stage-1") == release_of(versions[0]).digest
    assert fresh(rolled_back).held


def test_publishing_another_version_changes_nothing(
    rolled_back: Deployment, fleet: Fleet, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    next_version(versions[0].agent, "Say three.")
    fleet.poll()
    assert running_on(fleet, "stage-1") == release_of(versions[0]).digest


def test_a_person_who_says_so_deploys_and_releases_the_hold(
    acme: Inhabited,
    rolled_back: Deployment,
    fleet: Fleet,
    staging: Environment,
    versions: tuple[AgentVersion, AgentVersion],
) -> None:
    owner = acme.actor("owner")
    with pytest.raises(Conflict, match="is held since"):
        deploy(owner, staging, versions[1])
    deploy(owner, staging, versions[1], release_hold=True)
    fleet.reconcile()
    assert running_on(fleet, "stage-1") == release_of(versions[1]).digest
    assert not fresh(rolled_back).held


def test_releasing_the_hold_leaves_what_runs(
    acme: Inhabited,
    rolled_back: Deployment,
    fleet: Fleet,
    staging: Environment,
    versions: tuple[AgentVersion, AgentVersion],
) -> None:
    commands.release_hold(actor=acme.actor("approver"), deployment=rolled_back)
    assert not fresh(rolled_back).held
    assert running_on(fleet, "stage-1") == release_of(versions[0]).digest
    deploy(SYSTEM, staging, versions[1])
    with pytest.raises(Conflict, match="is not held"):
        commands.release_hold(actor=acme.actor("approver"), deployment=rolled_back)


def test_cancelling_a_rollback_lifts_its_hold(
    acme: Inhabited, fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deploy(SYSTEM, staging, versions[0])
    deployment = deploy(SYSTEM, staging, versions[1])
    commands.rollback(actor=acme.actor("approver"), deployment=deployment, to=release_of(versions[0]))
    assert fresh(deployment).held
    commands.cancel(actor=acme.actor("approver"), deployment=deployment)
    assert not fresh(deployment).held
    assert fresh(deployment).release == release_of(versions[1])


def test_a_rollback_needs_a_release_that_ran_there(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    from apps.gateways.models import Environment

    production = Environment.objects.get(slug="production")
    deployment = deploy(SYSTEM, staging, versions[0])
    deploy(SYSTEM, production, versions[1])
    with pytest.raises(Conflict, match="never ran in staging"):
        commands.rollback(actor=SYSTEM, deployment=deployment, to=release_of(versions[1]))
    with pytest.raises(Conflict, match="is what runs in staging already"):
        commands.rollback(actor=SYSTEM, deployment=deployment, to=release_of(versions[0]))
