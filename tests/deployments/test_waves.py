"""A release that reaches a fleet in waves, on real gateways: who gets what when, and every way to interfere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from apps.audit.models import Event
from apps.core.errors import Conflict, Invalid
from apps.deployments import commands, rollouts
from apps.deployments.models import Deployment, Rollout, RolloutStep
from apps.deployments.queries import preview, progress_of, with_adjective
from apps.deployments.rollouts import advancing, course
from apps.deployments.strategies.plans import Plan, steps_from_text
from apps.gateways.commands import remove_gateway
from apps.gateways.models import Gateway
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
    status,
)
from tests.deployments.steps import rollouts as history

if TYPE_CHECKING:
    from apps.agents.models import AgentVersion
    from apps.gateways.models import Environment
    from tests.harness.fleet import Fleet
    from tests.harness.world import Inhabited

NAME = "workflow greeter-staging"
HOUR = 3600


def waves(text: str, *, soak_s: int = 0, approval: bool = False) -> Plan:
    return Plan("waves", steps_from_text(text, soak_s=soak_s, approval=approval))


@pytest.fixture
def versions(fleet: Fleet, staging: Environment) -> tuple[AgentVersion, AgentVersion]:
    """Two versions; the first runs on three gateways in staging."""
    for number in (1, 2, 3):
        fleet.start_gateway(f"stage-{number}", "staging")
    agent, first = fleet.write_agent(instructions="Say one.")
    deploy(SYSTEM, staging, first)
    fleet.reconcile()
    return first, next_version(agent, "Say two.")


def on_gateways(fleet: Fleet, versions: tuple[AgentVersion, ...]) -> str:
    """The version that each gateway says it holds, in the order of their names: `2 1 1`."""
    numbers = {release_of(version).digest: str(version.number) for version in versions if hasattr(version, "release")}
    return " ".join(numbers.get(held_by(fleet, name).get(NAME, ""), "-") for name in sorted(fleet.processes))


def test_each_wave_waits_for_the_one_before(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    plan = waves("1, 50 %, 100 %", soak_s=HOUR)
    assert [[each.name for each in step] for _, step in preview(plan, staging)] == [
        ["stage-1"],
        ["stage-2"],
        ["stage-3"],
    ]
    deployment = deploy(SYSTEM, staging, versions[1], plan=plan)
    assert said(deployment).startswith("progressing: wave 1 of 3: 0 of 1 gateway acknowledged; stage-1: waits")

    fleet.reconcile()
    assert on_gateways(fleet, versions) == "2 1 1"
    assert said(deployment).startswith("progressing: wave 1 of 3: soaks until ")
    progress = progress_of(last(deployment))
    assert [(step.state, step.confirmed, len(step.gateways)) for step in progress.steps] == [
        ("soaking", 1, 1), ("waiting", 0, 1), ("waiting", 0, 1),
    ]  # fmt: skip
    assert progress.next_at == present_step(deployment).soaks_until == rollouts.next_due()
    listed = with_adjective(Deployment.objects.with_names()).filter(adjective="progressing")  # type: ignore[misc]
    assert list(listed) == [deployment], "lists in SQL say the same"

    for expected in ("2 2 1", "2 2 2"):
        let_soak(deployment)
        fleet.poll()
        assert on_gateways(fleet, versions) == expected
    let_soak(deployment)
    fleet.poll()

    assert said(deployment) == "running: version 2 on 3 gateways"
    assert last(deployment).state == "succeeded"
    assert fresh(deployment).stable_release == release_of(versions[1])
    assert [step.state for step in progress_of(last(deployment)).steps] == ["done"] * 3


def test_a_wave_waits_for_a_person(
    acme: Inhabited, fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = deploy(SYSTEM, staging, versions[1], plan=waves("1, 100 %", approval=True))
    with pytest.raises(Conflict, match="does not wait for approval yet"):
        commands.approve(actor=SYSTEM, deployment=deployment)
    fleet.reconcile()
    assert said(deployment) == "progressing: wave 1 of 2: waits for approval"
    assert rollouts.next_due() is None, "nobody but a person ends this"

    commands.approve(actor=acme.actor("approver"), deployment=deployment)
    fleet.reconcile()
    assert on_gateways(fleet, versions) == "2 2 2"
    first = RolloutStep.objects.get(rollout=last(deployment), index=0)
    assert (first.approved_by, first.decision) == ("approver@acme.example", "approved by approver@acme.example")
    commands.approve(actor=SYSTEM, deployment=deployment)
    assert last(deployment).state == "succeeded"
    assert Event.objects.filter(action="deployment.approve").count() == 2


def test_a_dead_gateway_holds_its_wave_up_until_somebody_forces_it(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    fleet.processes["stage-1"].kill()
    deployment = deploy(SYSTEM, staging, versions[1], plan=waves("1, 100 %"))
    fleet.reconcile()
    assert "wave 1 of 2: 0 of 1 gateway acknowledged; stage-1: connection refused" in said(deployment)
    assert [each.state for each in progress_of(last(deployment)).steps[0].gateways] == ["failing"]

    commands.force(actor=SYSTEM, deployment=deployment)
    fleet.reconcile()
    assert Event.objects.get(action="deployment.force").detail["skipped"] == "confirmation of stage-1"
    assert [held_by(fleet, name)[NAME] for name in ("stage-2", "stage-3")] == [release_of(versions[1]).digest] * 2
    assert last(deployment).state == "progressing", "the last wave is everything, also what the first one left"

    fleet.processes["stage-1"].start()
    commands.retry(actor=SYSTEM, deployment=deployment)
    fleet.poll()
    assert last(deployment).state == "succeeded"
    assert last(deployment).reason == "step 1 forced by tests"
    assert on_gateways(fleet, versions) == "2 2 2"


def test_who_joins_gets_what_ran_before_until_its_wave(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = deploy(SYSTEM, staging, versions[1], plan=waves("1, 100 %", soak_s=HOUR))
    fleet.reconcile()
    fleet.start_gateway("stage-0", "staging")
    fleet.reconcile()
    assert on_gateways(fleet, versions) == "1 2 1 1", "the first wave is who was there when it began"

    let_soak(deployment)
    fleet.poll()
    assert on_gateways(fleet, versions) == "2 2 2 2"
    fleet.start_gateway("stage-4", "staging")
    fleet.reconcile()
    assert on_gateways(fleet, versions) == "2 2 2 2 2", "who joins the last wave gets what it brings"


def test_who_leaves_does_not_hold_up_its_wave(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    fleet.processes["stage-1"].kill()
    deployment = deploy(SYSTEM, staging, versions[1], plan=waves("1, 100 %"))
    fleet.reconcile()
    remove_gateway(actor=SYSTEM, gateway=Gateway.objects.get(name="stage-1"))
    fleet.poll()
    assert last(deployment).state == "succeeded"
    assert held_by(fleet, "stage-3")[NAME] == release_of(versions[1]).digest


def test_paused_it_takes_no_step_and_says_who_paused_it(
    acme: Inhabited, fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = deploy(SYSTEM, staging, versions[1], plan=waves("1, 100 %", soak_s=HOUR))
    commands.pause(actor=acme.actor("approver"), deployment=deployment, note="lunch")
    fleet.reconcile()
    let_soak(deployment)
    fleet.poll()
    assert on_gateways(fleet, versions) == "2 1 1", "what was begun arrives, and nothing is begun"
    assert said(deployment) == "paused: wave 1 of 2: paused by approver@acme.example: lunch"
    assert with_adjective(Deployment.objects.with_names()).filter(adjective="paused").exists()  # type: ignore[misc]
    with pytest.raises(Conflict, match="paused already"):
        commands.pause(actor=SYSTEM, deployment=deployment)

    commands.resume(actor=SYSTEM, deployment=deployment)
    fleet.reconcile()
    assert on_gateways(fleet, versions) == "2 2 2"
    with pytest.raises(Conflict, match="is not paused"):
        commands.resume(actor=SYSTEM, deployment=deployment)


@pytest.mark.parametrize("finished_waves", [0, 1])
def test_a_cancellation_takes_every_wave_back(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion], finished_waves: int
) -> None:
    deployment = deploy(SYSTEM, staging, versions[1], plan=waves("1, 2, 100 %", soak_s=HOUR))
    fleet.reconcile()
    for _ in range(finished_waves):
        let_soak(deployment)
        fleet.poll()
    commands.cancel(actor=SYSTEM, deployment=deployment)
    fleet.reconcile()
    assert on_gateways(fleet, versions) == "1 1 1"
    assert said(deployment) == "running: version 1 on 3 gateways"
    assert history(deployment)[-2:] == [("deploy", "cancelled"), ("cancel", "succeeded")]


def test_a_newer_rollout_begins_from_what_most_gateways_run(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = deploy(SYSTEM, staging, versions[1], plan=waves("2, 100 %", soak_s=HOUR))
    fleet.reconcile()
    third = next_version(versions[0].agent, "Say three.")
    deploy(SYSTEM, staging, third, plan=waves("1, 100 %", soak_s=HOUR))
    fleet.reconcile()
    assert on_gateways(fleet, (*versions, third)) == "3 1 1", "nobody is left with what was abandoned"
    assert last(deployment).from_release == release_of(versions[0])
    let_soak(deployment)
    fleet.poll()
    assert on_gateways(fleet, (*versions, third)) == "3 3 3"


def test_a_first_deploy_reaches_only_its_wave(fleet: Fleet, staging: Environment) -> None:
    for number in (1, 2):
        fleet.start_gateway(f"stage-{number}", "staging")
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version, plan=waves("1, 100 %", soak_s=HOUR))
    fleet.reconcile()
    assert on_gateways(fleet, (version,)) == "1 -"
    commands.undeploy(actor=SYSTEM, deployment=deployment)
    fleet.reconcile()
    assert on_gateways(fleet, (version,)) == "- -"
    assert status(deployment).adjective == "undeployed"


def test_waves_wait_for_the_first_gateway(fleet: Fleet, staging: Environment) -> None:
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version, plan=waves("1, 100 %"))
    assert status(deployment).adjective == "waiting"
    with pytest.raises(Conflict, match="has no gateway yet"):
        commands.force(actor=SYSTEM, deployment=deployment)
    fleet.start_gateway("stage-1", "staging")
    fleet.reconcile()
    assert said(deployment) == "running: version 1 on 1 gateway"


def test_a_label_that_no_gateway_has_is_a_mistake(
    staging: Environment, versions: tuple[AgentVersion, AgentVersion], fleet: Fleet
) -> None:
    with pytest.raises(Invalid, match="No gateway of staging has the label region=eu"):
        deploy(SYSTEM, staging, versions[1], plan=waves("region=eu, 100 %"))
    with pytest.raises(Invalid, match="No gateway of staging has the label region=eu"):
        commands.set_rollout_policy(actor=SYSTEM, environment=staging, plan=waves("region=eu, 100 %"))
    mine = Deployment.objects.get()
    with pytest.raises(Invalid, match="No gateway of staging has the label region=eu"):
        commands.set_plan(actor=SYSTEM, deployment=mine, plan=waves("region=eu, 100 %"))
    Gateway.objects.filter(name="stage-3").update(labels={"region": "eu"})
    commands.set_rollout_policy(actor=SYSTEM, environment=staging, plan=waves("region=eu, 100 %", soak_s=HOUR))
    Gateway.objects.update(labels={})
    with pytest.raises(Invalid, match="No gateway of staging has the label region=eu"):
        deploy(SYSTEM, staging, versions[1])
    Gateway.objects.filter(name="stage-3").update(labels={"region": "eu"})
    deploy(SYSTEM, staging, versions[1])
    fleet.reconcile()
    assert on_gateways(fleet, versions) == "1 1 2"


def test_who_decides_how_it_goes(fleet: Fleet, staging: Environment) -> None:
    """The deploy itself, or else the deployment, or else the environment."""
    agent, first = fleet.write_agent()
    commands.set_rollout_policy(actor=SYSTEM, environment=staging, plan=waves("1, 100 %"))
    deployment = deploy(SYSTEM, staging, first)
    assert last(deployment).strategy == "waves"
    commands.set_plan(actor=SYSTEM, deployment=deployment, plan=waves("2, 100 %"))
    deploy(SYSTEM, staging, next_version(agent, "Say two."))
    assert [step.share for step in last(deployment).steps.all()] == ["2", "100 %"]
    deploy(SYSTEM, staging, next_version(agent, "Say three."), plan=waves("3, 100 %"))
    assert [step.share for step in last(deployment).steps.all()] == ["3", "100 %"]
    commands.set_plan(actor=SYSTEM, deployment=deployment, plan=None)
    deploy(SYSTEM, staging, next_version(agent, "Say four."))
    assert [step.share for step in last(deployment).steps.all()] == ["1", "100 %"]


class Died(Exception):
    """What a kill -9 in the middle of a transaction comes to: nothing of it is there."""


@pytest.mark.parametrize("where", ["_begin", "_succeed", "hint", "Fleet.place", "RolloutStep.save"])
def test_whoever_dies_in_between_leaves_a_rollout_that_goes_on(
    fleet: Fleet,
    staging: Environment,
    versions: tuple[AgentVersion, AgentVersion],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    """Whoever comes to this point dies there, now and then, and what was done in the same transaction is lost."""
    deployment = deploy(SYSTEM, staging, versions[1], plan=waves("1, 100 %"))
    owner, _, name = where.rpartition(".")
    target: Any = getattr(course, owner) if owner else course
    whole, passed, deaths = getattr(target, name), iter(range(1_000)), []

    def dying(*args: Any, **kwargs: Any) -> Any:
        if (passing := next(passed)) in (0, 2, 5, 9):
            deaths.append(passing)
            raise Died
        return whole(*args, **kwargs)

    monkeypatch.setattr(target, name, dying)
    for _ in range(12):
        if last(deployment).state != "progressing":
            break
        Rollout.objects.update(retry_at=None)
        rollouts.advance_all()
        fleet.reconcile()
    assert deaths
    assert said(deployment) == "running: version 2 on 3 gateways"
    assert last(deployment).state == "succeeded"
    assert on_gateways(fleet, versions) == "2 2 2"
    assert Event.objects.filter(action="rollout.succeeded", resource_id=str(last(deployment).pk)).count() == 1


def test_a_rollout_that_fails_says_so_and_is_tried_ever_later(
    fleet: Fleet,
    staging: Environment,
    versions: tuple[AgentVersion, AgentVersion],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment = deploy(SYSTEM, staging, versions[1], plan=waves("1, 100 %"))

    def failing(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("password=hunter2")

    waits = []
    with monkeypatch.context() as broken:
        broken.setattr(advancing, "step_on", failing)
        fleet.reconcile()
        Rollout.objects.update(failures=0)
        for _ in range(3):
            Rollout.objects.update(retry_at=None)
            rollouts.advance_all()
            rollouts.advance_all()
            rollout = last(deployment)
            assert rollout.retry_at is not None
            assert rollouts.next_due() == rollout.retry_at
            waits.append(rollout.retry_at - timezone.now())
        summary = progress_of(rollout).summary
        assert (
            "Studio itself failed 3 times in a row to go on (ZeroDivisionError, see its log) and tries again" in summary
        )
        assert "hunter2" not in summary
    assert waits == sorted(waits)

    Rollout.objects.update(retry_at=None)
    rollouts.advance_all()
    assert (last(deployment).failures, last(deployment).failure, last(deployment).retry_at) == (0, "", None)


def test_a_stop_pauses_it_and_only_its_end_lets_it_go_on(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = deploy(SYSTEM, staging, versions[1], plan=waves("1, 100 %", soak_s=HOUR))
    fleet.reconcile()
    stop = commands.stop_release(actor=SYSTEM, release=release_of(versions[1]), reason="it leaks")
    let_soak(deployment)
    fleet.poll()
    assert on_gateways(fleet, versions) == "2 1 1"
    assert last(deployment).paused_by == "studio"
    assert "it leaks" in last(deployment).pause_reason
    for act in (commands.resume, commands.force):
        with pytest.raises(Conflict, match="must not run"):
            act(actor=SYSTEM, deployment=deployment)
    commands.lift_stop(actor=SYSTEM, stop=stop, reason="it does not")
    commands.resume(actor=SYSTEM, deployment=deployment)
    fleet.reconcile()
    assert on_gateways(fleet, versions) == "2 2 2"


def test_sending_again_what_runs_over_a_rollout_takes_that_back(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    """Waves of the old release: who is not in one yet has it, too, and nobody keeps the new one."""
    deploy(SYSTEM, staging, versions[1], plan=waves("2, 100 %", soak_s=HOUR))
    fleet.reconcile()
    assert on_gateways(fleet, versions) == "2 2 1"
    deployment = deploy(SYSTEM, staging, versions[0], plan=waves("1, 100 %", soak_s=HOUR))
    fleet.reconcile()
    assert on_gateways(fleet, versions) == "1 1 1"
    assert history(deployment)[-2:] == [("deploy", "superseded"), ("redeploy", "progressing")]


def test_one_rollout_that_cannot_go_on_stops_no_other(
    fleet: Fleet, staging: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slug in ("greeter", "helper"):
        _, version = fleet.write_agent(slug)
        deploy(SYSTEM, staging, version, plan=waves("1, 100 %"))
    broken, sound = Rollout.objects.order_by("created_at")
    whole = course.step_on

    def fails_for_one(rollout: Rollout) -> Any:
        if rollout.pk == broken.pk:
            raise Died
        return whole(rollout)

    monkeypatch.setattr("apps.deployments.rollouts.advancing.step_on", fails_for_one)
    fleet.start_gateway("stage-1", "staging")
    fleet.reconcile()
    broken.refresh_from_db()
    sound.refresh_from_db()
    assert (broken.state, sound.state) == ("progressing", "succeeded")
