"""Every state says what it waits for, and when Studio acts next; none says only that something is wrong."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.template.loader import render_to_string
from django.utils import timezone

from apps.deployments.queries import ADJECTIVES, status_of
from apps.gateways import due
from apps.gateways.client import GatewayRejection
from apps.gateways.commands import accept_identity, create_key, register_gateway, remove_gateway, revoke_key
from apps.gateways.live import gateway_context
from apps.gateways.models import CallerKey, Environment, Gateway, Placement
from apps.gateways.placements import want_on_environment
from apps.gateways.queries import confirmations, key_status, shown_status
from apps.gateways.reconcile import FALTERING, ORDINARY, URGENT, claim
from apps.gateways.recording import Result, record
from contract.admin_api import Acknowledgement, Outcome
from contract.canonical import canonical_json
from contract.kinds import STOP
from contract.stops import Stop
from tests.deployments.steps import SYSTEM, deploy, fresh
from tests.harness.fleet import Fleet

if TYPE_CHECKING:
    from pathlib import Path

    from apps.core.actors import Actor
    from apps.gateways.reconcile import Claim
    from tests.harness.world import Inhabited

SOON = timedelta(seconds=40)


@pytest.fixture
def staging(acme: Inhabited) -> Environment:
    return Environment.objects.get(slug="staging")


@pytest.fixture
def owner(acme: Inhabited) -> Actor:
    return acme.actor("owner")


@pytest.fixture
def gateway(owner: Actor, staging: Environment) -> Gateway:
    """One that answered once; nothing is at its address, and nobody tries."""
    made = register_gateway(
        actor=owner, environment=staging, name="eu-1", address="http://127.0.0.1:9", deploy_token="t" * 20
    )
    seen: dict[str, Any] = {
        "gateway_id": "its-id", "public_key": "its-key", "status": "healthy", "status_reason": "answers as agreed",
        "last_seen_at": timezone.now(), "next_poll_at": timezone.now() + SOON,
    }  # fmt: skip
    Gateway.objects.filter(pk=made.pk).update(**seen)
    return Gateway.objects.get(pk=made.pk)


@pytest.fixture
def key(owner: Actor, staging: Environment, gateway: Gateway) -> CallerKey:
    return create_key(actor=owner, environment=staging, name="shop")[0]


def told(key: CallerKey, **gateway: Any) -> tuple[str, datetime | None]:
    """What the key's placement says, and when Studio acts next, with its gateway changed like this."""
    Gateway.objects.update(**gateway)
    placement = Placement.objects.select_related("gateway").get(name=key.public_id)
    return placement.reason(), placement.next_act_at


def test_a_thing_that_is_wanted_waits_for_its_turn_which_is_now(key: CallerKey) -> None:
    reason, moment = told(key)
    assert reason == "waits for its turn"
    assert moment is not None
    assert moment <= timezone.now()


def test_a_thing_on_its_way_says_when_it_is_tried_again_if_nobody_answers(key: CallerKey) -> None:
    claim(ORDINARY, limit=1)
    Placement.objects.update(lease_until=timezone.now() + SOON)
    reason, moment = told(key)
    assert reason == "is on its way, without an answer tried again in 40 s"
    assert moment == Placement.objects.get().lease_until


def test_a_thing_that_failed_says_why_and_when_it_is_tried_next(key: CallerKey) -> None:
    (claimed,) = claim(ORDINARY, limit=1)
    record(Result(claimed, GatewayRejection("node_forbidden", "it rejected this: the node Shell is not allowed")))
    Placement.objects.update(next_attempt_at=timezone.now() + SOON)
    reason, moment = told(key)
    assert reason == "it rejected this: the node Shell is not allowed, next try in 40 s"
    assert moment == Placement.objects.get().next_attempt_at
    assert Placement.objects.get().status == "failed"


def test_a_thing_behind_an_open_circuit_waits_for_its_end(key: CallerKey) -> None:
    opens = timezone.now() + SOON
    assert told(key, circuit_failures=4, circuit_open_until=opens) == (
        "waits, because eu-1 failed several times in a row, next try in 40 s",
        opens,
    )


def test_what_a_gateway_must_not_run_before_it_has_confirmed_a_stop_says_so(
    owner: Actor, staging: Environment, gateway: Gateway, key: CallerKey
) -> None:
    body = canonical_json(Stop(registrations=["greeter-staging"]).to_json())
    want_on_environment(staging, STOP.name, "0123456789abcdef01234567", body)
    assert claim(ORDINARY, limit=5) == []
    waits = confirmations(key)[0].reason
    assert waits == "waits until eu-1 has confirmed a stop, which goes first, asked again in 40 s"
    (stopping,) = Placement.objects.explained().filter(kind=STOP.name)
    assert stopping.reason() == "waits for its turn"


def test_what_waits_behind_a_stop_is_due_as_soon_as_the_stop_is_confirmed(
    acme: Inhabited, staging: Environment, gateway: Gateway, key: CallerKey
) -> None:
    stop_id = "0123456789abcdef01234567"
    body = canonical_json(Stop(registrations=["greeter-staging"]).to_json())
    want_on_environment(staging, STOP.name, stop_id, body)
    (claimed,) = claim(URGENT, limit=5)
    due.settle(due.look(acme.schema), timezone.now() + SOON)
    assert acme.schema not in {turn.schema for turn in due.claim(100)}
    assert record(Result(claimed, acknowledged(claimed)))
    assert acme.schema in {turn.schema for turn in due.claim(100)}
    assert [each.name for each in claim(ORDINARY, limit=5)] == [key.public_id]


def test_what_waits_behind_a_circuit_is_due_as_soon_as_one_push_has_got_through(
    acme: Inhabited, owner: Actor, staging: Environment, gateway: Gateway, key: CallerKey
) -> None:
    create_key(actor=owner, environment=staging, name="another shop")
    Gateway.objects.update(circuit_failures=4, circuit_open_until=timezone.now() - timedelta(seconds=1))
    (trial,) = claim(FALTERING, limit=5)
    due.settle(due.look(acme.schema), timezone.now() + SOON)
    assert acme.schema not in {turn.schema for turn in due.claim(100)}

    assert record(Result(trial, acknowledged(trial)))

    assert acme.schema in {turn.schema for turn in due.claim(100)}
    assert len(claim(ORDINARY, limit=5)) == 1


def test_what_a_stranger_was_refused_says_nothing_about_who_is_accepted(
    owner: Actor, gateway: Gateway, key: CallerKey
) -> None:
    (claimed,) = claim(ORDINARY, limit=1)
    record(Result(claimed, GatewayRejection("node_forbidden", "it rejected this")))
    Gateway.objects.update(circuit_failures=4, circuit_open_until=timezone.now() + SOON)
    assert Placement.objects.get().status == "failed"

    accept_identity(actor=owner, gateway=Gateway.objects.get())

    placement = Placement.objects.get()
    assert (placement.status, placement.attempts) == ("progressing", 0)
    assert placement.condition is not None
    assert placement.condition.message == "waits for its turn"
    found = Gateway.objects.get()
    assert (found.circuit_failures, found.circuit_open_until) == (0, None)


def acknowledged(claimed: Claim) -> Acknowledgement:
    """What a gateway says that holds what was pushed."""
    return Acknowledgement(
        registration_id="r", kind=claimed.kind, name=claimed.name, generation=claimed.generation,
        digest=claimed.digest, outcome=Outcome.APPLIED, applied_at="2026-01-01T00:00:00.000+00:00", receipt="its",
    )  # fmt: skip


def test_a_revocation_waits_for_no_circuit(owner: Actor, key: CallerKey) -> None:
    revoke_key(actor=owner, key=key)
    reason, moment = told(key, circuit_failures=4, circuit_open_until=timezone.now() + SOON)
    assert reason == "waits for its turn"
    assert moment is not None
    assert moment <= timezone.now()


def test_a_thing_for_a_gateway_that_never_answered_waits_for_the_next_poll(key: CallerKey) -> None:
    reason, moment = told(key, gateway_id="", public_key="", status="pending")
    assert reason == "waits for the first answer of eu-1, asked again in 40 s"
    assert moment == Gateway.objects.get().next_poll_at


def test_a_thing_for_a_refused_gateway_says_what_a_person_has_to_do(key: CallerKey) -> None:
    reason, moment = told(key, status="refused", status_reason="it does not accept the deploy token")
    assert reason == "waits until eu-1 is accepted again: it does not accept the deploy token, asked again in 40 s"
    assert moment == Gateway.objects.get().next_poll_at


def test_what_is_as_wanted_waits_for_nothing(key: CallerKey) -> None:
    row = Placement.objects.get()
    Placement.objects.update(observed_generation=row.desired_generation, observed_digest=row.desired_digest)
    assert told(key)[1] is None


@pytest.mark.parametrize("status", list(Gateway.Status))
def test_every_status_of_a_gateway_has_a_reason_and_a_next_look(
    acme: Inhabited, gateway: Gateway, status: Gateway.Status
) -> None:
    Gateway.objects.update(status=status, status_reason=f"why it is {status}")
    row = Gateway.objects.select_related("environment").get()
    assert shown_status(row) == (status, f"why it is {status}")
    page = render_to_string("gateways/live/gateway.html", gateway_context(row))
    assert f"why it is {status}" in page
    assert "every 5 s" in page
    said = acme.api("owner").get("/gateways/eu-1/").json()
    assert said["status_reason"] == f"why it is {status}"
    assert said["next_poll_at"] is not None


@pytest.mark.parametrize("status", list(Gateway.Status))
def test_a_gateway_that_leaves_says_what_is_left_to_do(
    owner: Actor, gateway: Gateway, key: CallerKey, status: Gateway.Status
) -> None:
    remove_gateway(actor=owner, gateway=gateway)
    Gateway.objects.update(status=status, status_reason="why")
    adjective, reason = shown_status(Gateway.objects.get())
    assert adjective == "removing"
    assert reason.startswith("1 thing has still to be taken off it")
    assert ("why" in reason) is not Gateway.objects.get().reachable


def test_every_state_of_a_key_has_a_reason_and_names_who_has_not_confirmed(
    owner: Actor, staging: Environment, key: CallerKey
) -> None:
    def now() -> tuple[str, str]:
        row = CallerKey.objects.get()
        return key_status(row, confirmations(row))

    def confirm() -> None:
        row = Placement.objects.get()
        Placement.objects.update(observed_generation=row.desired_generation, observed_digest=row.desired_digest)

    assert now() == ("progressing", "0 of 1 gateways accept it; not yet: eu-1")
    confirm()
    assert now() == ("active", "its gateway accepts it")
    CallerKey.objects.update(expires_at=timezone.now() + timedelta(days=1))
    assert now()[0] == "expiring"
    CallerKey.objects.update(expires_at=timezone.now() - timedelta(days=1))
    assert now() == ("expired", "gateways refuse it since")
    revoke_key(actor=owner, key=key)
    assert now() == ("revoking", "eu-1 has not confirmed yet")
    assert [each.reason for each in confirmations(key)] == ["waits for its turn"]
    confirm()
    assert now() == ("revoked", "every gateway has confirmed")
    Placement.objects.all().delete()
    assert now() == ("revoked", "no gateway ever had it")
    CallerKey.objects.update(revoked_at=None, expires_at=None)
    assert now()[0] == "waiting"


def test_every_adjective_of_a_deployment_has_a_reason(acme: Inhabited, staging: Environment, tmp_path: Path) -> None:
    """The adjectives themselves are reached in `tests/deployments`; here none may come without words."""
    fleet = Fleet(acme, tmp_path, "http://127.0.0.1:9/v1")
    deployment = deploy(SYSTEM, staging, fleet.write_agent()[1])
    status = status_of(fresh(deployment))
    assert status.adjective in ADJECTIVES
    assert status.reason == "version 1 waits for a gateway in staging; register one"
