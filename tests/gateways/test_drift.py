"""Gateways that are not what Studio believes: wiped, restored, reinstalled, impostors, ahead. Each converges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from apps.audit.models import Event
from apps.gateways import due
from apps.gateways.commands import accept_identity, create_key, edit_gateway, revoke_key
from apps.gateways.models import CallerKey, Gateway, Placement
from contract.caller_keys import CallerKey as KeyDocument
from contract.caller_keys import KeyText
from contract.envelope import generate_private_key
from contract.kinds import API_KEY, TOMBSTONE_DIGEST
from tests.gateways.test_reconciling import call

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.core.actors import Actor
    from apps.gateways.models import Environment
    from tests.harness.gateway import GatewayProcess
    from tests.harness.world import Inhabited


@dataclass
class Site:
    """Acme's development environment, as somebody sees it who can get at the machines of its gateways."""

    owner: Actor
    development: Environment
    spawn: Callable[..., GatewayProcess]
    register: Callable[..., Gateway]
    reconcile: Callable[..., int]

    def key(self, name: str = "shop") -> tuple[CallerKey, KeyText]:
        return create_key(actor=self.owner, environment=self.development, name=name)

    def look(self) -> None:
        """Poll every gateway now and do what follows, until nothing is due."""
        for _ in range(2):
            due.poll_now(Gateway.objects.all())
            Placement.objects.unsettled().update(next_attempt_at=timezone.now())
            Gateway.objects.update(circuit_open_until=None, circuit_failures=0)
            self.reconcile()


@pytest.fixture
def site(
    acme: Inhabited,
    development: Environment,
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    reconcile: Callable[..., int],
) -> Site:
    return Site(acme.actor("owner"), development, spawn, register, reconcile)


def events(action: str) -> int:
    return Event.objects.filter(action=action).count()


def test_a_wiped_gateway_gets_everything_again(site: Site) -> None:
    process = site.spawn()
    gateway = site.register(process)
    _, text = site.key()
    site.look()
    assert call(process, text.text) == 200

    process.kill()
    process.wipe_store()
    process.start()
    assert call(process, text.text) == 401
    site.look()

    assert call(process, text.text) == 200
    assert events("gateway.drift") == 1
    assert Event.objects.get(action="gateway.drift").detail == {"lost": 1}
    gateway.refresh_from_db()
    assert gateway.status == "healthy"
    assert not Placement.objects.unsettled().exists()


def test_a_restart_without_loss_is_no_drift(site: Site) -> None:
    process = site.spawn()
    gateway = site.register(process)
    site.key()
    site.look()
    gateway.refresh_from_db()
    boot, fences = gateway.boot_id, list(Placement.objects.values_list("fence"))

    process.kill()
    process.start()
    site.look()

    gateway.refresh_from_db()
    assert gateway.boot_id != boot
    assert events("gateway.drift") == 0
    assert list(Placement.objects.values_list("fence")) == fences, "nothing was pushed again"


def test_a_gateway_restored_from_an_old_backup_converges(site: Site) -> None:
    process = site.spawn()
    site.register(process)
    kept, revoked = site.key("kept"), site.key("revoked later")
    site.look()
    process.stop()
    backup = {path.name: path.read_bytes() for path in process.data_dir.glob("*.sqlite*")}
    process.start()
    revoke_key(actor=site.owner, key=revoked[0])
    newer = site.key("made later")
    site.look()
    assert [call(process, text.text) for _, text in (kept, revoked, newer)] == [200, 401, 200]

    process.stop()
    process.wipe_store()
    for name, content in backup.items():
        (process.data_dir / name).write_bytes(content)
    process.start()
    assert [call(process, text.text) for _, text in (kept, revoked, newer)] == [200, 200, 401]
    site.look()

    assert [call(process, text.text) for _, text in (kept, revoked, newer)] == [200, 401, 200]
    assert Event.objects.get(action="gateway.drift").detail == {"altered": 1, "lost": 1}


def test_a_gateway_ahead_of_a_restored_studio_takes_studios_content_as_the_next_generation(site: Site) -> None:
    process = site.spawn()
    site.register(process)
    key, text = site.key()
    site.look()
    stranger = KeyText.generate(key.public_id)
    process.admin().put(API_KEY, key.public_id, KeyDocument.parse({"hash": stranger.hash, "scopes": ["*"]}), 41)
    assert call(process, text.text) == 401

    site.look()

    placement = Placement.objects.get(name=key.public_id)
    assert (placement.desired_generation, placement.observed_generation) == (42, 42)
    assert call(process, text.text) == 200
    assert call(process, stranger.text) == 401


def test_a_revocation_that_studio_forgot_stays_one_everywhere(site: Site) -> None:
    first, second = site.spawn(), site.spawn()
    site.register(first)
    site.register(second)
    key, text = site.key()
    site.look()
    assert [call(process, text.text) for process in (first, second)] == [200, 200]
    first.admin().delete(API_KEY, key.public_id, 7)

    site.look()

    key.refresh_from_db()
    assert key.revoked_at is not None
    assert events("caller-key.adopt-revocation") == 1
    assert [call(process, text.text) for process in (first, second)] == [401, 401]
    assert not Placement.objects.unsettled().exists()


def test_what_nobody_wants_is_taken_off(site: Site) -> None:
    process = site.spawn()
    site.register(process)
    site.look()
    intruder = process.admin().issue()
    assert call(process, intruder.text) == 200

    site.look()

    assert call(process, intruder.text) == 401
    assert Event.objects.get(action="gateway.drift").detail == {"unknown": 1}


def test_another_gateway_at_the_same_address_is_refused_until_accepted(site: Site) -> None:
    process = site.spawn()
    gateway = site.register(process)
    site.look()
    process.kill()
    (process.data_dir / "identity.json").unlink()
    process.wipe_store()
    process.start()
    _, text = site.key()

    site.look()
    gateway.refresh_from_db()
    assert gateway.status == "refused"
    assert gateway.status_reason == "another gateway answers at its address than the one that was registered"
    assert call(process, text.text) == 401, "nothing is pushed to a stranger"
    assert events("gateway.refuse") == 1

    accept_identity(actor=site.owner, gateway=gateway)
    site.look()
    gateway.refresh_from_db()
    assert gateway.status == "healthy"
    assert call(process, text.text) == 200


def test_one_gateway_cannot_be_registered_twice_under_two_addresses(site: Site) -> None:
    process = site.spawn()
    site.register(process, name="first")
    site.look()
    twin = site.register(process, name="second", address=f"http://localhost:{process.port}")
    site.look()
    twin.refresh_from_db()
    assert twin.status == "refused"
    assert twin.status_reason == f"what answers is the gateway first, which is registered at {process.address}"


def test_a_wrong_token_is_refused_with_its_reason_and_heals_when_corrected(site: Site) -> None:
    process = site.spawn()
    gateway = site.register(process, deploy_token="not-the-token-of-this-gateway")
    site.look()
    gateway.refresh_from_db()
    assert (gateway.status, gateway.status_reason) == ("refused", "it does not accept the deploy token")
    assert not gateway.gateway_id

    edit_gateway(actor=site.owner, gateway=gateway, address=gateway.address, deploy_token=process.token)
    site.look()
    gateway.refresh_from_db()
    assert gateway.status == "healthy"


def test_a_gateway_of_another_organization_takes_nothing(site: Site) -> None:
    process = site.spawn(organization_key=generate_private_key())
    site.register(process)
    site.key()
    site.look()
    placement = Placement.objects.get(kind="api-key")
    assert not placement.settled
    assert placement.condition is not None
    assert placement.condition.reason == "invalid-signature"
    assert process.admin().state()["registrations"] == 0


def test_a_poll_that_began_before_a_newer_one_was_recorded_is_discarded(site: Site) -> None:
    from apps.gateways.client import GatewayClient
    from apps.gateways.polling import Look, record_answer

    gateway = site.register(site.spawn())
    site.look()
    old = Look(Gateway.objects.select_related("environment").get(pk=gateway.pk), timezone.now())
    state = GatewayClient.of(old.gateway).state()
    site.look()
    later = Gateway.objects.get(pk=gateway.pk)
    assert record_answer(old, state, 1.0) is None
    assert record_answer(Look(later, timezone.now()), state.model_copy(update={"revision": -1}), 1.0) is None
    fresh = Gateway.objects.get(pk=gateway.pk)
    assert (fresh.last_polled_at, fresh.revision) == (later.last_polled_at, later.revision)


def test_a_comparison_whose_answer_gets_lost_is_made_again_soon_and_is_no_missed_poll(site: Site) -> None:
    from apps.gateways.client import GatewayClient
    from apps.gateways.polling import Look, compare_or_ask_again, record_answer

    process = site.spawn()
    gateway = site.register(process)
    site.key()
    site.look()
    process.kill()
    process.wipe_store()
    process.start()
    look = Look(Gateway.objects.select_related("environment").get(pk=gateway.pk), timezone.now())
    client = GatewayClient.of(look.gateway)
    assert record_answer(look, client.state(), 1.0) is not None
    process.kill()
    compare_or_ask_again(look, client)

    row = Gateway.objects.get(pk=gateway.pk)
    assert (row.status, row.consecutive_failures) == ("healthy", 0)
    assert row.next_poll_at - timezone.now() < timedelta(seconds=1.1), "and not after the environment's interval"
    assert (due.earliest() or row.next_poll_at) <= row.next_poll_at
    process.start()
    site.look()
    assert not Placement.objects.unsettled().exists()
    assert events("gateway.drift") == 1


def test_tombstones_count_in_the_digest_so_that_polls_find_nothing_to_compare(site: Site) -> None:
    process = site.spawn()
    gateway = site.register(process)
    key, _ = site.key()
    site.look()
    revoke_key(actor=site.owner, key=key)
    site.look()
    gateway.refresh_from_db()
    assert Placement.objects.get(name=key.public_id).observed_digest == TOMBSTONE_DIGEST
    assert gateway.state_digest == process.admin().state()["state_digest"]
