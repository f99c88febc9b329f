"""Following what a gateway knew and Studio, restored from an older backup, did not.

Whoever observes it only marks the placement, in the transaction that writes the observation. What follows touches
other gateways and so takes its locks in the order of commands, in a transaction of its own. The mark stays until that
has committed, so a process that dies in between loses nothing.
"""

from __future__ import annotations

from apps.core.commands import bookkeeping
from apps.gateways.kinds import kind_of
from apps.gateways.models import Placement
from apps.gateways.placements import lock_environment


def adopt_found() -> None:
    """Let Studio's rows follow every marked placement. Costs one look at an empty index when there is none."""
    for placement in Placement.objects.filter(adoption_due=True).select_related("gateway__environment"):
        _adopt(placement)


def _adopt(marked: Placement) -> None:
    with bookkeeping():
        lock_environment(marked.gateway.environment)
        placement = (
            Placement.objects.select_for_update(of=("self",))
            .select_related("gateway__environment")
            .filter(pk=marked.pk, adoption_due=True)
            .first()
        )
        kind = kind_of(marked.kind)
        if placement is None or kind is None:
            return
        Placement.objects.filter(pk=placement.pk).update(adoption_due=False)
        kind.adopt(placement)
