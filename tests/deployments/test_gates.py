"""A new release is judged by what real gateways ran: worse ones go back by themselves, and stay back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from apps.audit.models import Event
from apps.core.errors import Conflict
from apps.deployments import commands, rollouts
from apps.deployments.models import RolloutStep
from apps.deployments.queries import progress_of
from apps.deployments.strategies.plans import HealthGate, Plan, steps_from_text
from tests.deployments.steps import (
    SYSTEM,
    deploy,
    fresh,
    held_by,
    last,
    let_soak,
    next_version,
    present_step,
    release_of,
    said,
)
from tests.deployments.steps import rollouts as history
from tests.doubles.model_server import Reply, echo

if TYPE_CHECKING:
    from apps.agents.models import AgentVersion
    from apps.deployments.models import Deployment
    from apps.gateways.models import Environment
    from contract.caller_keys import KeyText
    from tests.doubles.model_server import ModelServer
    from tests.harness.fleet import Fleet
    from tests.harness.world import Inhabited

REGISTRATION = "greeter-staging"
HOUR = 3600
GATE = HealthGate(minimum_executions=4, p95_ratio=None, patience_s=HOUR)
HALF = Plan("canary", steps_from_text("50 %, 100 %", soak_s=HOUR), GATE)


@pytest.fixture
def versions(fleet: Fleet, staging: Environment) -> tuple[AgentVersion, AgentVersion]:
    """Two versions; the first runs on a gateway in staging."""
    fleet.start_gateway("stage-1", "staging")
    agent, first = fleet.write_agent(instructions="Say one.")
    deploy(SYSTEM, staging, first)
    fleet.reconcile()
    return first, next_version(agent, "Say two.")


@pytest.fixture
def key(fleet: Fleet) -> KeyText:
    return fleet.issue_key("staging")


@pytest.fixture
def canary(fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]) -> Deployment:
    """The second version has half of the callers, and is judged on four executions."""
    deployment = deploy(SYSTEM, staging, versions[1], plan=HALF)
    fleet.reconcile()
    return fresh(deployment)


def fails_as(instructions: str) -> Any:
    """A model that refuses whoever is told this."""

    def reply(body: dict[str, Any]) -> Reply:
        return Reply(status=500) if instructions in str(body["messages"]) else echo(body)

    return reply


def call(fleet: Fleet, key: KeyText, times: int) -> None:
    for number in range(times):
        fleet.call("stage-1", REGISTRATION, key, session_id=f"session-{number}")
    bring(fleet)


def bring(fleet: Fleet) -> None:
    """Let executions arrive and the gate look at them, however short ago it did."""
    fleet.poll()
    RolloutStep.objects.filter(finished_at=None).update(judged_at=None)
    fleet.reconcile()
    rollouts.advance_all()
    fleet.reconcile()


def test_a_degraded_canary_goes_back_by_itself_and_holds_with_the_numbers(
    fleet: Fleet, canary: Deployment, versions: tuple[AgentVersion, AgentVersion], key: KeyText, model: ModelServer
) -> None:
    model.reply = fails_as("Say two.")
    call(fleet, key, 24)

    assert history(canary)[-2:] == [("deploy", "degraded"), ("rollback", "succeeded")]
    deployment = fresh(canary)
    assert deployment.release == release_of(versions[0])
    assert held_by(fleet, "stage-1") == {f"workflow {REGISTRATION}": release_of(versions[0]).digest}
    assert deployment.held_by == "studio"
    assert "version 2 is degraded: error rate 100.0 % against 0.0 %" in deployment.hold_reason
    assert "rolled back to version 1" in deployment.hold_reason
    event = Event.objects.get(action="rollout.degrade")
    assert event.actor_kind == "system"
    assert event.detail["new"]["errors"] == event.detail["new"]["executions"] >= 4
    assert event.detail["old"]["errors"] == 0
    assert (event.detail["version"], event.detail["back_to"]) == (2, 1)
    degraded = canary.rollouts.get(state="degraded")
    assert [step.state for step in progress_of(degraded).steps] == ["degraded", "abandoned", "abandoned"]
    answers = {fleet.call("stage-1", REGISTRATION, key, session_id=f"session-{each}").status_code for each in range(8)}
    assert answers == {200}, "nobody is left with it"


def test_it_stays_back_until_somebody_releases_the_hold(
    fleet: Fleet,
    staging: Environment,
    canary: Deployment,
    versions: tuple[AgentVersion, AgentVersion],
    key: KeyText,
    model: ModelServer,
) -> None:
    model.reply = fails_as("Say two.")
    call(fleet, key, 24)
    model.reply = echo
    call(fleet, key, 12)
    rollouts.advance_all()
    assert fresh(canary).release == release_of(versions[0])
    with pytest.raises(Conflict, match="is held since"):
        deploy(SYSTEM, staging, versions[1])
    commands.release_hold(actor=SYSTEM, deployment=canary)
    assert fresh(canary).release == release_of(versions[0])


def test_a_healthy_canary_goes_on_by_itself(
    fleet: Fleet, canary: Deployment, versions: tuple[AgentVersion, AgentVersion], key: KeyText
) -> None:
    assert "judged on 0 of 4 executions" in said(canary)
    call(fleet, key, 24)
    progress = progress_of(last(canary))
    assert progress.new is not None
    assert progress.old is not None
    assert progress.new.executions >= 4
    assert progress.new.executions + progress.old.executions == 24
    let_soak(canary)
    fleet.poll()
    first = RolloutStep.objects.get(rollout=last(canary), index=0)
    assert first.decision.startswith("error rate 0.0 % against 0.0 %")
    assert present_step(canary).share == "100 %"

    call(fleet, key, 6)
    let_soak(canary)
    fleet.poll()
    fleet.reconcile()
    assert said(canary) == "running: version 2 on 1 gateway"
    assert fresh(canary).stable_release == release_of(versions[1])


def test_too_few_executions_become_a_decision_for_people_and_the_end_is_not_judged(
    acme: Inhabited, fleet: Fleet, canary: Deployment
) -> None:
    let_soak(canary)
    fleet.poll()
    assert "canary at 50 %: waits for executions" in said(canary)
    with pytest.raises(Conflict, match="does not wait for approval yet"):
        commands.approve(actor=SYSTEM, deployment=canary)
    _run_out_of_patience(canary)
    fleet.poll()
    assert said(canary) == "progressing: canary at 50 %: waits for approval; judged on 0 of 4 executions"

    commands.approve(actor=acme.actor("approver"), deployment=canary)
    fleet.reconcile()
    first = RolloutStep.objects.get(rollout=last(canary), index=0)
    assert first.decision == "approved by approver@acme.example; not judged: judged on 0 of 4 executions"
    let_soak(canary)
    _run_out_of_patience(canary)
    fleet.poll()
    fleet.reconcile()
    assert last(canary).state == "succeeded"
    assert "step 2 not judged" in last(canary).reason


def _run_out_of_patience(deployment: Deployment) -> None:
    """Let everything that the present step waited for have taken as long as anybody would wait."""
    step = present_step(deployment)
    assert step.placed_at is not None
    waited = timedelta(seconds=step.soak_s + GATE.patience_s)
    RolloutStep.objects.filter(pk=step.pk).update(placed_at=step.placed_at - waited, judged_at=None)


def test_without_an_earlier_good_release_it_pauses_for_a_person(
    fleet: Fleet, staging: Environment, model: ModelServer
) -> None:
    fleet.start_gateway("stage-1", "staging")
    _, version = fleet.write_agent(instructions="Say one.")
    plan = Plan("waves", steps_from_text("1, 100 %", soak_s=HOUR), GATE)
    deployment = deploy(SYSTEM, staging, version, plan=plan)
    fleet.reconcile()
    key = fleet.issue_key("staging")
    model.reply = fails_as("Say one.")
    call(fleet, key, 5)

    assert said(deployment).startswith("paused: wave 1 of 2: paused by studio: greeter version 1 is degraded: ")
    assert "there is no earlier good release to go back to" in said(deployment)
    assert Event.objects.get(action="rollout.pause").actor_kind == "system"
    assert not fresh(deployment).held

    model.reply = echo
    commands.resume(actor=SYSTEM, deployment=deployment)
    call(fleet, key, 5)
    assert "error rate 0.0 % with nothing to compare" in said(deployment), "what was is no longer held against it"


def test_a_slow_release_is_degraded_too(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion], key: KeyText, model: ModelServer
) -> None:
    gate = HealthGate(minimum_executions=4, p95_ratio=2.0)
    # So many that the first one, for which the gateway has to warm up, is none of the slowest twentieth that counts.
    call(fleet, key, 24)
    deployment = deploy(SYSTEM, staging, versions[1], plan=Plan("waves", steps_from_text("100 %", soak_s=HOUR), gate))
    fleet.reconcile()
    model.reply = lambda body: Reply(["Late"], delay_s=2.0)
    call(fleet, key, 4)
    assert history(deployment)[-2:] == [("deploy", "degraded"), ("rollback", "succeeded")]
    assert "p95" in fresh(deployment).hold_reason, "compared with the hour before, for nobody is left with the old one"


def test_a_person_rolls_back_while_it_is_judged(
    acme: Inhabited, fleet: Fleet, canary: Deployment, versions: tuple[AgentVersion, AgentVersion], key: KeyText
) -> None:
    call(fleet, key, 6)
    commands.rollback(actor=acme.actor("approver"), deployment=canary, to=release_of(versions[0]))
    fleet.reconcile()
    assert fresh(canary).held_by == "approver@acme.example"
    assert not Event.objects.filter(action="rollout.degrade").exists()
    assert held_by(fleet, "stage-1").keys() == {f"workflow {REGISTRATION}"}


def test_what_a_person_took_back_is_not_what_studio_goes_back_to(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion], key: KeyText, model: ModelServer
) -> None:
    first, second = versions
    deployment = deploy(SYSTEM, staging, second)
    fleet.reconcile()
    absent = fleet.start_gateway("stage-2", "staging")
    fleet.poll()
    fleet.reconcile()
    absent.kill()
    commands.rollback(actor=SYSTEM, deployment=fresh(deployment), to=release_of(first), note="it swears")
    fleet.reconcile()
    assert last(deployment).state == "progressing", "a gateway that is away keeps the rollback from its end"

    third = next_version(deployment.agent, "Say three.")
    plan = Plan("waves", steps_from_text("1, 100 %", soak_s=HOUR), GATE)
    commands.deploy(actor=fleet.world.actor("owner"), environment=staging, version=third, plan=plan, release_hold=True)
    fleet.reconcile()
    model.reply = fails_as("Say three.")
    call(fleet, key, 6)

    assert history(deployment)[-2:] == [("deploy", "degraded"), ("rollback", "progressing")]
    assert fresh(deployment).release == release_of(first), "and not the one that a person had rolled back"


def test_nothing_goes_back_by_itself_to_what_is_stopped(
    fleet: Fleet, canary: Deployment, versions: tuple[AgentVersion, AgentVersion], key: KeyText, model: ModelServer
) -> None:
    commands.stop_release(actor=SYSTEM, release=release_of(versions[0]), reason="it leaks")
    fleet.reconcile()
    model.reply = fails_as("Say two.")
    call(fleet, key, 24)

    assert history(canary)[-1] == ("deploy", "progressing")
    assert "greeter version 1 is stopped itself" in said(canary)
    assert fresh(canary).release == release_of(versions[1])
    assert not fresh(canary).held


def test_a_look_that_is_due_is_in_nobodys_way(fleet: Fleet, canary: Deployment) -> None:
    """What a gate looks at every two seconds may be late, or its scanner dead: a person still decides."""
    _run_out_of_patience(canary)
    fleet.poll()
    RolloutStep.objects.filter(finished_at=None).update(judged_at=timezone.now() - timedelta(minutes=1))
    assert "waits for approval" in said(canary)
    assert progress_of(last(canary)).approvable

    commands.approve(actor=SYSTEM, deployment=canary)
    assert present_step(canary).share == "100 %"
