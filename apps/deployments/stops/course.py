"""The course of stops, derived again and again from rows: where they still have to go, and who has signed.

Called at every visit of the reconciler. With nothing stopped it costs one look at an empty index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from apps.core.commands import bookkeeping, record_system_event
from apps.core.live import hint
from apps.deployments.models import Stop, StopReceipt
from apps.deployments.stops.coverage import body_for
from apps.deployments.stops.kind import STOP
from apps.gateways.models import Gateway, Placement
from apps.gateways.placements import lock_environment, want
from contract.kinds import TOMBSTONE_DIGEST

if TYPE_CHECKING:
    from django.db.models import QuerySet


def gateways_of(stop: Stop) -> QuerySet[Gateway]:
    """Every gateway that the stop concerns, also one that is leaving."""
    everywhere = Q() if stop.environment_id is None else Q(environment=stop.environment_id)
    return Gateway.objects.filter(everywhere).select_related("environment").order_by("environment__order", "name")


def follow_stops() -> None:
    """See to it that live stops are wanted wherever they hold, and keep the receipts that have come."""
    for stop in Stop.objects.live().select_related("environment"):
        _widen(stop)
        _reach_newcomers(stop)
        _keep_receipts(stop)


def _widen(stop: Stop) -> None:
    """A stop holds in one environment or in all: one that was found in one and lies in another, too, is everywhere."""
    if stop.environment is None or stop.subject != Stop.Subject.FOUND:
        return
    elsewhere = Placement.objects.of(STOP.name, stop.public_id).exclude(gateway__environment=stop.environment)
    if not elsewhere.exclude(desired_digest=TOMBSTONE_DIGEST).exists():
        return
    if Stop.objects.live().filter(pk=stop.pk).update(environment=None, confirmed_at=None):
        stop.environment, stop.confirmed_at = None, None
        hint("stop")


def _reach_newcomers(stop: Stop) -> None:
    """Want it on gateways that it has missed: of an environment that was made while the stop was being written."""
    wanted = Placement.objects.of(STOP.name, stop.public_id).filter(gateway=OuterRef("pk"))
    for gateway in gateways_of(stop).exclude(Exists(wanted.exclude(desired_digest=TOMBSTONE_DIGEST))):
        with bookkeeping():
            lock_environment(gateway.environment)
            if Stop.objects.live().filter(pk=stop.pk).exists():
                want(gateway=gateway, kind=STOP.name, name=stop.public_id, body=body_for(stop, gateway.environment))


def _keep_receipts(stop: Stop) -> None:
    """Keep each gateway's first receipt, and tell when the last one has come."""
    placements = Placement.objects.of(STOP.name, stop.public_id).settled().exclude(receipt="")
    placements = placements.exclude(desired_digest=TOMBSTONE_DIGEST)
    known = StopReceipt.objects.filter(stop=stop).values("gateway_id")
    fresh = list(placements.exclude(gateway__gateway_id__in=known).select_related("gateway__environment"))
    if not fresh and stop.confirmed_at is not None:
        return
    with bookkeeping():
        StopReceipt.objects.bulk_create([_receipt(stop, each) for each in fresh], ignore_conflicts=True)
        if fresh:
            hint("stop")
        if stop.confirmed_at is None:
            _confirm(stop)


def _receipt(stop: Stop, placement: Placement) -> StopReceipt:
    gateway = placement.gateway
    return StopReceipt(
        stop=stop,
        gateway=gateway.name,
        environment=gateway.environment.slug,
        gateway_id=gateway.gateway_id,
        public_key=gateway.public_key,
        generation=placement.observed_generation,
        digest=placement.observed_digest,
        at=placement.receipt_at,
        signature=placement.receipt,
        arrived_at=placement.receipt_verified_at or timezone.now(),
    )


def _confirm(stop: Stop) -> None:
    """If every gateway that the stop concerns has signed, say so, once."""
    receipts = list(stop.receipts.order_by("arrived_at"))
    signed = {receipt.gateway_id for receipt in receipts}
    concerned = set(gateways_of(stop).values_list("gateway_id", flat=True))
    if not receipts or not concerned <= signed:
        return
    last = receipts[-1].arrived_at
    if not Stop.objects.live().filter(pk=stop.pk, confirmed_at=None).update(confirmed_at=last):
        return
    told = {receipt.gateway: round((receipt.arrived_at - stop.created_at).total_seconds(), 3) for receipt in receipts}
    record_system_event(
        "stop.confirm",
        stop,
        gateways=told,
        seconds=round((last - stop.created_at).total_seconds(), 3),
        never_confirmed=sorted(set(stop.gateways) - set(told)),
    )
    hint("stop")
