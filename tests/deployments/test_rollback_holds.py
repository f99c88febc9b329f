"""A rollback is never undone by automation. One story for each path that could:

- Studio itself: a system deploy, undeploy, rollback or cancellation; a pipeline that redeploys with a token
- the reconciler: a poll, the slow sweep, a circuit that closes, a retry of the gateway or of the deployment
- drift: a wiped gateway, one edited by hand, one restored from an old backup, one ahead, one reinstalled
- membership: a gateway that joins, one that leaves
- crashes: a worker that claimed the newer release and died, one that records it late, a push that is replayed, an
  acknowledgement that got lost, a scanner that was killed
- rollouts: looking again at a superseded one, a canary or a wave under way when the rollback came, its health gate
- people's other acts: editing the environment, publishing a version, lifting a stop, suspending and restoring the
  organization

There is one exception, and it is none of automation: Studio restored from a backup of before the rollback. What the
backup says is what Studio wishes; it knows of no rollback, and whoever restores has to roll back again.
"""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from django.utils import timezone

from apps.core.errors import Conflict
from apps.core.tenancy import public
from apps.deployments import commands, rollouts
from apps.deployments.commands.stops import lift_stop, stop_agent
from apps.deployments.models import RolloutStep
from apps.deployments.strategies.plans import Plan
from apps.gateways import due, reconcile
from apps.gateways.client import GatewayUnreachable
from apps.gateways.commands import accept_identity, edit_environment, remove_gateway, retry_gateway
from apps.gateways.models import Environment, Gateway, Placement
from apps.gateways.recording import Result, record
from apps.gateways.sweep import rebuild
from apps.tenants.commands import restore, suspend
from contract.canonical import strict_loads
from contract.kinds import WORKFLOW
from contract.release import Release as ReleaseDocument
from tests.deployments.rollbacks import Story, held_of
from tests.deployments.steps import SYSTEM, deploy, fresh, last, next_version, release_of
from tests.harness.fleet import Fleet
from tests.harness.gateway import GatewayProcess
from tests.harness.scanning import becomes, scanner
from tests.harness.wire import OnTheWire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from apps.gateways.reconcile import Claim
    from tests.harness.world import Inhabited

_numbers = count(1)
NO_MODEL = "http://127.0.0.1:9/v1"
CANARY = Plan.from_json({"strategy": "canary", "steps": [{"share": "10 %"}, {"share": "100 %"}]})
SOAKING = Plan.from_json({"strategy": "canary", "steps": [{"share": "10 %", "soak_s": 600}, {"share": "100 %"}]})
WAVES = Plan.from_json({"strategy": "waves", "steps": [{"share": "1", "soak_s": 600}, {"share": "100 %"}]})
JUDGED = Plan.from_json({
    "strategy": "canary",
    "steps": [{"share": "10 %", "soak_s": 600}, {"share": "100 %"}],
    "gate": {"minimum_executions": 1},
})  # fmt: skip


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, GatewayProcess]]:
    """The gateway of all stories but those that do something to it for good; each story has an agent of its own."""
    kept: dict[str, GatewayProcess] = {}
    yield kept
    for process in kept.values():
        process.kill()


@pytest.fixture
def fleet(
    acme: Inhabited, processes: dict[str, GatewayProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    started = Fleet(acme, tmp_path_factory.mktemp("fleet"), NO_MODEL)
    if "stage-1" in processes:
        kept = processes["stage-1"]
        started.register("stage-1", kept if kept.running else kept.start(), "staging")
    else:
        processes["stage-1"] = started.start_gateway("stage-1", "staging")
    started.reconcile()
    yield started
    for name, process in started.processes.items():
        if name != "stage-1":
            process.kill()


@pytest.fixture
def ran(fleet: Fleet, staging: Environment) -> Story:
    """The old release ran, and the new one is about to be deployed."""
    agent, old = fleet.write_agent(f"agent{next(_numbers)}", instructions="Say one.")
    new = next_version(agent, "Say two.")
    story = Story(fleet, staging, old, new, deploy(SYSTEM, staging, old))
    fleet.reconcile()
    return story


@pytest.fixture
def story(acme: Inhabited, ran: Story) -> Story:
    """The new release ran on every gateway, and the approver rolled it back."""
    deploy(SYSTEM, ran.environment, ran.new)
    ran.fleet.reconcile()
    assert held_of(ran.process, ran.deployment).popitem()[1] == release_of(ran.new).digest
    ran.roll_back(acme.actor("approver"))
    ran.fleet.reconcile()
    ran.holds()
    return ran


def claims() -> list[Claim]:
    return reconcile.claim(reconcile.ORDINARY, limit=100)


# Studio itself, and pipelines.


def test_studio_itself_does_not_change_what_is_held(story: Story) -> None:
    for release_hold in (False, True):
        with pytest.raises(Conflict, match="is held since"):
            deploy(SYSTEM, story.environment, story.new, release_hold=release_hold)
    with pytest.raises(Conflict, match="is held since"):
        commands.undeploy(actor=SYSTEM, deployment=fresh(story.deployment))
    with pytest.raises(Conflict, match="is held since"):
        commands.rollback(actor=SYSTEM, deployment=fresh(story.deployment), to=release_of(story.new))
    story.holds()


def test_studio_itself_does_not_cancel_a_rollback_under_way(acme: Inhabited, story: Story) -> None:
    third = next_version(story.old.agent, "Say three.")
    deploy(acme.actor("owner"), story.environment, third, release_hold=True)
    story.fleet.reconcile()
    story.process.kill()
    story.roll_back(acme.actor("approver"))
    assert last(story.deployment).state == "progressing"
    with pytest.raises(Conflict, match="is held since"):
        commands.cancel(actor=SYSTEM, deployment=fresh(story.deployment))
    story.process.start()
    commands.retry(actor=SYSTEM, deployment=fresh(story.deployment))
    story.holds()


def test_a_pipeline_with_a_token_does_not_redeploy_over_it(acme: Inhabited, story: Story) -> None:
    body = {"agent": story.new.agent.slug, "environment": "staging", "version": story.new.number, "redeploy": True}
    refused = acme.api("owner").post("/deployments/", body)
    assert refused.status_code == 409
    assert "rolled back from version 2 to version 1" in refused.json()["detail"]
    story.holds()


# The reconciler.


def test_the_slow_sweep(story: Story) -> None:
    with public():
        rebuild()
    with story.fleet.world.inside():
        story.holds()


def test_a_circuit_that_closes(story: Story) -> None:
    Gateway.objects.update(circuit_failures=6, circuit_open_until=timezone.now() + timedelta(seconds=30))
    story.holds()
    assert story.gateway.circuit_open_until is None


def test_retries_of_the_gateway_and_of_the_deployment(story: Story) -> None:
    retry_gateway(actor=SYSTEM, gateway=story.gateway)
    story.holds()
    Placement.objects.of("workflow", story.deployment.registration).update(observed_digest="", attempts=3)
    commands.retry(actor=SYSTEM, deployment=fresh(story.deployment))
    story.holds()


# Drift.


@pytest.mark.parametrize("loss", ["wiped", "edited", "restored from an old backup", "another identity"])
def test_a_gateway_that_lost_what_it_held(ran: Story, acme: Inhabited, loss: str) -> None:
    deploy(SYSTEM, ran.environment, ran.new)
    ran.fleet.reconcile()
    path = ran.process.data_dir / "store.sqlite"
    with sqlite3.connect(path) as store:
        backup = store.serialize()
    ran.roll_back(acme.actor("approver"))
    ran.fleet.reconcile()

    ran.process.kill()
    match loss:
        case "edited":
            with sqlite3.connect(path) as store:
                store.execute("UPDATE placement SET payload = x'7b7d' WHERE name = ?", [ran.deployment.registration])
        case "restored from an old backup":
            ran.process.wipe_store()
            path.write_bytes(backup)
        case "another identity":
            ran.process.wipe_store()
            (ran.process.data_dir / "identity.json").unlink()
        case _:
            ran.process.wipe_store()
    ran.process.start()
    if loss == "another identity":
        accept_identity(actor=acme.actor("owner"), gateway=ran.gateway)
    ran.holds()


def test_a_gateway_that_is_ahead_with_the_release_that_was_taken_back(story: Story) -> None:
    release = ReleaseDocument.model_validate(strict_loads(bytes(release_of(story.new).body)))
    from apps.gateways.signing import private_key

    story.process.organization_key = private_key()
    story.process.admin().put(WORKFLOW, story.deployment.registration, release, generation=41)
    story.holds()
    assert Placement.objects.get(name=story.deployment.registration).observed_generation == 42


# Membership.


def test_a_gateway_that_joins(story: Story) -> None:
    story.fleet.start_gateway("stage-2", "staging")
    story.holds()


def test_a_gateway_that_leaves(story: Story) -> None:
    story.fleet.start_gateway("stage-2", "staging")
    story.holds()
    remove_gateway(actor=SYSTEM, gateway=Gateway.objects.get(name="stage-2"))
    story.run()
    story.fleet.processes.pop("stage-2").kill()
    story.holds()


# Crashes.


def test_a_push_of_the_newer_release_that_arrives_again(ran: Story, acme: Inhabited) -> None:
    deploy(SYSTEM, ran.environment, ran.new)
    (claimed,) = claims()
    push = OnTheWire.of(ran.gateway, claimed)
    reconcile.push(claimed)
    ran.roll_back(acme.actor("approver"))
    push.send()  # before the rollback arrived
    ran.holds()
    assert push.send().outcome == "stale"
    ran.holds()


def test_a_worker_that_claimed_the_newer_release_and_is_only_slow(ran: Story, acme: Inhabited) -> None:
    deploy(SYSTEM, ran.environment, ran.new)
    (slow,) = claims()
    push = OnTheWire.of(ran.gateway, slow)
    ran.roll_back(acme.actor("approver"))
    late = push.send()
    ran.fleet.reconcile()
    assert record(Result(slow, late)) is False
    assert record(Result(slow, GatewayUnreachable("timed-out", "no answer"))) is False
    ran.holds()


def test_a_worker_that_died_with_its_claim(ran: Story, acme: Inhabited) -> None:
    deploy(SYSTEM, ran.environment, ran.new)
    assert len(claims()) == 1
    ran.roll_back(acme.actor("approver"))
    assert len(claims()) == 1, "the rollback does not wait for the lease of what it replaces"
    Placement.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    ran.holds()


def test_an_acknowledgement_of_the_rollback_that_got_lost(ran: Story, acme: Inhabited) -> None:
    deploy(SYSTEM, ran.environment, ran.new)
    ran.fleet.reconcile()
    ran.roll_back(acme.actor("approver"))
    (claimed,) = claims()
    OnTheWire.of(ran.gateway, claimed).send()
    Placement.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    ran.holds()


@pytest.mark.slow
def test_a_scanner_that_is_killed_and_comes_back(live_organization: Inhabited, tmp_path: Path) -> None:
    staging = Environment.objects.get(slug="staging")
    edit_environment(actor=SYSTEM, environment=staging, name="Staging", order=1, poll_interval_s=1)
    fleet = Fleet(live_organization, tmp_path, NO_MODEL)
    fleet.start_gateway("stage-1", "staging")
    agent, old = fleet.write_agent()
    story = Story(fleet, staging, old, next_version(agent, "Say two."), deploy(SYSTEM, staging, old))
    try:
        with scanner() as running:
            deploy(SYSTEM, staging, story.new)
            wanted = {("workflow", story.deployment.registration): release_of(story.new).digest}
            becomes(lambda: held_of(story.process, story.deployment) == wanted, "the new release")
            story.roll_back(live_organization.actor("approver"))
            for _ in range(2):
                running.kill()
                running.start()
                Placement.objects.update(observed_generation=0, observed_digest="")
                due.poll_now(Gateway.objects.all())
                becomes(lambda: not Placement.objects.unsettled().exists(), "a settled fleet")
        story.holds()
    finally:
        fleet.stop()


# Rollouts.


def test_looking_again_at_every_rollout_there_was(story: Story) -> None:
    for rollout in story.deployment.rollouts.select_related("deployment__environment", "to_release", "from_release"):
        rollouts.advance(rollout)
    rollouts.advance_all()
    story.holds()


@pytest.mark.parametrize("plan", [CANARY, SOAKING, WAVES, JUDGED], ids=["canary", "soaking", "waves", "judged"])
def test_a_rollout_that_was_under_way(ran: Story, acme: Inhabited, plan: Plan) -> None:
    """Its steps would go on by time, by confirmations, by figures: none of them counts any more."""
    ran.fleet.start_gateway("stage-2", "staging")
    ran.fleet.reconcile()
    deploy(SYSTEM, ran.environment, ran.new, plan=plan)
    ran.fleet.reconcile()
    overtaken = last(ran.deployment)
    ran.roll_back(acme.actor("approver"))
    long_ago = timezone.now() - timedelta(hours=1)
    RolloutStep.objects.filter(rollout=overtaken, started_at__isnull=False).update(
        started_at=long_ago, placed_at=long_ago, watched_since=long_ago, verdict={"health": "healthy", "reasons": []}
    )
    ran.holds()
    rollouts.advance(overtaken)
    ran.holds()


def test_the_gate_of_an_overtaken_rollout_that_finds_it_degraded(ran: Story, acme: Inhabited) -> None:
    deploy(SYSTEM, ran.environment, ran.new, plan=JUDGED)
    ran.fleet.reconcile()
    overtaken = last(ran.deployment)
    ran.roll_back(acme.actor("approver"))
    hold = fresh(ran.deployment).hold_reason
    verdict = {"health": "degraded", "reasons": ["errors rose"]}
    RolloutStep.objects.filter(rollout=overtaken).update(verdict=verdict, judged_at=timezone.now())
    rollouts.advance(overtaken)
    ran.holds()
    assert fresh(ran.deployment).hold_reason == hold


# What people do elsewhere.


def test_editing_the_environment(story: Story) -> None:
    edit_environment(
        actor=SYSTEM, environment=story.environment, name="Renamed", order=3, poll_interval_s=9, caller_url=""
    )
    story.holds()


def test_publishing_another_version(story: Story) -> None:
    next_version(story.old.agent, "Say three.")
    story.holds()


def test_lifting_a_stop_of_the_agent(acme: Inhabited, story: Story) -> None:
    stop = stop_agent(
        actor=acme.actor("owner"), agent=story.old.agent, reason="it swears", environment=story.environment
    )
    story.holds()
    lift_stop(actor=acme.actor("owner"), stop=stop, reason="it does not any more")
    story.holds()


def test_suspending_and_restoring_the_organization(acme: Inhabited, story: Story) -> None:
    with public():
        suspend(actor=SYSTEM, organization=acme.organization, reason="unpaid")
    with acme.inside():
        story.holds()
    with public():
        restore(actor=SYSTEM, organization=acme.organization)
    with acme.inside():
        story.holds()


# The exception.


def test_studio_restored_from_a_backup_of_before_wishes_what_the_backup_says(ran: Story, acme: Inhabited) -> None:
    """`docs/operations/backup.md` tells the operator; guessing which of two truths is newer would not be safer."""
    deploy(SYSTEM, ran.environment, ran.new)
    ran.fleet.reconcile()
    backup = transaction.savepoint()
    ran.roll_back(acme.actor("approver"))
    ran.holds()

    transaction.savepoint_rollback(backup)
    ran.run()

    assert not fresh(ran.deployment).held
    assert held_of(ran.process, ran.deployment).popitem()[1] == release_of(ran.new).digest
    ran.roll_back(acme.actor("approver"))
    ran.holds()
