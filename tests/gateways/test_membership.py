"""Gateways that join an environment and leave it: with what they get, what they lose, and who comes in between."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from apps.audit.models import Event
from apps.core.tenancy import tenant
from apps.deployments import commands
from apps.gateways import polling
from apps.gateways.commands import (
    accept_identity,
    create_environment,
    create_key,
    forget_gateway,
    register_gateway,
    remove_gateway,
    revoke_key,
)
from apps.gateways.models import CallerKey, Environment, Gateway, Placement
from contract.kinds import TOMBSTONE_DIGEST
from tests.deployments.steps import SYSTEM, deploy, fresh, next_version, release_of
from tests.doubles.model_server import ModelServer, Reply
from tests.gateways.test_reconciling import call
from tests.harness.fleet import Fleet
from tests.harness.scanning import becomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.gateway import GatewayProcess
    from tests.harness.world import Inhabited


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def fleet(acme: Inhabited, tmp_path: Path, model: ModelServer) -> Iterator[Fleet]:
    started = Fleet(acme, tmp_path, model.base_url)
    yield started
    started.stop()


@pytest.fixture
def staging(acme: Inhabited) -> Environment:
    return Environment.objects.get(slug="staging")


def living(process: GatewayProcess) -> dict[str, str]:
    """Digests of what a gateway holds, by name, without what is gone."""
    return {name: digest for (_, name), digest in process.admin().living().items()}


# Joining.


def test_who_joins_receives_everything_that_runs_there_and_nothing_else(
    acme: Inhabited, fleet: Fleet, staging: Environment
) -> None:
    approver = acme.actor("approver")
    runs, back, gone, elsewhere = (fleet.write_agent(slug)[1] for slug in ("runs", "back", "gone", "elsewhere"))
    deploy(SYSTEM, staging, runs)
    deploy(SYSTEM, staging, back)
    rolled_back = deploy(SYSTEM, staging, next_version(back.agent, "Say two."))
    commands.rollback(actor=approver, deployment=rolled_back, to=release_of(back))
    commands.undeploy(actor=approver, deployment=deploy(SYSTEM, staging, gone))
    deploy(SYSTEM, Environment.objects.get(slug="production"), elsewhere)
    kept, text = create_key(actor=SYSTEM, environment=staging, name="kept")
    ended, _ = create_key(actor=SYSTEM, environment=staging, name="ended")
    revoke_key(actor=SYSTEM, key=ended)
    expired, _ = create_key(actor=SYSTEM, environment=staging, name="expired")
    CallerKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now())

    process = fleet.start_gateway("stage-1", "staging")
    fleet.reconcile()

    assert living(process).keys() == {"runs-staging", "back-staging", kept.public_id}
    assert living(process)["back-staging"] == release_of(back).digest, "what was rolled back stays so"
    assert call(process, text.text) == 200


def test_who_joins_with_things_on_it_keeps_only_what_runs_there(fleet: Fleet, staging: Environment) -> None:
    """A gateway that was forgotten here, and comes back with all that it held then, and at higher generations."""
    process = fleet.start_gateway("stage-1", "staging")
    agent, first = fleet.write_agent()
    deployment = deploy(SYSTEM, staging, first)
    key, text = create_key(actor=SYSTEM, environment=staging, name="shop")
    fleet.reconcile()
    identity = Gateway.objects.get().gateway_id
    forget_gateway(actor=SYSTEM, gateway=Gateway.objects.get())
    revoke_key(actor=SYSTEM, key=key)
    second = next_version(agent, "Say two.")
    deploy(SYSTEM, staging, second)
    assert call(process, text.text) == 200, "forgotten, it goes on with what it has"

    fleet.register("again", process, "staging")
    fleet.poll()
    fleet.poll()

    assert Gateway.objects.get().gateway_id == identity
    assert living(process) == {fresh(deployment).registration: release_of(second).digest}
    assert call(process, text.text) == 401
    assert not Placement.objects.unsettled().exists()


def test_a_gateway_that_a_person_forgets_together_with_its_environment_is_no_error(fleet: Fleet) -> None:
    environment = create_environment(actor=SYSTEM, name="Short-lived", slug="shortlived")
    assert not polling._finish_leaving(uuid4(), environment.pk)
    environment.delete()
    assert not polling._finish_leaving(uuid4(), environment.pk)


def test_a_reinstalled_gateway_is_accepted_and_filled_anew(fleet: Fleet, staging: Environment) -> None:
    process = fleet.start_gateway("stage-1", "staging")
    deployment = deploy(SYSTEM, staging, fleet.write_agent()[1])
    fleet.reconcile()
    before = Gateway.objects.get().gateway_id
    process.kill()
    process.wipe_store()
    (process.data_dir / "identity.json").unlink()
    process.start()
    fleet.poll()
    assert Gateway.objects.get().status == "refused"
    assert living(process) == {}

    accept_identity(actor=SYSTEM, gateway=Gateway.objects.get())
    fleet.poll()

    assert Gateway.objects.get().gateway_id != before
    assert living(process).keys() == {deployment.registration}
    event = Event.objects.get(action="gateway.accept-identity")
    assert event.detail["gateway_id"] == before


@contextmanager
def committed_after(world: Inhabited, act: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Do something in a transaction of another thread, which commits when the block says so."""
    done, commit = threading.Event(), threading.Event()

    def work() -> None:
        with tenant(world.schema):
            try:
                with transaction.atomic():
                    act()
                    done.set()
                    assert commit.wait(30)
            finally:
                connections.close_all()

    with ThreadPoolExecutor(1) as threads:
        task = threads.submit(work)
        try:
            assert done.wait(30) or task.result(1)
            yield commit.set
        finally:
            commit.set()
            task.result(30)


def waits_for_a_lock() -> bool:
    """Whether some transaction of this database waits for another's lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.slow
@pytest.mark.parametrize("first", ["the deploy", "the gateway"])
def test_a_gateway_that_joins_while_a_deploy_commits_misses_nothing(
    live_organization: Inhabited, tmp_path: Path, first: str
) -> None:
    """Each in a transaction of its own; whoever comes second waits for the environment's row, and sees the other."""
    staging = Environment.objects.get(slug="staging")
    fleet = Fleet(live_organization, tmp_path, "http://127.0.0.1:9/v1")
    agent, old = fleet.write_agent()
    deploy(SYSTEM, staging, old)
    new = next_version(agent, "Say two.")
    acts: dict[str, Callable[[], Any]] = {
        "the deploy": lambda: deploy(SYSTEM, staging, new),
        "the gateway": lambda: register_gateway(
            actor=SYSTEM, environment=staging, name="joins", address="http://127.0.0.1:9", deploy_token="t" * 20
        ),
    }
    (second,) = acts.keys() - {first}

    def follow() -> None:
        with tenant(live_organization.schema):
            try:
                acts[second]()
            finally:
                connections.close_all()

    with committed_after(live_organization, acts[first]) as commit, ThreadPoolExecutor(1) as threads:
        task = threads.submit(follow)
        becomes(waits_for_a_lock, f"{second} waits for {first}")
        assert not task.done()
        commit()
        task.result(30)

    wanted = Placement.objects.get(gateway__name="joins", kind="workflow", name="greeter-staging")
    assert wanted.desired_digest == release_of(new).digest


# Leaving.


def test_who_leaves_finishes_what_runs_and_is_emptied_before_it_is_forgotten(
    fleet: Fleet, staging: Environment, model: ModelServer
) -> None:
    process = fleet.start_gateway("stage-1", "staging")
    stays = fleet.start_gateway("stage-2", "staging")
    deployment = deploy(SYSTEM, staging, fleet.write_agent()[1])
    key = fleet.issue_key("staging")
    thinking = threading.Event()
    model.reply = lambda _: Reply(["All", " done"], gate=thinking)

    with ThreadPoolExecutor(1) as callers:
        answer = callers.submit(fleet.call, "stage-1", deployment.registration, key)
        becomes(lambda: process.admin().state()["capacity"]["in_flight"] == 1, "an execution that runs")
        remove_gateway(actor=SYSTEM, gateway=Gateway.objects.get(name="stage-1"))
        fleet.poll()
        assert process.admin().state()["draining"] is True
        refused = fleet.call("stage-1", deployment.registration, key)
        assert refused.status_code in (401, 404, 503), "it takes nothing new"
        thinking.set()
        finished = answer.result(30)

    assert (finished.status_code, finished.json()["outputs"]["text"]) == (200, "All done")
    fleet.poll()
    assert list(Gateway.objects.values_list("name", flat=True)) == ["stage-2"]
    assert living(process) == {}
    assert living(stays).keys() == {deployment.registration, key.id}
    assert Event.objects.filter(action="gateway.leave", resource_label="stage-1").count() == 1


def test_who_leaves_gets_nothing_new_but_revocations(fleet: Fleet, staging: Environment) -> None:
    process = fleet.start_gateway("stage-1", "staging")
    fleet.start_gateway("stage-2", "staging")
    agent, first = fleet.write_agent()
    deploy(SYSTEM, staging, first)
    key = fleet.issue_key("staging")
    process.kill()
    remove_gateway(actor=SYSTEM, gateway=Gateway.objects.get(name="stage-1"))
    deploy(SYSTEM, staging, next_version(agent, "Say two."))
    fleet.issue_key("staging", name="later")
    revoke_key(actor=SYSTEM, key=CallerKey.objects.get(public_id=key.id))

    leaving = Placement.objects.filter(gateway__name="stage-1")
    assert set(leaving.values_list("desired_digest", flat=True)) == {TOMBSTONE_DIGEST}
    process.start()
    fleet.poll()
    fleet.poll()
    assert living(process) == {}
    assert not Gateway.objects.filter(name="stage-1").exists()


def test_a_dead_gateway_is_forgotten_by_force_and_the_log_says_what_it_still_held(
    acme: Inhabited, fleet: Fleet, staging: Environment
) -> None:
    process = fleet.start_gateway("stage-1", "staging")
    deployment = deploy(SYSTEM, staging, fleet.write_agent()[1])
    key = fleet.issue_key("staging")
    process.kill()
    forgotten = acme.api("owner").client.delete("/api/v1/gateways/stage-1/?force=true")
    assert forgotten.status_code == 204
    event = Event.objects.get(action="gateway.forget")
    assert event.actor_label == "owner@acme.example"
    assert set(event.detail["still_holds"]) == {f"workflow {deployment.registration}", f"api-key {key.id}"}
    assert not Gateway.objects.exists()
