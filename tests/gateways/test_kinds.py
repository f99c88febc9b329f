"""A kind is one class: what it declares is all that the engine knows of it, and registering it is all it takes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

import pytest
from django.utils import timezone

from apps.core.errors import Invalid
from apps.gateways import due
from apps.gateways.adoption import adopt_found
from apps.gateways.items import apply_items, free_fences
from apps.gateways.kinds import KINDS, Kind, register
from apps.gateways.models import Gateway, Payload, Placement
from apps.gateways.placements import want, want_nothing, want_on_environment
from apps.gateways.reconcile import ORDINARY, URGENT, claim
from contract.admin_api import Item
from contract.canonical import canonical_json, digest_of
from contract.document import Document
from contract.envelope import Receipt, generate_private_key, public_key_to_text
from contract.kinds import TOMBSTONE_DIGEST
from contract.kinds import Kind as ContractKind
from contract.names import check_key_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from apps.gateways.models import Environment
    from tests.harness.world import Inhabited

NAME = "bell0000"
SIGNED_AT = "2026-01-01T00:00:00.000000Z"


class Bell(Document):
    """The payload of a kind that this product does not have."""

    tone: str


class Bells(Kind):
    """Everything that a kind can ask of the engine, asked for."""

    contract = ContractKind("bell", "bells", "bell", Bell, check_key_id, attested=True)
    overtakes = True
    outlasts_leaving = True
    found_wins = True
    adopted: ClassVar[list[str]] = []

    def adopt(self, placement: Placement) -> None:
        self.adopted.append(placement.name)


@pytest.fixture
def bells() -> Iterator[Bells]:
    """The kind, registered for the length of a test."""
    kind = Bells()
    register(kind)
    yield kind
    del KINDS[kind.name]
    Bells.adopted.clear()


@pytest.fixture
def signing() -> Ed25519PrivateKey:
    return generate_private_key()


@pytest.fixture
def gateway(acme: Inhabited, development: Environment, signing: Ed25519PrivateKey) -> Gateway:
    """A gateway that has introduced itself. Nothing is sent to it."""
    return Gateway.objects.create(
        environment=development, name="near", address="http://127.0.0.1:9", deploy_token="", gateway_id="gw-1",
        public_key=public_key_to_text(signing.public_key()),
    )  # fmt: skip


def body(tone: str = "low") -> bytes:
    return canonical_json({"tone": tone})


def item(signing: Ed25519PrivateKey, tone: str = "low", generation: int = 1) -> Item:
    """What a gateway says that holds a bell."""
    digest = digest_of(body(tone))
    receipt = Receipt("gw-1", "bell", NAME, generation, digest, SIGNED_AT).sign(signing)
    return Item(
        kind="bell", name=NAME, generation=generation, digest=digest, tombstone=False, applied_at=SIGNED_AT,
        receipt=receipt, payload={"tone": tone},
    )  # fmt: skip


def take_in(gateway: Gateway, *items: Item) -> None:
    apply_items(gateway, items, free_fences(gateway))
    adopt_found()


def test_its_payload_is_checked_before_it_is_wanted(bells: Bells, gateway: Gateway) -> None:
    with pytest.raises(Invalid, match="The bell “bell0000” cannot be placed on gateways: tone"):
        want(gateway=gateway, kind="bell", name=NAME, body=b"{}")


def test_what_overtakes_is_claimed_first_and_holds_everything_ordinary_back(bells: Bells, gateway: Gateway) -> None:
    key = Placement.objects.create(gateway=gateway, kind="api-key", name="0123456789", desired_digest="sha256:1")
    bell = want(gateway=gateway, kind="bell", name=NAME, body=body())
    assert bell.priority
    assert claim(ORDINARY, limit=10) == []
    (claimed,) = claim(URGENT, limit=10)
    assert claimed.name == NAME
    # Also while a worker is at it: an answer that is not there yet confirms nothing.
    assert claim(ORDINARY, limit=10) == []
    Placement.objects.filter(pk=bell.pk).update(observed_generation=1, observed_digest=digest_of(body()))
    assert [each.name for each in claim(ORDINARY, limit=10)] == [key.name]


def test_what_waits_behind_it_does_not_keep_the_scanner_awake(bells: Bells, gateway: Gateway) -> None:
    later = timezone.now() + timedelta(hours=1)
    Gateway.objects.update(next_poll_at=later)
    Placement.objects.create(gateway=gateway, kind="api-key", name="0123456789", desired_digest="sha256:1")
    want(gateway=gateway, kind="bell", name=NAME, body=body())
    soon = timezone.now() + timedelta(minutes=1)
    Placement.objects.filter(kind="bell").update(next_attempt_at=soon)
    assert due.earliest() == soon


def test_a_gateway_that_is_being_emptied_keeps_it_and_still_receives_it(bells: Bells, gateway: Gateway) -> None:
    want(gateway=gateway, kind="bell", name=NAME, body=body())
    Gateway.objects.update(leaving_at=timezone.now())
    gateway.refresh_from_db()
    want_nothing(gateway)
    assert not Placement.objects.get(kind="bell").tombstone
    (reached,) = want_on_environment(gateway.environment, "bell", NAME, body("high"))
    assert reached.desired_digest == digest_of(body("high"))


def test_one_that_studio_does_not_know_is_kept_and_adopted(
    bells: Bells, gateway: Gateway, signing: Ed25519PrivateKey
) -> None:
    take_in(gateway, item(signing))
    placement = Placement.objects.get(kind="bell")
    assert placement.confirmed
    assert bytes(Payload.objects.get(digest=placement.desired_digest).body) == body()
    assert bells.adopted == [NAME]
    adopt_found()
    assert bells.adopted == [NAME], "what was adopted once is not adopted again"


def test_an_adoption_that_dies_halfway_is_taken_up_again(
    bells: Bells, gateway: Gateway, signing: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: Bells, placement: Placement) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Bells, "adopt", die)
        with pytest.raises(SystemExit):
            take_in(gateway, item(signing))
    adopt_found()
    assert bells.adopted == [NAME]


@pytest.mark.parametrize("damage", [{"receipt": None}, {"generation": 2}, {"applied_at": "2026-01-01T00:00:01Z"}])
def test_without_a_genuine_receipt_a_thing_counts_as_not_there(
    bells: Bells, gateway: Gateway, signing: Ed25519PrivateKey, damage: dict[str, object]
) -> None:
    forged = item(signing).model_copy(update=damage)
    take_in(gateway, forged)
    assert not Placement.objects.filter(kind="bell").exists()
    want(gateway=gateway, kind="bell", name=NAME, body=body())
    take_in(gateway, forged)
    assert not Placement.objects.get(kind="bell").settled


def test_a_receipt_whose_answer_was_lost_comes_with_the_next_poll_and_ends_with_the_next_wish(
    bells: Bells, gateway: Gateway, signing: Ed25519PrivateKey
) -> None:
    want(gateway=gateway, kind="bell", name=NAME, body=body())
    take_in(gateway, item(signing))
    placement = Placement.objects.get(kind="bell")
    assert placement.confirmed
    assert (placement.receipt, placement.receipt_at) == (item(signing).receipt, SIGNED_AT)
    assert not want(gateway=gateway, kind="bell", name=NAME, body=None).receipt


def test_a_payload_that_is_not_what_its_digest_says_is_neither_adopted_nor_removed(
    bells: Bells, gateway: Gateway, signing: Ed25519PrivateKey
) -> None:
    take_in(gateway, item(signing).model_copy(update={"payload": {"tone": "other"}}))
    assert not Placement.objects.filter(kind="bell").exists()
    assert bells.adopted == []


def test_a_kind_that_declares_nothing_is_ordinary(gateway: Gateway, signing: Ed25519PrivateKey) -> None:
    class Whistles(Kind):
        contract = ContractKind("whistle", "whistles", "whistle", Bell, check_key_id)

    kind = register(Whistles())
    try:
        assert not want(gateway=gateway, kind=kind.name, name=NAME, body=body()).priority
        stranger = item(signing).model_copy(update={"kind": "whistle", "name": "stranger0"})
        take_in(gateway, stranger)
        assert Placement.objects.get(name="stranger0").desired_digest == TOMBSTONE_DIGEST
    finally:
        del KINDS[kind.name]
