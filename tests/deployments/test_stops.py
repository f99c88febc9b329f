"""The kill switch, felt by callers of real gateway processes, with every receipt verified."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction

from apps.agents.commands import hand_over
from apps.audit.models import Event
from apps.core.errors import Conflict, Invalid
from apps.deployments import commands
from apps.deployments.models import Stop, StopReceipt
from apps.deployments.strategies.plans import HealthGate, Plan, steps_from_text
from apps.gateways.commands import accept_identity, forget_gateway, register_gateway, remove_gateway
from apps.gateways.models import Environment, Gateway, Placement
from apps.gateways.placements import want_on_environment
from apps.gateways.scanner import reconcile_tenant
from contract.envelope import Receipt, public_key_from_text
from contract.kinds import STOP, TOMBSTONE_DIGEST, WORKFLOW
from tests.deployments.steps import SYSTEM, deploy, next_version, release_of
from tests.harness.gateway import error_of, executions_of, read_events, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apps.agents.models import Agent
    from contract.caller_keys import KeyText
    from tests.doubles.model_server import ModelServer
    from tests.harness.fleet import Fleet
    from tests.harness.gateway import Studio
    from tests.harness.world import Inhabited


@pytest.fixture
def production(acme: Inhabited) -> Environment:
    return Environment.objects.get(slug="production")


@pytest.fixture
def agent(fleet: Fleet) -> Agent:
    """An agent that runs in production on two gateways."""
    fleet.start_gateway("one")
    fleet.start_gateway("two")
    agent, version = fleet.write_agent()
    fleet.deploy(version)
    fleet.settle()
    return agent


@pytest.fixture
def key(fleet: Fleet, agent: Agent) -> KeyText:
    return fleet.issue_key()


def stop(agent: Agent, **options: Any) -> Stop:
    """Stop the agent, as Studio itself."""
    return commands.stop_agent(actor=SYSTEM, agent=agent, reason="it insults people", **options)


def placed(stop: Stop) -> dict[str, Placement]:
    """The stop's placements by the name of their gateway."""
    rows = Placement.objects.of(STOP.name, stop.public_id).select_related("gateway")
    return {row.gateway.name: row for row in rows}


@contextmanager
def restored_afterwards() -> Iterator[None]:
    """What the block did is forgotten by Studio, as by a restore from a backup of before, and not by the gateways."""

    class Restored(Exception):
        pass

    with suppress(Restored), transaction.atomic():
        yield
        raise Restored


def is_busy(studio: Studio) -> bool:
    """Whether the gateway executes something."""
    return bool(studio.state()["capacity"]["in_flight"])


def verified(receipt: StopReceipt) -> bool:
    """What anybody can check with what stands in the receipt alone."""
    signed = Receipt(receipt.gateway_id, "stop", receipt.stop.public_id, receipt.generation, receipt.digest, receipt.at)
    return signed.verify(public_key_from_text(receipt.public_key), receipt.signature)


def test_one_act_ends_what_runs_on_two_gateways_and_both_sign(
    fleet: Fleet, agent: Agent, key: KeyText, model: ModelServer
) -> None:
    never = threading.Event()
    model.says("It ", "begins.", gate=never)
    ends: dict[str, list[tuple[str, Any]]] = {}

    def listen(gateway: str) -> None:
        body = {"inputs": {"message": "Hi"}, "mode": "stream"}
        with (
            fleet.processes[gateway].caller(key) as client,
            client.stream("POST", "/workflows/greeter-production/execute", json=body) as answer,
        ):
            ends[gateway] = read_events(answer)

    callers = [threading.Thread(target=listen, args=(name,)) for name in ("one", "two")]
    for caller in callers:
        caller.start()
    for name in ("one", "two"):
        studio = fleet.processes[name].admin()
        wait_until(partial(is_busy, studio))
    wait_until(lambda: len(model.requests) == 2)

    stopped = stop(agent)
    fleet.reconcile()
    for caller in callers:
        caller.join(timeout=20)

    assert sorted(ends) == ["one", "two"]
    for events in ends.values():
        name, content = events[-1]
        assert (name, content["error"]["code"]) == ("error", "stopped")
    for name in ("one", "two"):
        answer = fleet.call(name, "greeter-production", key)
        assert (answer.status_code, error_of(answer)["code"]) == (403, "stopped")
        (record,) = executions_of(fleet.processes[name].admin(), "greeter-production", 1)[:1]
        assert (record["status"], record["error_code"]) == ("cancelled", "stopped")
    receipts = list(stopped.receipts.all())
    assert sorted(receipt.gateway for receipt in receipts) == ["one", "two"]
    assert all(verified(receipt) for receipt in receipts)
    stopped.refresh_from_db()
    assert stopped.confirmed_at is not None
    event = Event.objects.get(action="stop.confirm")
    assert sorted(event.detail["gateways"]) == ["one", "two"]
    assert event.detail["never_confirmed"] == []


def test_lifting_lets_it_run_again_and_nothing_else_does(
    fleet: Fleet, agent: Agent, key: KeyText, production: Environment
) -> None:
    stopped = stop(agent)
    fleet.settle()
    fleet.processes["one"].kill()
    fleet.processes["one"].start()
    fleet.poll()
    assert fleet.call("one", "greeter-production", key).status_code == 403, "a restart must not lift it"
    commands.undeploy(actor=SYSTEM, deployment=agent.deployments.get())
    fleet.settle()
    assert placed(stopped)["one"].confirmed

    commands.lift_stop(actor=SYSTEM, stop=stopped, reason="the prompt was repaired")
    deploy(SYSTEM, production, agent.versions.get())
    fleet.settle()

    assert fleet.call("one", "greeter-production", key).status_code == 200
    stopped.refresh_from_db()
    assert (stopped.lifted_by, stopped.lift_reason) == (SYSTEM.label, "the prompt was repaired")
    assert all(row.tombstone and row.settled for row in placed(stopped).values())


def test_a_gateway_that_is_dead_delays_no_other_and_is_named(fleet: Fleet, agent: Agent, key: KeyText) -> None:
    fleet.processes["two"].kill()
    stopped = stop(agent)
    fleet.reconcile()
    assert fleet.call("one", "greeter-production", key).status_code == 403
    rows = placed(stopped)
    assert rows["one"].confirmed
    assert not rows["two"].confirmed
    assert rows["two"].reason().startswith("connection refused, ")
    stopped.refresh_from_db()
    assert stopped.confirmed_at is None

    fleet.processes["two"].start()
    commands.retry_stop(actor=SYSTEM, stop=stopped)
    fleet.settle()
    stopped.refresh_from_db()
    assert stopped.confirmed_at is not None


def test_a_gateway_that_was_forgotten_before_it_confirmed_is_told_of(fleet: Fleet, agent: Agent) -> None:
    fleet.processes["two"].kill()
    stopped = stop(agent)
    fleet.reconcile()
    forget_gateway(actor=SYSTEM, gateway=Gateway.objects.get(name="two"))
    fleet.reconcile()
    stopped.refresh_from_db()
    assert stopped.confirmed_at is not None
    assert Event.objects.get(action="stop.confirm").detail["never_confirmed"] == ["two"]


def test_a_gateway_that_joins_receives_the_stop_before_anything_that_runs(
    fleet: Fleet, agent: Agent, key: KeyText
) -> None:
    stopped = stop(agent)
    fleet.settle()
    fleet.start_gateway("three")
    fleet.settle()
    state = fleet.processes["three"].admin().state(items=True)
    applied = {item["kind"]: item for item in state["items"]}
    assert placed(stopped)["three"].confirmed
    assert applied["workflow"]["name"] == "greeter-production"
    assert fleet.call("three", "greeter-production", key).status_code == 403
    assert StopReceipt.objects.filter(stop=stopped, gateway="three").exists()


def test_a_gateway_that_leaves_keeps_it_to_the_end_and_one_that_is_leaving_receives_it(
    fleet: Fleet, agent: Agent
) -> None:
    fleet.processes["two"].kill()
    remove_gateway(actor=SYSTEM, gateway=Gateway.objects.get(name="two"))
    stopped = stop(agent)
    fleet.reconcile()
    assert Gateway.objects.filter(name="two").exists()
    assert not placed(stopped)["two"].tombstone
    fleet.processes["two"].start()
    commands.retry_stop(actor=SYSTEM, stop=stopped)
    fleet.poll()
    fleet.settle()
    fleet.reconcile()

    assert not Gateway.objects.filter(name="two").exists()
    items = {item["kind"]: item for item in fleet.processes["two"].admin().state(items=True)["items"]}
    assert not items["stop"]["tombstone"]
    assert items["workflow"]["tombstone"]
    assert sorted(stopped.receipts.values_list("gateway", flat=True)) == ["one", "two"]


def test_it_goes_ahead_of_a_backlog_of_deploys(fleet: Fleet, agent: Agent, key: KeyText) -> None:
    body = bytes(release_of(agent.versions.get()).body)
    for number in range(200):
        want_on_environment(
            Environment.objects.get(slug="production"), WORKFLOW.name, f"other-{number}-production", body
        )
    stopped = stop(agent)
    reconcile_tenant(fleet.world.schema, rounds=1)
    assert all(row.confirmed for row in placed(stopped).values())
    assert Placement.objects.unsettled().filter(kind=WORKFLOW.name).count() == 400


def test_a_wiped_gateway_receives_the_stop_again_before_anything_that_runs(
    fleet: Fleet, agent: Agent, key: KeyText
) -> None:
    stopped = stop(agent)
    fleet.settle()
    first = StopReceipt.objects.get(stop=stopped, gateway="one")
    fleet.processes["one"].kill()
    fleet.processes["one"].wipe_store()
    fleet.processes["one"].start()
    fleet.poll()
    fleet.settle()
    assert fleet.call("one", "greeter-production", key).status_code == 403
    assert StopReceipt.objects.get(stop=stopped, gateway="one").signature == first.signature


def test_a_stop_that_a_restored_studio_does_not_know_is_adopted_everywhere(
    fleet: Fleet, agent: Agent, key: KeyText, production: Environment
) -> None:
    two = fleet.processes["two"]
    with restored_afterwards():
        stopped = stop(agent)
        fleet.settle()
    # Only one gateway still has it.
    two.kill()
    two.wipe_store()
    two.start()
    assert not Stop.objects.exists()
    fleet.poll()
    fleet.settle()
    found = Stop.objects.get()
    assert (found.public_id, found.subject, found.label) == (stopped.public_id, "found", "Greeter")
    assert (found.slugs, found.where, found.live) == (["greeter"], "in production", True)
    assert all(row.confirmed for row in placed(found).values())
    assert fleet.call("two", "greeter-production", key).status_code == 403
    assert Event.objects.get(action="stop.adopt").detail["gateway"] == "one"
    with pytest.raises(Conflict, match="Lift stop"):
        deploy(SYSTEM, production, next_version(agent, "Be kind."))
    commands.lift_stop(actor=SYSTEM, stop=found, reason="looked into it")
    fleet.settle()
    assert fleet.call("one", "greeter-production", key).status_code == 200


def test_a_lift_that_a_restored_studio_does_not_know_does_not_win(fleet: Fleet, agent: Agent, key: KeyText) -> None:
    stopped = stop(agent)
    fleet.settle()
    with restored_afterwards():
        commands.lift_stop(actor=SYSTEM, stop=stopped, reason="repaired")
        fleet.settle()
        assert fleet.call("one", "greeter-production", key).status_code == 200
    fleet.poll()
    fleet.settle()
    assert fleet.call("one", "greeter-production", key).status_code == 403
    assert Stop.objects.get().live


def test_a_stop_that_was_lifted_is_not_taken_up_again_from_a_gateway_that_comes_back(
    fleet: Fleet, agent: Agent, key: KeyText, production: Environment
) -> None:
    stopped = stop(agent)
    fleet.settle()
    one = fleet.processes["one"]
    forget_gateway(actor=SYSTEM, gateway=Gateway.objects.get(name="one"))
    commands.lift_stop(actor=SYSTEM, stop=stopped, reason="repaired")
    register_gateway(
        actor=SYSTEM, environment=production, name="one-again", address=one.address, deploy_token=one.token
    )
    fleet.poll()
    fleet.settle()
    stopped.refresh_from_db()
    assert not stopped.live
    assert placed(stopped)["one-again"].desired_digest == TOMBSTONE_DIGEST
    assert fleet.call("one", "greeter-production", key).status_code == 200


def test_a_forged_receipt_confirms_nothing(fleet: Fleet, agent: Agent) -> None:
    gateway = Gateway.objects.get(name="one")
    # As if another process answered there with the pinned identity and a key of its own.
    Gateway.objects.filter(pk=gateway.pk).update(public_key=Gateway.objects.get(name="two").public_key)
    stopped = stop(agent)
    fleet.reconcile()
    row = placed(stopped)["one"]
    assert not row.confirmed
    assert "its receipt is not signed with the key" in row.reason()
    assert not StopReceipt.objects.filter(stop=stopped, gateway="one").exists()
    accept_identity(actor=SYSTEM, gateway=gateway)
    fleet.poll()
    fleet.settle()
    assert placed(stopped)["one"].confirmed


class TestWhatStudioRefusesMeanwhile:
    def test_a_deploy_of_the_agent_names_the_stop(self, fleet: Fleet, agent: Agent, production: Environment) -> None:
        stopped = stop(agent, environment=production)
        version = next_version(agent, "Be kind.")
        with pytest.raises(Conflict) as refused:
            deploy(SYSTEM, production, version)
        assert refused.value.message.startswith("Greeter must not run in production: stopped by tests at ")
        assert refused.value.message.endswith(f": it insults people. Lift stop {stopped.public_id} first.")
        with pytest.raises(Conflict, match="must not run"):
            deploy(SYSTEM, production, agent.versions.get(number=1), redeploy=True)
        # Elsewhere it may run.
        assert deploy(SYSTEM, Environment.objects.get(slug="staging"), version).release is not None

    def test_a_stopped_release_leaves_the_others_alone(
        self, fleet: Fleet, agent: Agent, key: KeyText, production: Environment
    ) -> None:
        first = release_of(agent.versions.get())
        commands.stop_release(actor=SYSTEM, release=first, reason="it leaks its instructions")
        fleet.settle()
        assert fleet.call("one", "greeter-production", key).status_code == 403
        deployment = deploy(SYSTEM, production, next_version(agent, "Be kind."))
        fleet.settle()
        assert fleet.call("one", "greeter-production", key).status_code == 200
        with pytest.raises(Conflict, match="greeter version 1 must not run everywhere"):
            commands.rollback(actor=SYSTEM, deployment=deployment, to=first)

    def test_going_back_is_possible_under_the_stop_of_an_agent(
        self, fleet: Fleet, agent: Agent, key: KeyText, production: Environment
    ) -> None:
        first = release_of(agent.versions.get())
        deployment = deploy(SYSTEM, production, next_version(agent, "Be rude."))
        fleet.settle()
        stopped = stop(agent)
        commands.rollback(actor=SYSTEM, deployment=deployment, to=first)
        fleet.settle()
        assert fleet.call("one", "greeter-production", key).status_code == 403
        commands.lift_stop(actor=SYSTEM, stop=stopped, reason="went back")
        fleet.settle()
        assert fleet.call("one", "greeter-production", key).json()["release"] == first.digest

    def test_a_rollout_in_waves_waits_for_a_person(self, fleet: Fleet, agent: Agent, production: Environment) -> None:
        waves = Plan("waves", steps_from_text("1, 100 %", soak_s=3600))
        version = next_version(agent, "Be kind.")
        deployment = deploy(SYSTEM, production, version, plan=waves)
        fleet.reconcile()
        stopped = stop(agent)
        rollout = deployment.rollouts.get(state="progressing")
        assert rollout.paused
        assert rollout.pause_reason.startswith("stopped by tests at ")
        commands.lift_stop(actor=SYSTEM, stop=stopped, reason="a false alarm")
        assert deployment.rollouts.get(state="progressing").paused
        commands.resume(actor=SYSTEM, deployment=deployment)
        for _ in waves.steps:
            commands.force(actor=SYSTEM, deployment=deployment)
            fleet.settle()
            fleet.reconcile()
        assert deployment.rollouts.latest("generation").state == "succeeded"

    def test_what_goes_to_all_gateways_at_once_and_is_not_judged_needs_nobody_after_the_lift(
        self, fleet: Fleet, agent: Agent, key: KeyText, production: Environment
    ) -> None:
        deployment = deploy(SYSTEM, production, next_version(agent, "Be kind."))
        stopped = stop(agent)
        assert not deployment.rollouts.latest("generation").paused
        fleet.settle()
        assert deployment.rollouts.latest("generation").state == "succeeded"
        commands.lift_stop(actor=SYSTEM, stop=stopped, reason="a false alarm")
        fleet.settle()
        assert fleet.call("one", "greeter-production", key).json()["release"] == deployment.release.digest

    def test_what_is_judged_waits_for_a_person_also_where_it_went_to_all_at_once(
        self, fleet: Fleet, agent: Agent, production: Environment
    ) -> None:
        judged = Plan("all-at-once", steps_from_text("100 %", soak_s=3600), HealthGate())
        deployment = deploy(SYSTEM, production, next_version(agent, "Be kind."), plan=judged)
        stop(agent)
        assert deployment.rollouts.latest("generation").paused, "at once, and not at its next move"


class TestAnAuthor:
    def test_everything_they_own_is_stopped_and_nothing_new_is_deployed(
        self, acme: Inhabited, fleet: Fleet, agent: Agent, key: KeyText, production: Environment
    ) -> None:
        builder = acme.users["builder"]
        type(agent).objects.update(owner=builder)
        other, version = fleet.write_agent("other")
        fleet.deploy(version)
        fleet.settle()
        stopped = commands.stop_author(actor=SYSTEM, author=builder, reason="their laptop was stolen")
        fleet.settle()
        assert fleet.call("one", "greeter-production", key).status_code == 403
        assert fleet.call("one", "other-production", key).status_code == 200

        later, version = fleet.write_agent("later")
        type(later).objects.filter(pk=later.pk).update(owner=builder)
        with pytest.raises(Conflict, match="Lift stop"):
            deploy(SYSTEM, production, type(version).objects.get(pk=version.pk))
        with pytest.raises(Conflict, match=r"Everything that builder@acme\.example owns is stopped"):
            hand_over(actor=SYSTEM, agent=other, owner=builder)
        hand_over(actor=SYSTEM, agent=agent, owner=acme.users["admin"])
        with pytest.raises(Conflict, match="Lift stop"):
            deploy(SYSTEM, production, next_version(agent, "Escape."))
        assert stopped.slugs == ["greeter"]

    def test_one_who_owns_nothing_cannot_be_stopped(self, acme: Inhabited) -> None:
        with pytest.raises(Conflict, match="owns no agent"):
            commands.stop_author(actor=SYSTEM, author=acme.users["viewer"], reason="why not")


class TestWhatIsAsked:
    def test_a_reason(self, acme: Inhabited, fleet: Fleet) -> None:
        agent, _ = fleet.write_agent()
        for reason in ("", "  ", "x" * 1001, "a\x00b"):
            with pytest.raises(Invalid) as refused:
                commands.stop_agent(actor=SYSTEM, agent=agent, reason=reason)
            assert "reason" in refused.value.fields
        assert not Stop.objects.exists()

    def test_it_is_stopped_once(self, fleet: Fleet) -> None:
        agent, _ = fleet.write_agent()
        stopped = stop(agent)
        with pytest.raises(Conflict, match="is stopped everywhere already, by tests: it insults people"):
            stop(agent)
        commands.lift_stop(actor=SYSTEM, stop=stopped, reason="repaired")
        with pytest.raises(Conflict, match="was lifted by tests already"):
            commands.lift_stop(actor=SYSTEM, stop=stopped, reason="again")
        assert stop(agent).public_id != stopped.public_id
