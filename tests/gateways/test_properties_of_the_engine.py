"""The reconciler against a model: whatever overtakes, dies, or comes late, in the end every gateway is right.

Two real gateways; workers, polls and restores in pieces, so that anything can happen between any two of them. A backup
of Studio is a savepoint of the database and its restore a return to it: everything that Studio knows is older then.

`KAIZEN_PROPERTY_EXAMPLES=300` searches longer, and elsewhere each time.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apps.deployments import commands
from apps.deployments.models import Deployment, Rollout
from apps.gateways import due, polling, reconcile
from apps.gateways.caller_keys import key_body
from apps.gateways.client import GatewayClient, GatewayProblem
from apps.gateways.commands import create_key, revoke_key
from apps.gateways.models import CallerKey, Environment, Gateway, Placement
from apps.gateways.recording import Result, record
from contract.canonical import digest_of
from contract.generations import Stamp
from contract.kinds import API_KEY, TOMBSTONE_DIGEST, WORKFLOW
from tests.deployments.steps import next_version, release_of
from tests.harness.fleet import Fleet
from tests.harness.properties import searching
from tests.harness.wire import OnTheWire, SlowClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from apps.agents.models import AgentVersion
    from apps.core.actors import Actor
    from apps.gateways.reconcile import Claim
    from contract.admin_api import Acknowledgement
    from tests.harness.world import Inhabited

LANES = (reconcile.URGENT, reconcile.ORDINARY, reconcile.URGENT_FALTERING, reconcile.FALTERING)
GATEWAYS = st.sampled_from(["one", "two"])
SOME = st.integers(min_value=0, max_value=50)
RESTARTS = 2
_numbers = count(1)


@dataclass(frozen=True)
class Model:
    """What people decided last, as far as Studio can still know it.

    Attributes:
        release: what should run: the number of a version; None for nothing.
        revoked: public ids of keys that were revoked.
    """

    release: int | None = None
    revoked: frozenset[str] = frozenset()


@dataclass
class Worker:
    """A worker in the middle of a push. `answer` is what the gateway said, once it was asked."""

    claim: Claim
    answer: Acknowledgement | GatewayProblem | None = None


class Engine(RuleBasedStateMachine):
    """Two gateways of one environment, an agent with three versions, and keys."""

    world: Inhabited
    fleet: Fleet
    owner: Actor
    environment: Environment

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.kept: tuple[str, Model] | None = None
        self.workers: list[Worker] = []
        self.wire: list[OnTheWire] = []
        self.stores: dict[str, Path] = {}
        self.down: set[str] = set()
        self.restarts = 0
        # Per gateway, what it was last seen to hold; begun anew where it lost something.
        self.seen: dict[str, dict[tuple[str, str], Stamp]] = {name: {} for name in self.fleet.processes}
        self.lost: set[str] = set()

    @initialize()
    def begin(self) -> None:
        self.start = transaction.savepoint()
        agent, first = self.fleet.write_agent(f"agent{next(_numbers)}")
        self.versions: list[AgentVersion] = [first, *(next_version(agent, f"Say {number}.") for number in (2, 3))]
        self.registration = f"{agent.slug}-{self.environment.slug}"
        self.deploy(0)
        self.make_a_key()
        self._come_to_rest()
        # So that every story can go back to somewhere, and often does.
        self.back_up_studio()
        for name in sorted(self.fleet.processes):
            self.back_up_a_gateway(name)

    def teardown(self) -> None:
        try:
            for name in sorted(self.down):
                self._start(name)
            self.everything_comes_to_rest_as_decided()
        finally:
            transaction.savepoint_rollback(self.start)

    # What people do.

    @rule(number=st.integers(0, 2))
    def deploy(self, number: int) -> None:
        commands.deploy(
            actor=self.owner,
            environment=self.environment,
            version=self.versions[number],
            release_hold=True,
            redeploy=True,
        )
        self.model = replace(self.model, release=number)

    @precondition(lambda self: self.model.release is not None)
    @rule(number=st.integers(0, 2))
    def roll_back(self, number: int) -> None:
        deployment = self._deployment()
        release = release_of(self.versions[number]) if self._ran(number) else None
        if release is None or deployment.release_id == release.pk:
            return
        commands.rollback(actor=self.owner, deployment=deployment, to=release)
        self.model = replace(self.model, release=number)

    @precondition(lambda self: self.model.release is not None)
    @rule()
    def undeploy(self) -> None:
        commands.undeploy(actor=self.owner, deployment=self._deployment())
        self.model = replace(self.model, release=None)

    @rule()
    def make_a_key(self) -> None:
        if CallerKey.objects.count() < 2:
            create_key(actor=self.owner, environment=self.environment, name="shop")

    @rule(choice=SOME)
    def revoke(self, choice: int) -> None:
        living = list(CallerKey.objects.filter(revoked_at=None).order_by("created_at"))
        if living:
            key = living[choice % len(living)]
            revoke_key(actor=self.owner, key=key)
            self.model = replace(self.model, revoked=self.model.revoked | {key.public_id})

    # What workers do, and what becomes of them.

    @rule(limit=st.integers(1, 4))
    def workers_claim(self, limit: int) -> None:
        Placement.objects.unsettled().filter(lease_until=None).update(next_attempt_at=timezone.now())
        Gateway.objects.update(circuit_open_until=None)
        for lane in LANES:
            for claimed in reconcile.claim(lane, limit=limit):
                self.workers.append(Worker(claimed))

    @rule()
    def workers_do_everything(self) -> None:
        self._push_everything()

    @precondition(lambda self: any(worker.answer is None for worker in self.workers))
    @rule(choice=SOME)
    def a_worker_sends(self, choice: int) -> None:
        waiting = [worker for worker in self.workers if worker.answer is None]
        worker = waiting[choice % len(waiting)]
        worker.answer = self._send(worker.claim)

    @precondition(lambda self: any(worker.answer is not None for worker in self.workers))
    @rule(choice=SOME)
    def a_worker_records(self, choice: int) -> None:
        answered = [worker for worker in self.workers if worker.answer is not None]
        worker = answered[choice % len(answered)]
        self.workers.remove(worker)
        if worker.answer is not None:
            record(Result(worker.claim, worker.answer))

    @precondition(lambda self: self.workers)
    @rule(choice=SOME, dies=st.booleans())
    def a_lease_runs_out(self, choice: int, dies: bool) -> None:
        """The worker is dead, or only slow: then it goes on, and comes too late."""
        worker = self.workers[choice % len(self.workers)]
        if dies:
            self.workers.remove(worker)
        over = timezone.now() - timedelta(seconds=1)
        Placement.objects.filter(pk=worker.claim.placement, fence=worker.claim.fence, lease_until__isnull=False).update(
            lease_until=over
        )

    @precondition(lambda self: self.wire)
    @rule(choice=SOME)
    def an_old_push_arrives_once_more(self, choice: int) -> None:
        with suppress(GatewayProblem):
            self.wire[choice % len(self.wire)].send()

    # What polls see, at once or too late.

    @rule(name=GATEWAYS)
    def poll(self, name: str) -> None:
        now = timezone.now()
        Gateway.objects.update(next_poll_at=now + timedelta(hours=1))
        Gateway.objects.filter(name=name).update(next_poll_at=now)
        for claimed in polling.claim_polls(1):
            polling.poll(claimed)

    @rule(name=GATEWAYS, acts=st.lists(st.sampled_from(["deploy", "push", "revoke", "replay", "poll"]), max_size=4))
    def a_poll_is_overtaken(self, name: str, acts: list[str]) -> None:
        remaining = list(acts)

        def meanwhile() -> None:
            for act in remaining[:2]:
                remaining.remove(act)
                self._overtake(act, name)

        gateway = Gateway.objects.select_related("environment").get(name=name)
        fast = GatewayClient.of(gateway)
        client = SlowClient(fast.address, fast.token, meanwhile)
        look = polling.Look(gateway, timezone.now())
        try:
            state = client.state()
            seen = polling.record_answer(look, state, 1.0)
            if seen is not None and seen.reachable and seen.state_digest != state.state_digest:
                polling.compare(look, client)
        except GatewayProblem as problem:
            polling.record_failure(look, problem)

    def _overtake(self, act: str, name: str) -> None:
        match act:
            case "deploy":
                self.deploy(len(self.wire) % 3)
            case "push":
                self._push_everything()
            case "revoke":
                self.revoke(0)
            case "replay" if self.wire:
                self.an_old_push_arrives_once_more(0)
            case "poll":
                self.poll(name)

    # What happens to gateways and to Studio.

    @rule(name=GATEWAYS)
    def back_up_a_gateway(self, name: str) -> None:
        folder = self.fleet.processes[name].data_dir
        path = folder.parent / f"backup-{next(_numbers)}"
        with sqlite3.connect(folder / "store.sqlite") as source, sqlite3.connect(path) as target:
            source.backup(target)
        self.stores[name] = path

    @precondition(lambda self: self.restarts < RESTARTS)
    @rule(name=GATEWAYS)
    def a_gateway_dies(self, name: str) -> None:
        if name not in self.down:
            self.restarts += 1
            self.down.add(name)
            self.fleet.processes[name].kill()

    @precondition(lambda self: self.down)
    @rule(fate=st.sampled_from(["as it was", "wiped", "restored"]))
    def a_gateway_comes_back(self, fate: str) -> None:
        name = min(self.down)
        if fate != "as it was":
            self.fleet.processes[name].wipe_store()
            self.seen[name] = {}
            self.lost.add(name)
        if fate == "restored" and name in self.stores:
            (self.fleet.processes[name].data_dir / "store.sqlite").write_bytes(self.stores[name].read_bytes())
        self._start(name)

    @rule()
    def back_up_studio(self) -> None:
        self.kept = (transaction.savepoint(), self.model)

    @precondition(lambda self: self.kept is not None)
    @rule(number=st.integers(0, 2), arrived=st.booleans())
    def restore_studio(self, number: int, arrived: bool) -> None:
        """After something was decided that the backup does not know, and that gateways may have heard of.

        Workers are stopped for a restore; what they have sent may still arrive.
        """
        self.deploy(number)
        if arrived:
            self._push_everything()
        if self.kept is not None:
            point, self.model = self.kept
            transaction.savepoint_rollback(point)
            self.workers.clear()

    # What must be true.

    @invariant()
    def generations_never_fall(self) -> None:
        for name, process in self.fleet.processes.items():
            if name in self.down:
                continue
            held = process.admin().holds()
            for thing, before in self.seen[name].items():
                now = held.get(thing, Stamp(0, ""))
                assert now.generation > before.generation or now == before, (
                    f"{name}: {thing} fell from {before} to {now}"
                )
            self.seen[name] = held

    @invariant()
    def studio_never_believes_in_more_than_there_is(self) -> None:
        """What was acknowledged is there: neither older, nor another content of the same generation."""
        for name in set(self.seen) - self.down - self.lost:
            for placement in Placement.objects.filter(gateway__name=name, observed_generation__gt=0):
                there = self.seen[name].get((placement.kind, placement.name), Stamp(0, ""))
                believed = Stamp(placement.observed_generation, placement.observed_digest)
                assert believed == there or believed.generation < there.generation, f"{placement}: {believed}, {there}"

    @precondition(lambda self: not self.down)
    @rule()
    def everything_comes_to_rest_as_decided(self) -> None:
        told = {
            name
            for process in self.fleet.processes.values()
            for (kind, name), stamp in process.admin().holds().items()
            if kind == API_KEY.name and stamp.digest == TOMBSTONE_DIGEST
        }
        ended = told | set(CallerKey.objects.exclude(revoked_at=None).values_list("public_id", flat=True))
        assert self.model.revoked <= ended
        self._come_to_rest()

        rows = CallerKey.objects.all()
        assert {key.public_id for key in rows if key.revoked_at} == ended & {key.public_id for key in rows}
        live = {(API_KEY.name, key.public_id): _digest_of(key) for key in rows if not key.revoked_at}
        if self.model.release is not None:
            live[(WORKFLOW.name, self.registration)] = release_of(self.versions[self.model.release]).digest
        for name, process in self.fleet.processes.items():
            assert process.admin().living() == live, f"{name} holds something else than was decided"
        for placement in Placement.objects.select_related("gateway"):
            there = self.fleet.processes[placement.gateway.name].admin().holds()[(placement.kind, placement.name)]
            assert placement.settled
            assert (placement.observed_generation, placement.observed_digest) == there
        assert not Rollout.objects.filter(state="progressing").exists()

    def _come_to_rest(self) -> None:
        """Nobody dies any more, nobody interferes: a few polls and pushes have to do."""
        self.workers.clear()
        for _ in range(4):
            now = timezone.now()
            Placement.objects.exclude(lease_until=None).update(lease_until=now - timedelta(seconds=1))
            Placement.objects.unsettled().update(next_attempt_at=now)
            Gateway.objects.update(circuit_failures=0, circuit_open_until=None)
            due.poll_now(Gateway.objects.all())
            self.fleet.reconcile()
        self.lost.clear()

    def _push_everything(self) -> None:
        self.workers_claim(8)
        for worker in list(self.workers):
            if worker.answer is None:
                worker.answer = self._send(worker.claim)
            self.a_worker_records(0)

    def _send(self, claimed: Claim) -> Acknowledgement | GatewayProblem:
        push = OnTheWire.of(Gateway.objects.get(pk=claimed.gateway), claimed)
        self.wire.append(push)
        try:
            return push.send()
        except GatewayProblem as problem:
            return problem

    def _start(self, name: str) -> None:
        self.fleet.processes[name].start()
        self.down.discard(name)

    def _deployment(self) -> Deployment:
        return Deployment.objects.get(registration=self.registration)

    def _ran(self, number: int) -> bool:
        return self._deployment().rollouts.filter(to_release__agent_version=self.versions[number]).exists()


def _digest_of(key: CallerKey) -> str:
    return digest_of(key_body(key))


@pytest.fixture
def fleet(acme: Inhabited, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    started = Fleet(acme, tmp_path_factory.mktemp("fleet"), "http://127.0.0.1:9/v1")
    for name in ("one", "two"):
        started.start_gateway(name, "staging")
    started.reconcile()
    yield started
    started.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_whatever_happens_every_gateway_ends_as_was_decided(acme: Inhabited, fleet: Fleet) -> None:
    members: dict[str, Any] = {
        "world": acme, "fleet": fleet, "owner": acme.actor("owner"),
        "environment": Environment.objects.get(slug="staging"),
    }  # fmt: skip
    run_state_machine_as_test(type("EngineOfAcme", (Engine,), members), settings=searching(6, steps=20))
