"""The machinery under the wishes: claims, fences, back-off, the due-work table, fairness."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.core.tenancy import public
from apps.gateways import due
from apps.gateways.client import GatewayUnreachable
from apps.gateways.commands import create_key, register_gateway, revoke_key
from apps.gateways.models import Condition, Gateway, Placement
from apps.gateways.reconcile import (
    FALTERING,
    ORDINARY,
    PER_GATEWAY,
    URGENT,
    URGENT_FALTERING,
    Claim,
    claim,
    push,
    record_failure,
)
from apps.gateways.scanner import Scanner
from apps.tenants.models import DueWork
from tests.gateways.test_reconciling import call
from tests.harness.gateway import GatewayProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.gateways.models import CallerKey, Environment
    from contract.caller_keys import KeyText
    from tests.harness.world import Inhabited

BROKEN = GatewayUnreachable("connection-refused", "connection refused")


def claim_any() -> list[Claim]:
    """Claim in every lane."""
    lanes = (URGENT, ORDINARY, URGENT_FALTERING, FALTERING)
    return [each for lane in lanes for each in claim(lane, limit=100)]


@pytest.fixture
def key(acme: Inhabited, development: Environment) -> Callable[[], tuple[CallerKey, KeyText]]:
    return lambda: create_key(actor=acme.actor("owner"), environment=development, name="shop")


@pytest.fixture
def process(
    spawn: Callable[..., GatewayProcess], register: Callable[..., Gateway], reconcile: Callable[..., int]
) -> GatewayProcess:
    """A registered, healthy gateway."""
    started = spawn()
    register(started)
    reconcile()
    return started


@pytest.fixture
def lost(development: Environment, acme: Inhabited) -> Callable[[], Gateway]:
    """Make a gateway that answered once and whose address nobody listens at any more."""

    def make() -> Gateway:
        port = free_port()
        gateway = register_gateway(
            actor=acme.actor("owner"),
            environment=development,
            name=f"lost-{port}",
            address=f"http://127.0.0.1:{port}",
            deploy_token="a-token-of-some-length",
        )
        later = timezone.now() + timedelta(minutes=5)
        Gateway.objects.filter(pk=gateway.pk).update(
            gateway_id=f"gateway-{port}", public_key="its", status="healthy", next_poll_at=later
        )
        return gateway

    return make


def test_a_worker_that_dies_between_push_and_record_is_replaced(
    process: GatewayProcess, key: Callable[[], tuple[CallerKey, KeyText]]
) -> None:
    from apps.gateways.reconcile import _send, prepare

    _, text = key()
    (dead,) = claim(ORDINARY, limit=8)
    (errand,) = prepare([dead])
    _send(errand)  # the gateway has it, and nobody wrote that down
    assert call(process, text.text) == 200
    assert claim(ORDINARY, limit=8) == [], "leased"

    Placement.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    (second,) = claim(ORDINARY, limit=8)
    assert second.fence == dead.fence + 1
    push(second)

    placement = Placement.objects.get()
    assert placement.settled
    assert (placement.attempts, placement.lease_until) == (0, None)


def test_the_result_of_a_lost_claim_changes_nothing(
    lost: Callable[[], Gateway], key: Callable[[], tuple[CallerKey, KeyText]]
) -> None:
    lost()
    key()
    (slow,) = claim(ORDINARY, limit=8)
    Placement.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    (quick,) = claim(ORDINARY, limit=8)
    push(quick)
    before = Placement.objects.values().get()

    assert record_failure(slow, BROKEN) is False
    assert Placement.objects.values().get() == before


def test_a_newer_wish_takes_the_claim_away_from_the_older(
    acme: Inhabited, process: GatewayProcess, key: Callable[[], tuple[CallerKey, KeyText]]
) -> None:
    made, text = key()
    (older,) = claim(ORDINARY, limit=8)
    revoke_key(actor=acme.actor("owner"), key=made)
    (newer,) = claim(URGENT, limit=8)
    assert newer.fence == older.fence + 1
    push(newer)
    push(older)  # late, with the key that was revoked meanwhile

    assert call(process, text.text) == 401
    placement = Placement.objects.get()
    assert placement.status == "removed"


def test_failures_back_off_exponentially_say_why_and_heal_when_the_gateway_returns(
    process: GatewayProcess, key: Callable[[], tuple[CallerKey, KeyText]], reconcile: Callable[..., int]
) -> None:
    _, text = key()
    process.kill()
    delays = []
    for _ in range(5):
        Placement.objects.update(next_attempt_at=timezone.now())
        Gateway.objects.update(circuit_open_until=None)
        (claimed,) = claim_any()
        push(claimed)
        placement = Placement.objects.get()
        delays.append((placement.next_attempt_at - timezone.now()).total_seconds())
    assert placement.attempts == 5
    assert [round(delay / (2**power), 1) for power, delay in enumerate(delays)] == pytest.approx([1.0] * 5, abs=0.3)
    assert placement.status == "failed"
    assert placement.reason().startswith("connection refused, next try in ")
    first_since = placement.condition.since if placement.condition else None
    gateway = Gateway.objects.get()
    assert gateway.circuit_open_until is not None
    assert gateway.circuit_open_until > timezone.now()

    for status in ("degraded", "degraded", "unreachable"):
        due.poll_now(Gateway.objects.all())
        reconcile(rounds=1)
        gateway.refresh_from_db()
        assert gateway.status == status, "a missed poll or two is not yet a loss"
    assert gateway.status_reason == "connection refused"
    placement.refresh_from_db()
    assert placement.condition is not None
    assert placement.condition.since == first_since, "since says when it began, not when it was last tried"

    process.start()
    due.poll_now(Gateway.objects.all())
    reconcile()
    placement.refresh_from_db()
    assert placement.settled, "an answered poll ends the back-off"
    assert call(process, text.text) == 200


def test_a_revocation_is_tried_again_every_second_however_often_it_failed(
    acme: Inhabited, lost: Callable[[], Gateway], key: Callable[[], tuple[CallerKey, KeyText]]
) -> None:
    lost()
    made, _ = key()
    revoke_key(actor=acme.actor("owner"), key=made)
    for _ in range(12):
        Placement.objects.update(next_attempt_at=timezone.now())
        claimed = claim_any()
        assert len(claimed) == 1, "an open circuit does not hold revocations up"
        push(claimed[0])
        placement = Placement.objects.get()
        assert (placement.next_attempt_at - timezone.now()).total_seconds() < 1.1


def test_at_most_a_few_pushes_are_under_way_at_one_gateway_for_all_workers_together(
    lost: Callable[[], Gateway], key: Callable[[], tuple[CallerKey, KeyText]]
) -> None:
    lost()
    for _ in range(PER_GATEWAY + 3):
        key()
    assert len(claim(ORDINARY, limit=3)) == 3
    assert len(claim(ORDINARY, limit=100)) == PER_GATEWAY - 3
    assert claim(ORDINARY, limit=100) == []


def test_gateways_that_fail_wait_among_themselves(
    acme: Inhabited, lost: Callable[[], Gateway], key: Callable[[], tuple[CallerKey, KeyText]]
) -> None:
    sound, failing = lost(), lost()
    Gateway.objects.filter(pk=failing.pk).update(circuit_failures=1)
    made, _ = key()
    assert [each.gateway for each in claim(ORDINARY, limit=9)] == [sound.pk]
    assert [each.gateway for each in claim(FALTERING, limit=9)] == [failing.pk]
    revoke_key(actor=acme.actor("owner"), key=made)
    assert [each.gateway for each in claim(URGENT, limit=9)] == [sound.pk]
    assert [each.gateway for each in claim(URGENT_FALTERING, limit=9)] == [failing.pk]


def test_after_an_open_circuit_one_push_tries_the_gateway(
    lost: Callable[[], Gateway], key: Callable[[], tuple[CallerKey, KeyText]]
) -> None:
    lost()
    for _ in range(4):
        key()
    for claimed in claim(ORDINARY, limit=100):
        push(claimed)
    Placement.objects.update(next_attempt_at=timezone.now())
    assert claim_any() == [], "the circuit is open"
    Gateway.objects.update(circuit_open_until=timezone.now())
    assert len(claim_any()) == 1


def test_the_first_thing_of_each_gateway_comes_before_the_second_of_any(
    lost: Callable[[], Gateway], key: Callable[[], tuple[CallerKey, KeyText]]
) -> None:
    for _ in range(3):
        lost()
    for _ in range(3):
        key()
    claimed = claim(ORDINARY, limit=3)
    assert len({each.gateway for each in claimed}) == 3


def test_due_work_that_is_lowered_during_a_visit_stays_due(acme: Inhabited) -> None:
    due.lower(timezone.now() - timedelta(seconds=1))
    (turn,) = [each for each in due.claim(100) if each.schema == acme.schema]
    due.lower(timezone.now())  # a command commits while the scanner is about to say that nothing is left
    due.settle(turn, None)
    assert DueWork.objects.get(schema_name=acme.schema).due_at is not None
    (again,) = [each for each in due.claim(100) if each.schema == acme.schema]
    due.settle(again, None)
    assert DueWork.objects.get(schema_name=acme.schema).due_at is None


def test_a_visit_never_makes_work_later_than_somebody_else_wants_it(acme: Inhabited) -> None:
    soon, later = timezone.now() + timedelta(seconds=30), timezone.now() + timedelta(seconds=60)
    due.lower(timezone.now())
    (turn,) = [each for each in due.claim(100) if each.schema == acme.schema]
    due.lower(soon)
    due.settle(turn, later)
    due_at = DueWork.objects.get(schema_name=acme.schema).due_at
    assert due_at is not None
    assert due_at <= soon


def test_two_scanners_do_not_take_the_same_tenant(acme: Inhabited) -> None:
    due.lower(timezone.now())
    assert acme.schema in [each.schema for each in due.claim(100)]
    assert acme.schema not in [each.schema for each in due.claim(100)]


def test_a_scan_with_nothing_due_asks_one_question_and_enters_no_schema(acme: Inhabited) -> None:
    DueWork.objects.update(due_at=None)
    connection.set_schema_to_public()  # type: ignore[attr-defined]
    scanner = Scanner({"urgent": 1, "push": 1, "faltering": 1, "poll": 1})
    try:
        with CaptureQueriesContext(connection) as queries:
            assert scanner.scan() == 0
        asked = [query["sql"] for query in queries if "search_path" not in query["sql"]]
        assert len(asked) == 1
        assert "tenants_duework" in asked[0]
        assert acme.schema not in "".join(query["sql"] for query in queries)
    finally:
        for threads in scanner._threads.values():
            threads.shutdown()


def test_the_sweep_finds_due_work_that_the_table_lost(
    acme: Inhabited, lost: Callable[[], Gateway], key: Callable[[], tuple[CallerKey, KeyText]]
) -> None:
    lost()
    from apps.gateways.sweep import rebuild

    key()
    DueWork.objects.filter(schema_name=acme.schema).delete()
    rebuild()
    due_at = DueWork.objects.get(schema_name=acme.schema).due_at
    assert due_at is not None
    assert due_at <= timezone.now()


def test_a_condition_keeps_its_since_as_long_as_its_reason_stays() -> None:
    early, late = timezone.now() - timedelta(minutes=5), timezone.now()
    first = Condition.placed("connection-refused", "connection refused", early).written_over([])
    same = Condition.placed("connection-refused", "connection refused", late).written_over(first)
    other = Condition.placed("timed-out", "no answer within 10 s", late).written_over(same)
    assert Condition.from_json(same[0]).since == early
    assert Condition.from_json(other[0]).since == late
    assert len(other) == 1


def test_a_suspended_organization_goes_on_being_reconciled(
    acme: Inhabited,
    process: GatewayProcess,
    key: Callable[[], tuple[CallerKey, KeyText]],
    reconcile: Callable[..., int],
) -> None:
    from apps.core.actors import Actor
    from apps.tenants.commands import suspend

    made, text = key()
    reconcile()
    with public():
        suspend(actor=Actor.system(), organization=acme.organization, reason="unpaid")
    assert acme.client("owner").get("/gateways/").status_code == 403
    with acme.inside():
        revoke_key(actor=Actor.system(), key=made)
        reconcile()
    assert call(process, text.text) == 401


@pytest.mark.slow
def test_one_broken_schema_keeps_nobody_from_the_others(live_organization: Inhabited) -> None:
    from apps.tenants.owner import owner_connection

    with public():
        DueWork.objects.exclude(schema_name=live_organization.schema).update(due_at=None)
    due.lower()
    with owner_connection().cursor() as cursor:
        cursor.execute(f'ALTER TABLE "{live_organization.schema}".gateways_gateway RENAME TO elsewhere')
    connection.set_schema_to_public()  # type: ignore[attr-defined]
    scanner = Scanner({"urgent": 1, "push": 1, "faltering": 1, "poll": 1})
    try:
        assert scanner.scan() == 0
        with public():
            due_at = DueWork.objects.get(schema_name=live_organization.schema).due_at
        assert due_at is not None
        assert due_at > timezone.now() + timedelta(seconds=10)
    finally:
        for threads in scanner._threads.values():
            threads.shutdown()
