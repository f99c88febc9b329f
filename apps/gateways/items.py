"""Overwriting what was observed with what a gateway says it holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils import timezone

from apps.gateways.kinds import kind_of
from apps.gateways.models import Condition, Gateway, Placement
from apps.gateways.reconcile import settle
from contract.kinds import TOMBSTONE_DIGEST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contract.admin_api import Item

# Fences by (kind, name) of the placements that no worker was at when the gateway was asked.
Fences = dict[tuple[str, str], int]


@dataclass(slots=True)
class Drift:
    """What was different from what had been observed.

    Attributes:
        counts: by what happened: `lost`, `altered`, `unknown`.
        adopted: public ids of keys that the gateway knows to be revoked and Studio did not.
    """

    counts: Counter[str] = field(default_factory=Counter)
    adopted: list[str] = field(default_factory=list)


def free_fences(gateway: Gateway) -> Fences:
    """The fences before asking. A row that is leased, or whose fence moves meanwhile, knows better than the answer."""
    free = Q(lease_until=None) | Q(lease_until__lte=timezone.now())
    rows = Placement.objects.filter(free, gateway=gateway)
    return {(kind, name): fence for kind, name, fence in rows.values_list("kind", "name", "fence")}


def apply_items(gateway: Gateway, items: Iterable[Item], fences: Fences) -> Drift:
    """Make the observed state of a gateway's placements what it says. The caller has the gateway's row locked."""
    drift = Drift()
    held = {(item.kind, item.name): item for item in items}
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


def _overwrite(placement: Placement, item: Item | None, drift: Drift) -> None:
    observed = (item.generation, item.digest) if item is not None else (0, "")
    before = (placement.observed_generation, placement.observed_digest)
    if observed == before:
        return
    was_settled = placement.settled
    placement.observed_generation, placement.observed_digest = observed
    if settle(placement):
        drift.adopted.append(placement.name)
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
    """A thing that Studio knows nothing of: it is to go, unless it is gone already."""
    keep = item.digest == TOMBSTONE_DIGEST or kind_of(item.kind) is None
    placement = Placement(
        gateway=gateway,
        kind=item.kind[:20],
        name=item.name[:80],
        desired_generation=item.generation if keep else item.generation + 1,
        desired_digest=item.digest if keep else TOMBSTONE_DIGEST,
        observed_generation=item.generation,
        observed_digest=item.digest,
    )
    kind = kind_of(item.kind)
    placement.priority = not keep and kind is not None and kind.priority_removal
    if keep:
        placement.set_condition(Condition.placed("found", "the gateway had it before Studio knew of it"))
    else:
        placement.set_condition(Condition.placed("unknown", "nobody wants it there; it is removed"))
        drift.counts["unknown"] += 1
    placement.save()
    if keep and kind is not None and kind.adopts(item):
        drift.adopted.append(item.name)
