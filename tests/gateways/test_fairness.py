"""Nobody waits for another's gateways. With real scanners, and never by the clock: what counts is who comes first.

Whoever hangs is given up after ten seconds and more, four pushes at a time. So “before the last of its pushes was even
tried” is a promise about the order of things, and holds on the slowest machine.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from apps.core.secrets import encrypt
from apps.deployments.commands import stop_agent
from apps.deployments.stops.queries import status_of
from apps.gateways import due, reconcile
from apps.gateways.client import GatewayUnreachable
from apps.gateways.commands import create_key, edit_environment
from apps.gateways.models import Environment, Gateway, Placement
from apps.gateways.reconcile import FALTERING, PER_GATEWAY, claim
from apps.gateways.recording import Result, record
from apps.gateways.scanner import LANES, LARGEST_SHARE
from contract.kinds import STOP, WORKFLOW
from tests.deployments.steps import SYSTEM, deploy, status
from tests.harness.fleet import Fleet
from tests.harness.holes import HangingGateways, black_hole
from tests.harness.scanning import becomes, scanner
from tests.harness.world import settled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.harness.world import Inhabited

NO_MODEL = "http://127.0.0.1:9/v1"
_numbers = itertools.count(1)


def once_answered(addresses: Sequence[str], environment: str = "staging") -> list[Gateway]:
    """Gateways at these addresses that were healthy when they were last seen, and are not polled in this story."""
    owner = Environment.objects.get(slug=environment)
    token, later = encrypt("a-token-of-some-length"), timezone.now() + timedelta(hours=1)
    seen = {"public_key": "its", "status": "healthy", "status_reason": "answers as agreed", "next_poll_at": later}
    rows = [
        Gateway(
            environment=owner, name=f"gone-{next(_numbers)}", address=address, deploy_token=token,
            gateway_id=f"gateway at {address}", **seen,
        )
        for address in addresses
    ]  # fmt: skip
    return Gateway.objects.bulk_create(rows)


def untried(gateways: Sequence[Gateway]) -> int:
    """How many things no worker has even begun to bring to these gateways."""
    return Placement.objects.unsettled().filter(gateway__in=gateways, fence=0).count()


@contextmanager
def fleet_of(world: Inhabited, folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(world, folder, NO_MODEL)
    try:
        yield fleet
    finally:
        fleet.stop()


@pytest.mark.slow
def test_a_tenant_that_deploys_to_two_hundred_gateways_that_hang_delays_no_other_tenant(
    live_organization: Inhabited, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        holes = stack.enter_context(HangingGateways(200))
        crowd = once_answered(holes.addresses)
        crowded = Fleet(live_organization, tmp_path, NO_MODEL)
        deploy(SYSTEM, Environment.objects.get(slug="staging"), crowded.write_agent()[1])
        neighbour = stack.enter_context(settled())
        fleet = stack.enter_context(fleet_of(neighbour, tmp_path))
        fleet.start_gateway("stage-1", "staging")
        stack.enter_context(scanner())
        becomes(lambda: sum(holes.pushes.values()) > 20, "the crowd is being served")

        deployment = deploy(SYSTEM, Environment.objects.get(slug="staging"), fleet.write_agent()[1])
        becomes(lambda: status(deployment).adjective == "running", "the neighbour's deploy")

        with live_organization.inside():
            assert untried(crowd) > 0, "the neighbour came last, and was first"
            assert max(holes.most.values()) == 1


@pytest.mark.slow
def test_gateways_that_hang_or_swallow_connections_delay_no_other_of_their_environment(
    live_organization: Inhabited, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        holes = stack.enter_context(HangingGateways(1))
        dead = once_answered([*holes.addresses, stack.enter_context(black_hole())])
        fleet = stack.enter_context(fleet_of(live_organization, tmp_path))
        fleet.start_gateway("stage-1", "staging")
        # Two scanners share the work, and the limit for each gateway.
        stack.enter_context(scanner())
        stack.enter_context(scanner())
        becomes(lambda: Gateway.objects.get(name="stage-1").status == "healthy", "the gateway that works")
        staging = Environment.objects.get(slug="staging")
        for number in range(4 * PER_GATEWAY):
            create_key(actor=SYSTEM, environment=staging, name=f"key {number}")
        deployment = deploy(SYSTEM, staging, fleet.write_agent()[1])

        works = Placement.objects.unsettled().filter(gateway__name="stage-1")
        becomes(lambda: not works.exists(), "everything on the gateway that works")

        assert untried(dead) > 0
        assert status(deployment).adjective == "progressing"
        becomes(lambda: max(holes.most.values(), default=0) > 0, "the one that hangs is tried")
        assert max(holes.most.values()) <= PER_GATEWAY


@pytest.mark.slow
def test_a_stop_reaches_who_works_before_those_that_hang_are_given_up(
    live_organization: Inhabited, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        holes = stack.enter_context(HangingGateways(int(LANES["urgent"] * LARGEST_SHARE) - 1))
        hanging = once_answered(holes.addresses)
        fleet = stack.enter_context(fleet_of(live_organization, tmp_path))
        fleet.start_gateway("stage-1", "staging")
        agent, version = fleet.write_agent()
        stack.enter_context(scanner())
        deployment = deploy(SYSTEM, Environment.objects.get(slug="staging"), version)
        process = fleet.processes["stage-1"]
        placed = (WORKFLOW.name, deployment.registration)
        becomes(lambda: placed in process.admin().living(), "what is to be stopped")

        stopped = stop_agent(actor=SYSTEM, agent=agent, reason="it insults people")
        there = Placement.objects.of(STOP.name, stopped.public_id)
        becomes(lambda: there.get(gateway__name="stage-1").confirmed, "the stop where it can be confirmed")

        assert not there.filter(attempts__gt=0).exists(), "the others are still being waited for"
        missing = {each.name for each in status_of(stopped).missing}
        assert missing == {gateway.name for gateway in hanging}, "and are named"


@pytest.mark.slow
def test_a_back_off_outlives_the_scanner_that_set_it(live_organization: Inhabited, tmp_path: Path) -> None:
    with ExitStack() as stack:
        holes = stack.enter_context(HangingGateways(1))
        (gone,) = once_answered(holes.addresses)
        fleet = stack.enter_context(fleet_of(live_organization, tmp_path))
        create_key(actor=SYSTEM, environment=gone.environment, name="shop")
        (claimed,) = claim(reconcile.ORDINARY, limit=1)
        record(Result(claimed, GatewayUnreachable("timed-out", "no answer")))
        later = timezone.now() + timedelta(minutes=10)
        Placement.objects.update(next_attempt_at=later)
        waiting = Placement.objects.values().get()

        for _ in range(2):
            with scanner() as running:
                fleet.start_gateway(f"stage-{next(_numbers)}", "staging")
                becomes(lambda: not Gateway.objects.filter(status="pending").exists(), "a scanner that is at work")
                running.stop()
        assert Placement.objects.filter(gateway=gone).values().get() == waiting
        assert not holes.received


@pytest.fixture
def lone(acme: Inhabited, tmp_path: Path) -> Iterator[Fleet]:
    """One gateway of acme that answered once, reconciled step by step."""
    with fleet_of(acme, tmp_path) as fleet:
        fleet.start_gateway("stage-1", "staging")
        fleet.reconcile()
        yield fleet


def test_a_circuit_opens_tries_once_and_closes(lone: Fleet) -> None:
    process = lone.processes["stage-1"]
    process.kill()
    staging = Environment.objects.get(slug="staging")
    for number in range(PER_GATEWAY + 2):
        create_key(actor=SYSTEM, environment=staging, name=f"key {number}")

    for claimed in claim(reconcile.ORDINARY, limit=100):
        reconcile.push(claimed)
    opened = _open_for_s()
    assert opened > 0, "four failures in a row"
    assert _claim_all() == []

    _let_it_pass()
    (probe,) = _claim_all()
    assert _claim_all() == [], "one push tries the gateway, and the others wait for what it finds"
    reconcile.push(probe)
    assert _open_for_s() > opened, "longer each time"

    process.start()
    _let_it_pass()
    (probe,) = _claim_all()
    reconcile.push(probe)
    assert Gateway.objects.get().circuit_open_until is None
    lone.reconcile()
    Placement.objects.unsettled().update(next_attempt_at=timezone.now())
    lone.reconcile()
    assert not Placement.objects.unsettled().exists()


def test_a_poll_that_is_answered_closes_the_circuit(lone: Fleet) -> None:
    Gateway.objects.update(circuit_failures=9, circuit_open_until=timezone.now() + timedelta(seconds=30))
    lone.poll()
    assert Gateway.objects.get().circuit_open_until is None
    assert Gateway.objects.get().circuit_failures == 0


@pytest.mark.parametrize("interval", [1, 5, 600])
def test_gateways_are_polled_as_often_as_their_environment_says(lone: Fleet, interval: int) -> None:
    staging = Environment.objects.get(slug="staging")
    edit_environment(actor=SYSTEM, environment=staging, name="Staging", order=1, poll_interval_s=interval)
    lone.poll()
    _expect_next_poll(interval)

    lone.processes["stage-1"].kill()
    for pause in (1, 2):
        lone.poll()
        # One request may have been lost on the way.
        _expect_next_poll(min(interval, pause))
    for factor in (1, 2, 4, 8):
        lone.poll()
        # Less often while it is away; but not much, so that its return is soon noticed.
        _expect_next_poll(min(interval * factor, max(interval, 15)))
    assert due.earliest() == Gateway.objects.get().next_poll_at, "the tenant is visited for nothing else"


def _expect_next_poll(seconds: float) -> None:
    row = Gateway.objects.get()
    assert row.last_polled_at is not None
    assert (row.next_poll_at - row.last_polled_at).total_seconds() == pytest.approx(seconds, rel=0.06)


def _claim_all() -> list[reconcile.Claim]:
    Placement.objects.unsettled().filter(lease_until=None).update(next_attempt_at=timezone.now())
    return [each for lane in (reconcile.ORDINARY, FALTERING) for each in claim(lane, limit=100)]


def _open_for_s() -> float:
    until = Gateway.objects.get().circuit_open_until
    return (until - timezone.now()).total_seconds() if until else 0.0


def _let_it_pass() -> None:
    Gateway.objects.update(circuit_open_until=timezone.now())
