"""Gateways that are not what Studio believes: wiped, restored, reinstalled, impostors, ahead. Each converges."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from apps.audit.models import Event
from apps.gateways import due
from apps.gateways.commands import accept_identity, create_key, edit_gateway, forget_gateway, remove_gateway, revoke_key
from apps.gateways.models import CallerKey, Gateway, Placement
from contract.caller_keys import CallerKey as KeyDocument
from contract.caller_keys import KeyText
from contract.envelope import generate_private_key
from contract.kinds import API_KEY, TOMBSTONE_DIGEST
from tests.gateways.test_reconciling import call

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.gateways.models import Environment
    from tests.harness.gateway import GatewayProcess
    from tests.harness.world import Inhabited

pytestmark = pytest.mark.usefixtures("acme")


@pytest.fixture
def look(reconcile: Callable[..., int]) -> Callable[[], None]:
    """Poll every gateway now and do what follows, until nothing is due."""

    def now() -> None:
        for _ in range(2):
            due.poll_now(Gateway.objects.all())
            Placement.objects.unsettled().update(next_attempt_at=timezone.now())
            Gateway.objects.update(circuit_open_until=None, circuit_failures=0)
            reconcile()

    return now


@pytest.fixture
def keys(acme: Inhabited, development: Environment) -> Callable[..., tuple[CallerKey, KeyText]]:
    def make(name: str = "shop") -> tuple[CallerKey, KeyText]:
        return create_key(actor=acme.actor("owner"), environment=development, name=name)

    return make


def events(action: str) -> int:
    return Event.objects.filter(action=action).count()


def test_a_wiped_gateway_gets_everything_again(
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    keys: Callable[..., tuple[CallerKey, KeyText]],
    look: Callable[[], None],
) -> None:
    process = spawn()
    gateway = register(process)
    _, text = keys()
    look()
    assert call(process, text.text) == 200

    process.kill()
    process.wipe_store()
    process.start()
    assert call(process, text.text) == 401
    look()

    assert call(process, text.text) == 200
    assert events("gateway.drift") == 1
    assert Event.objects.get(action="gateway.drift").detail == {"lost": 1}
    gateway.refresh_from_db()
    assert gateway.status == "healthy"
    assert not Placement.objects.unsettled().exists()


def test_a_restart_without_loss_is_no_drift(
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    keys: Callable[..., tuple[CallerKey, KeyText]],
    look: Callable[[], None],
) -> None:
    process = spawn()
    gateway = register(process)
    keys()
    look()
    gateway.refresh_from_db()
    boot, fences = gateway.boot_id, list(Placement.objects.values_list("fence"))

    process.kill()
    process.start()
    look()

    gateway.refresh_from_db()
    assert gateway.boot_id != boot
    assert events("gateway.drift") == 0
    assert list(Placement.objects.values_list("fence")) == fences, "nothing was pushed again"


def test_a_gateway_restored_from_an_old_backup_converges(
    acme: Inhabited,
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    keys: Callable[..., tuple[CallerKey, KeyText]],
    look: Callable[[], None],
) -> None:
    process = spawn()
    register(process)
    kept, revoked = keys("kept"), keys("revoked later")
    look()
    process.stop()
    backup = {path.name: path.read_bytes() for path in process.data_dir.glob("*.sqlite*")}
    process.start()
    revoke_key(actor=acme.actor("owner"), key=revoked[0])
    newer = keys("made later")
    look()
    assert [call(process, text.text) for _, text in (kept, revoked, newer)] == [200, 401, 200]

    process.stop()
    process.wipe_store()
    for name, content in backup.items():
        (process.data_dir / name).write_bytes(content)
    process.start()
    assert [call(process, text.text) for _, text in (kept, revoked, newer)] == [200, 200, 401]
    look()

    assert [call(process, text.text) for _, text in (kept, revoked, newer)] == [200, 401, 200]
    assert Event.objects.get(action="gateway.drift").detail == {"altered": 1, "lost": 1}


def test_a_gateway_ahead_of_a_restored_studio_takes_studios_content_as_the_next_generation(
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    keys: Callable[..., tuple[CallerKey, KeyText]],
    look: Callable[[], None],
) -> None:
    process = spawn()
    register(process)
    key, text = keys()
    look()
    stranger = KeyText.generate(key.public_id)
    process.admin().put(API_KEY, key.public_id, KeyDocument.parse({"hash": stranger.hash, "scopes": ["*"]}), 41)
    assert call(process, text.text) == 401

    look()

    placement = Placement.objects.get(name=key.public_id)
    assert (placement.desired_generation, placement.observed_generation) == (42, 42)
    assert call(process, text.text) == 200
    assert call(process, stranger.text) == 401


def test_a_revocation_that_studio_forgot_stays_one_everywhere(
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    keys: Callable[..., tuple[CallerKey, KeyText]],
    look: Callable[[], None],
) -> None:
    first, second = spawn(), spawn()
    register(first)
    register(second)
    key, text = keys()
    look()
    assert [call(process, text.text) for process in (first, second)] == [200, 200]
    first.admin().delete(API_KEY, key.public_id, 7)

    look()

    key.refresh_from_db()
    assert key.revoked_at is not None
    assert events("caller-key.adopt-revocation") == 1
    assert [call(process, text.text) for process in (first, second)] == [401, 401]
    assert not Placement.objects.unsettled().exists()


def test_what_nobody_wants_is_taken_off(
    spawn: Callable[..., GatewayProcess], register: Callable[..., Gateway], look: Callable[[], None]
) -> None:
    process = spawn()
    register(process)
    look()
    intruder = process.admin().issue()
    assert call(process, intruder.text) == 200

    look()

    assert call(process, intruder.text) == 401
    assert Event.objects.get(action="gateway.drift").detail == {"unknown": 1}


def test_another_gateway_at_the_same_address_is_refused_until_accepted(
    acme: Inhabited,
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    keys: Callable[..., tuple[CallerKey, KeyText]],
    look: Callable[[], None],
) -> None:
    process = spawn()
    gateway = register(process)
    look()
    process.kill()
    (process.data_dir / "identity.json").unlink()
    process.wipe_store()
    process.start()
    _, text = keys()

    look()
    gateway.refresh_from_db()
    assert gateway.status == "refused"
    assert gateway.status_reason == "another gateway answers at its address than the one that was registered"
    assert call(process, text.text) == 401, "nothing is pushed to a stranger"
    assert events("gateway.refuse") == 1

    accept_identity(actor=acme.actor("owner"), gateway=gateway)
    look()
    gateway.refresh_from_db()
    assert gateway.status == "healthy"
    assert call(process, text.text) == 200


def test_one_gateway_cannot_be_registered_twice_under_two_addresses(
    spawn: Callable[..., GatewayProcess], register: Callable[..., Gateway], look: Callable[[], None]
) -> None:
    process = spawn()
    register(process, name="first")
    look()
    twin = register(process, name="second", address=f"http://localhost:{process.port}")
    look()
    twin.refresh_from_db()
    assert twin.status == "refused"
    assert twin.status_reason == f"what answers is the gateway first, which is registered at {process.address}"


def test_a_wrong_token_is_refused_with_its_reason_and_heals_when_corrected(
    acme: Inhabited, spawn: Callable[..., GatewayProcess], register: Callable[..., Gateway], look: Callable[[], None]
) -> None:
    process = spawn()
    gateway = register(process, deploy_token="not-the-token-of-this-gateway")
    look()
    gateway.refresh_from_db()
    assert (gateway.status, gateway.status_reason) == ("refused", "it does not accept the deploy token")
    assert not gateway.gateway_id

    edit_gateway(actor=acme.actor("owner"), gateway=gateway, address=gateway.address, deploy_token=process.token)
    look()
    gateway.refresh_from_db()
    assert gateway.status == "healthy"


def test_a_gateway_of_another_organization_takes_nothing(
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    keys: Callable[..., tuple[CallerKey, KeyText]],
    look: Callable[[], None],
) -> None:
    process = spawn(organization_key=generate_private_key())
    register(process)
    keys()
    look()
    placement = Placement.objects.get(kind="api-key")
    assert not placement.settled
    assert placement.condition is not None
    assert placement.condition.reason == "invalid-signature"
    assert process.admin().state()["registrations"] == 0


def test_a_gateway_that_leaves_is_emptied_and_then_forgotten(
    acme: Inhabited,
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    keys: Callable[..., tuple[CallerKey, KeyText]],
    look: Callable[[], None],
) -> None:
    process = spawn()
    gateway = register(process)
    _, text = keys()
    look()
    assert call(process, text.text) == 200

    remove_gateway(actor=acme.actor("owner"), gateway=gateway)
    look()

    assert not Gateway.objects.exists()
    state = process.admin().state(items=True)
    assert state["draining"] is True
    assert [item["tombstone"] for item in state["items"]] == [True]
    assert events("gateway.leave") == 1


def test_a_dead_gateway_can_be_forgotten_and_the_log_says_what_it_still_held(
    acme: Inhabited,
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    keys: Callable[..., tuple[CallerKey, KeyText]],
    look: Callable[[], None],
) -> None:
    process = spawn()
    gateway = register(process)
    key, _ = keys()
    look()
    process.kill()
    forget_gateway(actor=acme.actor("owner"), gateway=gateway)
    assert not Gateway.objects.exists()
    assert Event.objects.get(action="gateway.forget").detail["still_holds"] == [f"api-key {key.public_id}"]


def test_a_joining_gateway_receives_the_living_keys_only(
    acme: Inhabited,
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    keys: Callable[..., tuple[CallerKey, KeyText]],
    look: Callable[[], None],
) -> None:
    (_, living), (revoked, revoked_text), (expired, _) = keys("living"), keys("revoked"), keys("expired")
    revoke_key(actor=acme.actor("owner"), key=revoked)
    CallerKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    process = spawn()
    register(process)
    look()
    assert call(process, living.text) == 200
    assert call(process, revoked_text.text) == 401
    assert [item["name"] for item in process.admin().state(items=True)["items"]] == [living.id]


def test_a_poll_that_began_before_a_newer_one_was_recorded_is_discarded(
    spawn: Callable[..., GatewayProcess], register: Callable[..., Gateway], look: Callable[[], None]
) -> None:
    from apps.gateways.client import GatewayClient
    from apps.gateways.polling import Look, record_answer

    gateway = register(spawn())
    look()
    old = Look(Gateway.objects.select_related("environment").get(pk=gateway.pk), timezone.now())
    state = GatewayClient.of(old.gateway).state()
    look()
    later = Gateway.objects.get(pk=gateway.pk)
    assert record_answer(old, state, 1.0) is None
    assert record_answer(Look(later, timezone.now()), state.model_copy(update={"revision": -1}), 1.0) is None
    fresh = Gateway.objects.get(pk=gateway.pk)
    assert (fresh.last_polled_at, fresh.revision) == (later.last_polled_at, later.revision)


def test_tombstones_count_in_the_digest_so_that_polls_find_nothing_to_compare(
    acme: Inhabited,
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    keys: Callable[..., tuple[CallerKey, KeyText]],
    look: Callable[[], None],
) -> None:
    process = spawn()
    gateway = register(process)
    key, _ = keys()
    look()
    revoke_key(actor=acme.actor("owner"), key=key)
    look()
    gateway.refresh_from_db()
    assert Placement.objects.get(name=key.public_id).observed_digest == TOMBSTONE_DIGEST
    assert gateway.state_digest == process.admin().state()["state_digest"]
