"""From a deploy to an answer, on real gateway processes; and every way in which that can be held up."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from apps.agents import commands as agents
from apps.audit.models import Event
from apps.core.errors import Conflict
from apps.deployments import commands, rollouts
from apps.deployments.models import Deployment, Rollout
from apps.deployments.queries import with_adjective
from apps.gateways.commands import forget_gateway, remove_gateway
from apps.gateways.models import Gateway, Placement
from tests.deployments.steps import SYSTEM, deploy, fresh, last, next_version, release_of, said, status
from tests.deployments.steps import rollouts as history

if TYPE_CHECKING:
    from apps.gateways.models import Environment
    from tests.harness.fleet import Fleet
    from tests.harness.world import Inhabited


def test_a_deployed_version_runs_and_answers(acme: Inhabited, fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    _, version = fleet.write_agent()
    deployment = deploy(acme.actor("owner"), staging, version, note="first try")
    assert said(deployment).startswith("progressing: 0 of 1 gateway acknowledged version 1; stage-1: waits")

    fleet.reconcile()

    assert said(deployment) == "running: version 1 on 1 gateway"
    rollout = last(deployment)
    assert (rollout.kind, rollout.state, rollout.note) == ("deploy", "succeeded", "first try")
    assert rollout.started_by == "owner@acme.example"
    answer = fleet.call("stage-1", "greeter-staging", fleet.issue_key("staging"), "Good morning")
    assert answer.json()["outputs"]["text"] == "You said: Good morning"
    assert answer.json()["release"] == release_of(version).digest


def test_the_command_and_its_success_are_two_events(acme: Inhabited, fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    _, version = fleet.write_agent()
    deployment = deploy(acme.actor("owner"), staging, version)
    fleet.reconcile()
    rollouts.advance_all()

    command = Event.objects.get(action="environment.deploy")
    assert command.detail["version"] == 1
    assert command.detail["registration"] == "greeter-staging"
    assert command.detail["digest"] == release_of(version).digest
    succeeded = Event.objects.get(action="rollout.succeeded")
    assert succeeded.actor_kind == "system"
    assert succeeded.resource_id == str(last(deployment).pk)


def test_a_dead_gateway_is_named_with_its_reason_until_it_heals(fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    dead = fleet.start_gateway("stage-2", "staging")
    fleet.reconcile()
    dead.kill()
    _, version = fleet.write_agent()

    deployment = deploy(SYSTEM, staging, version)
    fleet.reconcile()

    now = status(deployment)
    assert now.adjective == "progressing"
    assert now.reason.startswith("1 of 2 gateways acknowledged version 1; stage-2: connection refused, ")
    assert [(each.gateway.name, each.confirmed) for each in now.gateways] == [("stage-1", True), ("stage-2", False)]
    assert last(deployment).state == "progressing"

    dead.start()
    commands.retry(actor=SYSTEM, deployment=deployment)
    fleet.poll()

    assert said(deployment) == "running: version 1 on 2 gateways"
    assert last(deployment).state == "succeeded"


def test_a_gateway_that_stays_dead_makes_the_deployment_failing(fleet: Fleet, staging: Environment) -> None:
    dead = fleet.start_gateway("stage-1", "staging")
    fleet.reconcile()
    dead.kill()
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)

    for _ in range(5):
        fleet.reconcile()
        commands.retry(actor=SYSTEM, deployment=deployment)
    fleet.reconcile()

    assert status(deployment).adjective == "failing"
    assert "stage-1: connection refused" in status(deployment).reason
    listed = with_adjective(Deployment.objects.with_names()).filter(adjective="failing")  # type: ignore[misc]
    assert list(listed) == [deployment], "lists in SQL say the same"


def test_retry_ends_the_back_off(fleet: Fleet, staging: Environment) -> None:
    dead = fleet.start_gateway("stage-1", "staging")
    fleet.reconcile()
    dead.kill()
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    fleet.reconcile()
    waiting = Placement.objects.get(kind="workflow")
    Placement.objects.update(next_attempt_at=timezone.now() + timedelta(minutes=1))
    dead.start()
    fleet.reconcile()
    assert not Placement.objects.get(kind="workflow").settled, "the back-off is not over yet"

    commands.retry(actor=SYSTEM, deployment=deployment)
    fleet.reconcile()

    settled = Placement.objects.get(kind="workflow")
    assert settled.settled
    assert settled.desired_generation == waiting.desired_generation, "a retry wants nothing new"
    with pytest.raises(Conflict, match="nothing to retry"):
        commands.retry(actor=SYSTEM, deployment=deployment)


def test_without_a_gateway_it_waits_and_the_first_to_join_receives_it(fleet: Fleet, staging: Environment) -> None:
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    rollouts.advance_all()
    assert said(deployment) == "waiting: version 1 waits for a gateway in staging; register one"
    assert last(deployment).state == "progressing"

    fleet.start_gateway("stage-1", "staging")
    fleet.reconcile()

    assert said(deployment) == "running: version 1 on 1 gateway"
    assert last(deployment).state == "succeeded"


def test_a_gateway_that_joins_later_receives_everything(fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    fleet.reconcile()

    fleet.start_gateway("stage-2", "staging")
    assert status(deployment).adjective == "progressing"
    fleet.reconcile()

    assert said(deployment) == "running: version 1 on 2 gateways"
    assert history(deployment) == [("deploy", "succeeded")], "joining is no rollout"


def test_a_newer_deploy_supersedes_the_one_under_way(acme: Inhabited, fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    agent, first = fleet.write_agent()
    deploy(SYSTEM, staging, first)
    deployment = deploy(acme.actor("admin"), staging, next_version(agent, "Be brief."))
    fleet.reconcile()

    assert history(deployment) == [("deploy", "superseded"), ("deploy", "succeeded")]
    superseded = deployment.rollouts.get(generation=1)
    assert superseded.reason == "superseded by admin@acme.example"
    assert said(deployment) == "running: version 2 on 1 gateway"


def test_what_runs_is_not_deployed_again_unless_asked(fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    fleet.reconcile()
    before = Placement.objects.get(kind="workflow").desired_generation
    with pytest.raises(Conflict, match="runs in staging already"):
        deploy(SYSTEM, staging, version)

    deploy(SYSTEM, staging, version, redeploy=True)
    assert Placement.objects.get(kind="workflow").desired_generation == before + 1
    with pytest.raises(Conflict, match="nothing to go back to"):
        commands.cancel(actor=SYSTEM, deployment=deployment)
    fleet.reconcile()
    assert history(deployment) == [("deploy", "succeeded"), ("redeploy", "succeeded")]


def test_undeploying_takes_it_off_the_gateways(fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    key = fleet.issue_key("staging")
    assert fleet.call("stage-1", "greeter-staging", key).status_code == 200

    commands.undeploy(actor=SYSTEM, deployment=deployment)
    assert status(deployment).adjective == "removing"
    fleet.reconcile()

    assert said(deployment) == "undeployed: nothing should run here"
    assert fleet.call("stage-1", "greeter-staging", key).status_code == 404
    assert history(deployment) == [("deploy", "succeeded"), ("undeploy", "succeeded")]
    with pytest.raises(Conflict, match="is not deployed"):
        commands.undeploy(actor=SYSTEM, deployment=deployment)


def test_undeploying_where_no_gateway_is_is_done_at_once(fleet: Fleet, staging: Environment) -> None:
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    commands.undeploy(actor=SYSTEM, deployment=deployment)
    assert history(deployment) == [("deploy", "superseded"), ("undeploy", "succeeded")]


def test_cancelling_the_first_rollout_withdraws_the_agent(fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    dead = fleet.start_gateway("stage-2", "staging")
    fleet.reconcile()
    dead.kill()
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    fleet.reconcile()
    key = fleet.issue_key("staging")
    assert fleet.call("stage-1", "greeter-staging", key).status_code == 200

    commands.cancel(actor=SYSTEM, deployment=deployment, note="wrong agent")
    fleet.reconcile()

    assert fresh(deployment).release is None
    assert fleet.call("stage-1", "greeter-staging", key).status_code == 404
    assert deployment.rollouts.get(generation=1).state == "cancelled"
    assert status(deployment).adjective == "removing", "stage-2 may still hold it"
    with pytest.raises(Conflict, match="takes a rollout back already"):
        commands.cancel(actor=SYSTEM, deployment=deployment)
    dead.start()
    commands.retry(actor=SYSTEM, deployment=deployment)
    fleet.poll()
    assert status(deployment).adjective == "undeployed"


def test_cancelling_a_later_rollout_returns_to_what_ran_before(fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    agent, first = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, first)
    fleet.reconcile()
    deploy(SYSTEM, staging, next_version(agent, "Be brief."))

    commands.cancel(actor=SYSTEM, deployment=deployment)
    fleet.reconcile()

    assert said(deployment) == "running: version 1 on 1 gateway"
    assert history(deployment) == [("deploy", "succeeded"), ("deploy", "cancelled"), ("cancel", "succeeded")]
    assert not fresh(deployment).held
    with pytest.raises(Conflict, match="no rollout under way"):
        commands.cancel(actor=SYSTEM, deployment=deployment)


def test_a_rollout_goes_on_without_a_gateway_that_was_forgotten(fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    dead = fleet.start_gateway("stage-2", "staging")
    fleet.reconcile()
    dead.kill()
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    fleet.reconcile()
    assert last(deployment).state == "progressing"

    forget_gateway(actor=SYSTEM, gateway=Gateway.objects.get(name="stage-2"))
    fleet.poll()

    assert last(deployment).state == "succeeded"
    assert said(deployment) == "running: version 1 on 1 gateway"


def test_a_gateway_that_leaves_is_emptied_and_the_deployment_stays(fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    fleet.start_gateway("stage-2", "staging")
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    fleet.reconcile()

    remove_gateway(actor=SYSTEM, gateway=Gateway.objects.get(name="stage-2"))
    fleet.poll()

    assert fresh(deployment).release is not None
    assert status(deployment).gateways[0].gateway.name == "stage-1"
    assert fleet.processes["stage-2"].admin().state()["registrations"] == 0


def test_a_crash_between_acknowledgement_and_success_is_made_up_for(fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    fleet.reconcile()
    # As if the worker had died after it recorded the acknowledgement and before it looked at the rollout.
    Rollout.objects.update(state="progressing", finished_at=None)

    fleet.poll()
    fleet.poll()

    assert last(deployment).state == "succeeded"
    assert said(deployment) == "running: version 1 on 1 gateway"


def test_a_rollout_wants_again_what_somebody_failed_to_want(fleet: Fleet, staging: Environment) -> None:
    """The wish is derived from the rollout, so that a lost placement cannot leave it stuck for ever."""
    fleet.start_gateway("stage-1", "staging")
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    Placement.objects.filter(kind="workflow").delete()

    rollouts.advance_all()
    fleet.reconcile()

    assert said(deployment) == "running: version 1 on 1 gateway"


def test_an_agent_that_runs_cannot_be_deleted(fleet: Fleet, staging: Environment) -> None:
    agent, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version)
    with pytest.raises(Conflict, match="runs in staging; undeploy it there first"):
        agents.delete(actor=SYSTEM, agent=agent)
    commands.undeploy(actor=SYSTEM, deployment=deployment)
    agents.delete(actor=SYSTEM, agent=agent)

    with pytest.raises(Conflict, match="is deleted"):
        deploy(SYSTEM, staging, version)
    with pytest.raises(Conflict, match="is deleted"):
        commands.rollback(actor=SYSTEM, deployment=deployment, to=release_of(version))
