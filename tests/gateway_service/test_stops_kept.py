"""What a gateway keeps of stops on its disk: through restarts, as receipts, and when the disk is damaged."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from contract.admin_api import GatewayState, Item, state_digest
from contract.envelope import Ed25519PublicKey, Receipt, generate_private_key, public_key_from_text, public_key_to_text
from contract.kinds import API_KEY, STOP, TOMBSTONE_DIGEST
from contract.stops import Stop
from tests.harness.gateway import AGENT, GatewayProcess, agent_release, error_of

MakeGateway = Callable[..., GatewayProcess]

STOP_ID = "5709a11ed0"


def verified(receipt: dict[str, Any], gateway_id: str, pinned: Ed25519PublicKey) -> bool:
    """What somebody who only has the pinned key can find out, with the gateway long gone."""
    statement = Receipt(
        gateway_id, receipt["kind"], receipt["name"], receipt["generation"], receipt["digest"], receipt["applied_at"]
    )
    return statement.verify(pinned, receipt["receipt"])


def test_it_stays_stopped_through_restarts_and_newer_releases(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release(version=1))
    key = studio.issue()
    studio.stop(AGENT, stop_id=STOP_ID)
    studio.place(AGENT, agent_release(version=2), 2)
    assert error_of(gateway.ask(key))["code"] == "stopped"
    before = studio.state(items=True)

    gateway.kill()
    gateway.start()

    assert error_of(gateway.ask(key))["code"] == "stopped"
    studio = gateway.admin()
    assert studio.state(items=True)["items"] == before["items"]
    assert studio.lift(STOP_ID).status_code == 200
    assert gateway.ask(key).json()["release"] == agent_release(version=2).digest
    assert studio.stop(AGENT, stop_id=STOP_ID)["outcome"] == "stale", "a lifted stop does not come back by a late push"
    assert gateway.ask(key).status_code == 200
    gateway.kill()
    gateway.start()
    assert gateway.ask(key).status_code == 200


def test_receipts_of_stops_can_be_verified_by_whoever_has_the_pinned_key(
    fresh_gateway: MakeGateway,
) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    state = studio.state()
    pinned, gateway_id = public_key_from_text(state["public_key"]), state["gateway_id"]
    stop = Stop(registrations=[AGENT])
    placed = studio.put(STOP, STOP_ID, stop, 3)
    other = studio.stop("other-test")
    lifted = studio.lift(other["name"], 2).json()
    gateway.kill()
    gateway.start()
    after = GatewayState.model_validate(gateway.admin().state(items=True))
    gateway.stop()

    assert after.items is not None
    held = {item.name: item for item in after.items if item.kind == "stop"}
    for acknowledged in (placed, lifted):
        item = held[acknowledged["name"]].model_dump()
        assert verified(item, gateway_id, pinned)
        assert verified(acknowledged, gateway_id, pinned)
        assert (item["receipt"], item["applied_at"]) == (acknowledged["receipt"], acknowledged["applied_at"])
        assert not verified({**item, "name": "ffffffffff"}, gateway_id, pinned)
        assert not verified(item, gateway_id, generate_private_key().public_key())
    assert held[STOP_ID].payload == stop.to_json()
    assert (held[other["name"]].payload, held[other["name"]].digest) == (None, TOMBSTONE_DIGEST)
    assert after.state_digest == state_digest(
        Item(**item.model_dump(include={"kind", "name", "generation", "digest", "tombstone"})) for item in after.items
    ), "what is attested does not count in the digest"


@pytest.mark.parametrize("damage", ["payload = x'7b7d'", "payload = NULL", "signature = 'x'", "generation = 9"])
def test_while_a_stop_cannot_be_read_nothing_runs(fresh_gateway: MakeGateway, damage: str) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release())
    studio.place("other-test", agent_release(slug="other"))
    key = studio.issue()
    stop = Stop(registrations=[AGENT])
    studio.put(STOP, STOP_ID, stop, 4)
    good = studio.state()["state_digest"]
    gateway.stop()
    with sqlite3.connect(gateway.data_dir / "store.sqlite") as store:
        store.execute(f"UPDATE placement SET {damage} WHERE kind = 'stop'")
    gateway.start()
    for name in (AGENT, "other-test"):
        refused = gateway.ask(key, name=name)
        assert (refused.status_code, error_of(refused)["code"]) == (503, "not_ready"), "nobody knows what it forbids"
        assert "Studio has placed it again" in error_of(refused)["message"]
    assert httpx.get(f"{gateway.address}/readyz").status_code == 503
    assert httpx.get(f"{gateway.address}/healthz").status_code == 200
    studio = gateway.admin()
    assert studio.state()["state_digest"] != good, "Studio must see that something is missing"
    assert studio.put(STOP, STOP_ID, stop, 4)["outcome"] == "applied"
    assert studio.state()["state_digest"] == good
    assert error_of(gateway.ask(key))["code"] == "stopped"
    assert gateway.ask(key, name="other-test").status_code == 200
    assert httpx.get(f"{gateway.address}/readyz").status_code == 200


def test_a_signature_by_a_key_that_was_replaced_is_replaced_by_the_same_push(fresh_gateway: MakeGateway) -> None:
    gateway = fresh_gateway().start()
    studio = gateway.admin()
    studio.place(AGENT, agent_release(), 3)
    key = studio.issue()
    studio.stop("other-test", stop_id=STOP_ID, generation=2)
    good = studio.state()["state_digest"]
    gateway.stop()
    gateway.organization_key = generate_private_key()
    gateway.extra["GATEWAY_TRUSTED_KEY"] = public_key_to_text(gateway.organization_key.public_key())
    gateway.start()
    studio = gateway.admin()
    assert gateway.ask(key).status_code == 401, "its key was signed with the old one"
    assert studio.place(AGENT, agent_release(), 3)["outcome"] == "applied"
    assert studio.stop("other-test", stop_id=STOP_ID, generation=2)["outcome"] == "applied"
    again = {"hash": key.hash, "scopes": ["*"]}
    studio.put(API_KEY, key.id, API_KEY.payload.parse(again), 1)
    assert gateway.ask(key).status_code == 200
    assert studio.state()["state_digest"] == good
