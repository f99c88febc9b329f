"""Overwriting what was observed with what a gateway says it holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from django.db.models import Q
from django.utils import timezone

from apps.gateways.kinds import kind_of
from apps.gateways.models import Condition, Gateway, Payload, Placement
from apps.gateways.receipts import genuine
from apps.gateways.recording import settle
from contract.canonical import canonical_json, digest_of
from contract.kinds import TOMBSTONE_DIGEST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contract.admin_api import Item

log = structlog.get_logger(__name__)

# Fences by (kind, name) of the placements that no worker was at when the gateway was asked.
Fences = dict[tuple[str, str], int]


@dataclass(slots=True)
class Drift:
    """What was different from what had been observed.

    Attributes:
        counts: by what happened: `lost`, `altered`, `unknown`, `found`.
        adoptions: how many things wait for `apps.gateways.adoption`.
    """

    counts: Counter[str] = field(default_factory=Counter)
    adoptions: int = 0


def free_fences(gateway: Gateway) -> Fences:
    """The fences before asking. A row that is leased, or whose fence moves meanwhile, knows better than the answer."""
    free = Q(lease_until=None) | Q(lease_until__lte=timezone.now())
    rows = Placement.objects.filter(free, gateway=gateway)
    return {(kind, name): fence for kind, name, fence in rows.values_list("kind", "name", "fence")}


def apply_items(gateway: Gateway, items: Iterable[Item], fences: Fences) -> Drift:
    """Make the observed state of a gateway's placements what it says. The caller has the gateway's row locked."""
    drift = Drift()
    held = {(item.kind, item.name): item for item in items if _proven(gateway, item)}
    rows = Placement.objects.filter(gateway=gateway)
    known = set(rows.values_list("kind", "name"))
    for placement in rows.unlocked().select_related("gateway"):
        key = (placement.kind, placement.name)
        if fences.get(key) == placement.fence:
            _overwrite(placement, held.get(key), drift)
    for key, item in held.items():
        if key not in known:
            _take_in(gateway, item, drift)
    return drift


def _proven(gateway: Gateway, item: Item) -> bool:
    """Whether an item counts. One of an attested kind does with a genuine receipt: without, it is pushed (again)."""
    kind = kind_of(item.kind)
    if kind is None or not kind.contract.attested or item.digest == TOMBSTONE_DIGEST:
        return True
    if genuine(gateway, item):
        return True
    log.warning("item_without_genuine_receipt", gateway=str(gateway), kind=item.kind, name=item.name)
    return False


def _overwrite(placement: Placement, item: Item | None, drift: Drift) -> None:
    observed = (item.generation, item.digest) if item is not None else (0, "")
    before = (placement.observed_generation, placement.observed_digest)
    if observed == before:
        return
    was_settled = placement.settled
    placement.observed_generation, placement.observed_digest = observed
    settle(placement)
    drift.adoptions += placement.adoption_due
    if item is not None and placement.settled and genuine(placement.gateway, item):
        placement.keep_receipt(item.receipt or "", item.applied_at or "")
    if not placement.settled:
        placement.attempts, placement.next_attempt_at = 0, timezone.now()
        if was_settled:
            lost = "the gateway lost it" if item is None else "the gateway holds something else"
            placement.set_condition(Condition.placed("drifted", f"{lost}; it is pushed again"))
    # What was on its way and has arrived is no drift, only an acknowledgement that got lost.
    if was_settled or not placement.settled:
        drift.counts["lost" if item is None else "altered"] += 1
    placement.save()


def _take_in(gateway: Gateway, item: Item, drift: Drift) -> None:
    """A thing that Studio knows nothing of: it is to go, unless it is gone already, or its kind lets it win."""
    kind = kind_of(item.kind)
    gone = item.digest == TOMBSTONE_DIGEST
    found = kind is not None and kind.found_wins and not gone
    if found and not _keep_payload(item):
        # Neither removed, for it may be rightly there, nor adopted, for nobody could push it again.
        log.warning("item_without_its_payload", gateway=str(gateway), kind=item.kind, name=item.name)
        return
    keep = gone or found or kind is None
    placement = Placement(
        gateway=gateway,
        kind=item.kind,
        name=item.name,
        desired_generation=item.generation if keep else item.generation + 1,
        desired_digest=item.digest if keep else TOMBSTONE_DIGEST,
        observed_generation=item.generation,
        observed_digest=item.digest,
        priority=kind is not None and not gone and kind.urgent(removal=not keep),
        adoption_due=found or (gone and kind is not None and kind.tombstone_wins),
    )
    if keep:
        placement.set_condition(Condition.placed("found", "the gateway had it before Studio knew of it"))
    else:
        placement.set_condition(Condition.placed("unknown", "nobody wants it there; it is removed"))
        drift.counts["unknown"] += 1
    if found:
        placement.keep_receipt(item.receipt or "", item.applied_at or "")
        drift.counts["found"] += 1
    placement.save()
    drift.adoptions += placement.adoption_due


def _keep_payload(item: Item) -> bool:
    """Keep the payload that an item came with, so that it can be pushed; False if it is not what the digest says."""
    if item.payload is None:
        return False
    body = canonical_json(item.payload)
    if digest_of(body) != item.digest:
        return False
    Payload.objects.bulk_create([Payload(digest=item.digest, body=body)], ignore_conflicts=True)
    return True
