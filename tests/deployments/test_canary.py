"""A release that takes over a rising part of the callers on every gateway, end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from apps.core.errors import Conflict
from apps.deployments import commands, rollouts
from apps.deployments.queries import earlier_releases, progress_of
from apps.deployments.rollouts.course import step_on
from apps.deployments.strategies.plans import Plan, steps_from_text
from apps.gateways.models import Gateway, Placement
from contract.routes import WHOLE, bucket_of
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.agents.models import AgentVersion
    from apps.deployments.models import Deployment
    from apps.gateways.models import Environment
    from contract.caller_keys import KeyText
    from tests.harness.fleet import Fleet

    Begin = Callable[[Fleet, Deployment], None]
    End = Callable[[Deployment, AgentVersion], None]

REGISTRATION = "greeter-staging"
NAME, CANARY, ROUTE = (f"workflow {REGISTRATION}", f"workflow {REGISTRATION}@canary", f"route {REGISTRATION}")
HOUR = 3600
QUARTER = Plan("canary", steps_from_text("25 %, 100 %", soak_s=HOUR))


@pytest.fixture
def versions(fleet: Fleet, staging: Environment) -> tuple[AgentVersion, AgentVersion]:
    """Two versions; the first runs on two gateways in staging."""
    for number in (1, 2):
        fleet.start_gateway(f"stage-{number}", "staging")
    agent, first = fleet.write_agent(instructions="Say one.")
    deploy(SYSTEM, staging, first)
    fleet.reconcile()
    return first, next_version(agent, "Say two.")


@pytest.fixture
def canary(fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]) -> Deployment:
    """The second version has a quarter of the callers."""
    deployment = deploy(SYSTEM, staging, versions[1], plan=QUARTER)
    fleet.reconcile()
    return fresh(deployment)


def digests(versions: tuple[AgentVersion, AgentVersion]) -> tuple[str, str]:
    return release_of(versions[0]).digest, release_of(versions[1]).digest


def answering(fleet: Fleet, gateway: str, key: KeyText, session: str) -> str:
    """The release that answers a session."""
    return str(fleet.call(gateway, REGISTRATION, key, session_id=session).json()["release"])


def test_a_part_of_the_sessions_gets_it_and_keeps_it(
    fleet: Fleet, canary: Deployment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    old, new = digests(versions)
    assert said(canary).startswith("progressing: canary at 25 %: soaks until ")
    assert {name: held_by(fleet, name)[NAME] for name in fleet.processes} == {"stage-1": old, "stage-2": old}
    assert {name: held_by(fleet, name)[CANARY] for name in fleet.processes} == {"stage-1": new, "stage-2": new}
    key = fleet.issue_key("staging")
    sessions = [f"session-{number}" for number in range(16)]
    expected = {session: new if bucket_of(REGISTRATION, key.id, session) < WHOLE // 4 else old for session in sessions}
    assert set(expected.values()) == {old, new}, "the sessions are to show both"
    for gateway in fleet.processes:
        assert {session: answering(fleet, gateway, key, session) for session in sessions} == expected

    let_soak(canary)
    fleet.poll()
    chosen = next(session for session, release in expected.items() if release == new)
    assert answering(fleet, "stage-1", key, chosen) == new
    assert said(canary).startswith("progressing: canary at 100 %: soaks until ")
    assert {answering(fleet, "stage-2", key, session) for session in sessions} == {new}

    let_soak(canary)
    fleet.poll()
    assert said(canary) == "running: version 2 on 2 gateways"
    assert last(canary).state == "succeeded"
    for gateway in fleet.processes:
        assert held_by(fleet, gateway) == {NAME: new}, "neither canary nor route is left"
    assert answering(fleet, "stage-1", key, chosen) == new


def test_the_canary_comes_before_the_callers(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    fleet.processes["stage-2"].kill()
    deployment = deploy(SYSTEM, staging, versions[1], plan=QUARTER)
    assert not Placement.objects.filter(kind="route").exists()
    fleet.reconcile()
    assert {row.gateway.name for row in Placement.objects.filter(kind="route")} == {"stage-1"}
    assert "canary at 25 %: 1 of 2 gateways acknowledged; stage-2: connection refused" in said(deployment)
    assert present_step(deployment).placed_at is None, "it soaks only when every gateway has it"
    fleet.processes["stage-2"].start()
    commands.retry(actor=SYSTEM, deployment=deployment)
    fleet.poll()
    assert present_step(deployment).placed_at is not None
    assert held_by(fleet, "stage-2").keys() == {NAME, CANARY, ROUTE}


def _cancel(deployment: Deployment, first: AgentVersion) -> None:
    commands.cancel(actor=SYSTEM, deployment=deployment)


def _rollback(deployment: Deployment, first: AgentVersion) -> None:
    commands.rollback(actor=SYSTEM, deployment=deployment, to=release_of(first))


def _undeploy(deployment: Deployment, first: AgentVersion) -> None:
    commands.undeploy(actor=SYSTEM, deployment=deployment)


def _begin(fleet: Fleet, deployment: Deployment) -> None:
    """The canary is wanted, and nothing has reached a gateway yet."""


def _soak(fleet: Fleet, deployment: Deployment) -> None:
    fleet.reconcile()


def _promote(fleet: Fleet, deployment: Deployment) -> None:
    """The promotion is wanted, and has not reached a gateway yet."""
    fleet.reconcile()
    for _ in range(2):
        let_soak(deployment)
        rollouts.advance_all()
        if present_step(deployment).kind != "promote":
            fleet.reconcile()


@pytest.mark.parametrize("end", [_cancel, _rollback, _undeploy])
@pytest.mark.parametrize("until", [_begin, _soak, _promote])
def test_from_every_state_one_act_leaves_nothing_of_it(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion], until: Begin, end: End
) -> None:
    deployment = deploy(SYSTEM, staging, versions[1], plan=QUARTER)
    until(fleet, deployment)
    end(fresh(deployment), versions[0])
    fleet.reconcile()
    expected = {} if end is _undeploy else {NAME: release_of(versions[0]).digest}
    for gateway in fleet.processes:
        assert held_by(fleet, gateway) == expected
    assert last(deployment).state == "succeeded"
    assert fresh(deployment).held is (end is _rollback)
    if end is not _undeploy:
        assert said(deployment) == "running: version 1 on 2 gateways"


def test_a_newer_canary_takes_the_place_of_an_older(
    fleet: Fleet, staging: Environment, canary: Deployment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    third = next_version(versions[0].agent, "Say three.")
    deploy(SYSTEM, staging, third, plan=Plan("canary", steps_from_text("5 %, 100 %", soak_s=HOUR)))
    fleet.reconcile()
    old, _ = digests(versions)
    for gateway in fleet.processes:
        held = held_by(fleet, gateway)
        assert (held[NAME], held[CANARY]) == (old, release_of(third).digest)
    assert last(canary).from_release == release_of(versions[0])
    assert progress_of(last(canary)).percent_of_callers == 5
    assert history(canary)[-2:] == [("deploy", "superseded"), ("deploy", "progressing")]
    assert earlier_releases(fresh(canary))[0] == release_of(versions[0]), "nobody is sent back to what was abandoned"


def test_all_at_once_over_a_canary_cleans_it_up(
    fleet: Fleet, staging: Environment, canary: Deployment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    third = next_version(versions[0].agent, "Say three.")
    deploy(SYSTEM, staging, third)
    fleet.reconcile()
    for gateway in fleet.processes:
        assert held_by(fleet, gateway) == {NAME: release_of(third).digest}


def test_who_joins_becomes_part_of_the_canary(
    fleet: Fleet, canary: Deployment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    old, new = digests(versions)
    fleet.start_gateway("stage-3", "staging")
    first = Placement.objects.get(gateway__name="stage-3", kind="workflow")
    assert (first.name, first.desired_digest) == (REGISTRATION, old), "callers always find the stable release first"
    fleet.poll()
    fleet.reconcile()
    assert held_by(fleet, "stage-3")[CANARY] == new
    assert ROUTE in held_by(fleet, "stage-3")


def test_a_first_deploy_has_nobody_to_leave_callers_with(fleet: Fleet, staging: Environment) -> None:
    fleet.start_gateway("stage-1", "staging")
    _, version = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, version, plan=QUARTER)
    fleet.reconcile()
    assert last(deployment).strategy == "all-at-once"
    assert said(deployment) == "running: version 1 on 1 gateway"


def test_forced_to_the_end_nothing_is_left_on_a_gateway_that_comes_back(
    fleet: Fleet, canary: Deployment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    fleet.processes["stage-2"].kill()
    while last(canary).state == "progressing":
        commands.force(actor=SYSTEM, deployment=canary)
        fleet.reconcile()
    assert held_by(fleet, "stage-1") == {NAME: digests(versions)[1]}
    assert "stage-2" in said(canary), "it is still owed what was decided"
    fleet.processes["stage-2"].start()
    commands.retry(actor=SYSTEM, deployment=canary)
    fleet.poll()
    assert held_by(fleet, "stage-2") == {NAME: digests(versions)[1]}
    assert said(canary) == "running: version 2 on 2 gateways"


def test_a_redeploy_sends_again_and_needs_no_canary(
    fleet: Fleet, staging: Environment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    deployment = deploy(SYSTEM, staging, versions[0], plan=QUARTER, redeploy=True)
    assert (last(deployment).kind, last(deployment).strategy) == ("redeploy", "all-at-once")
    assert set(Placement.objects.values_list("desired_generation", flat=True)) == {2}
    with pytest.raises(Conflict, match="runs in staging already"):
        deploy(SYSTEM, staging, versions[0])


def test_looking_again_changes_nothing(fleet: Fleet, canary: Deployment) -> None:
    """Every look derives the same from the same rows, however often and by whomever."""
    before = list(Placement.objects.order_by("pk").values_list("pk", "desired_generation", "desired_digest"))
    step = present_step(canary)
    for _ in range(3):
        rollouts.advance_all()
        step_on(rollouts.under_way().get())
    assert list(Placement.objects.order_by("pk").values_list("pk", "desired_generation", "desired_digest")) == before
    assert present_step(canary).updated_at == step.updated_at


def test_a_wiped_gateway_gets_all_of_it_again(
    fleet: Fleet, canary: Deployment, versions: tuple[AgentVersion, AgentVersion]
) -> None:
    process = fleet.processes["stage-1"]
    held = held_by(fleet, "stage-1")
    process.kill()
    process.wipe_store()
    process.start()
    fleet.poll()
    fleet.settle()
    assert held_by(fleet, "stage-1") == held
    assert Gateway.objects.get(name="stage-1").reachable
