"""What pages and the API read of a stop: where each gateway stands, with the times that count."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from django.utils import timezone

from apps.deployments.models import Stop, StopReceipt
from apps.deployments.stops.kind import STOP
from apps.gateways.models import Gateway, Placement

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

Adjective = Literal["stopping", "stopped", "lifting", "lifted"]
ADJECTIVES: tuple[Adjective, ...] = ("stopping", "stopped", "lifting", "lifted")
_NAMED = 2


@dataclass(frozen=True, slots=True)
class GatewayStand:
    """Where one gateway stands with a stop.

    Attributes:
        gateway: None if it was forgotten since.
        confirmed: whether it holds what is wanted, and for a stop that holds, whether it has signed so.
        reason: why not, and when it is tried next; or what it confirmed.
        receipt: the first that it signed.
        signed_ms: from the act to the moment that the gateway signed as the beginning of its obedience. Its clock may
            differ from ours: never less than nothing.
        arrived_ms: from the act until Studio had the receipt and found it genuine.
    """

    name: str
    environment: str
    gateway: Gateway | None
    confirmed: bool
    reason: str
    next_act_at: datetime | None
    receipt: StopReceipt | None
    signed_ms: int | None
    arrived_ms: int | None


@dataclass(frozen=True, slots=True)
class StopStatus:
    """The status of a stop: an adjective, never without its reason, and the gateways behind it."""

    adjective: Adjective
    reason: str
    gateways: tuple[GatewayStand, ...]

    @property
    def missing(self) -> tuple[GatewayStand, ...]:
        """Those that are there and have not confirmed."""
        return tuple(each for each in self.gateways if not each.confirmed and each.gateway is not None)

    @property
    def forgotten(self) -> tuple[GatewayStand, ...]:
        """Those that were forgotten before they confirmed: nobody knows what they do."""
        return tuple(each for each in self.gateways if not each.confirmed and each.gateway is None)


def status_of(stop: Stop) -> StopStatus:
    """The status of one stop."""
    return statuses([stop])[stop.pk]


def statuses(stops: Iterable[Stop]) -> dict[UUID, StopStatus]:
    """The status of each stop, by primary key, in three queries."""
    shown = list(stops)
    placements: dict[str, dict[UUID, Placement]] = defaultdict(dict)
    rows = Placement.objects.filter(kind=STOP.name, name__in=[stop.public_id for stop in shown])
    for placement in rows.select_related("gateway"):
        placements[placement.name][placement.gateway_id] = placement
    receipts: dict[UUID, dict[str, StopReceipt]] = defaultdict(dict)
    for receipt in StopReceipt.objects.filter(stop__in=shown):
        receipts[receipt.stop_id][receipt.gateway] = receipt
    gateways = list(Gateway.objects.select_related("environment").order_by("environment__order", "name"))
    return {stop.pk: _status(stop, gateways, placements[stop.public_id], receipts[stop.pk]) for stop in shown}


def receipts_document(stop: Stop) -> dict[str, Any]:
    """What anybody needs to verify, without Studio, which gateways have stopped what and when: for a download."""
    present = status_of(stop)
    return {
        "stop": stop.public_id,
        "subject": stop.subject,
        "of": stop.label,
        "environment": stop.environment.slug if stop.environment else None,
        "reason": stop.reason,
        "started_by": stop.started_by,
        "started_at": stop.created_at.isoformat(),
        "lifted_at": stop.lifted_at.isoformat() if stop.lifted_at else None,
        "receipts": [
            {
                "name": receipt.gateway,
                "environment": receipt.environment,
                "public_key": receipt.public_key,
                "statement": statement_of(receipt),
                "signature": receipt.signature,
                "arrived_at": receipt.arrived_at.isoformat(),
            }
            for receipt in stop.receipts.select_related("stop").order_by("gateway")
        ],
        "unconfirmed": [{"name": each.name, "reason": each.reason} for each in (*present.missing, *present.forgotten)],
    }


def statement_of(receipt: StopReceipt) -> dict[str, Any]:
    """The fields that the gateway signed."""
    return {
        "gateway": receipt.gateway_id,
        "kind": STOP.name,
        "name": receipt.stop.public_id,
        "generation": receipt.generation,
        "digest": receipt.digest,
        "at": receipt.at,
    }


def _status(
    stop: Stop, gateways: list[Gateway], placements: dict[UUID, Placement], receipts: dict[str, StopReceipt]
) -> StopStatus:
    here = [each for each in gateways if stop.environment_id in (None, each.environment_id)]
    if not stop.live:
        # One that never had the stop has nothing to be rid of.
        here = [each for each in here if each.pk in placements]
    stands = [_stand(stop, each, placements.get(each.pk), receipts.get(each.name)) for each in here]
    names = {each.name for each in here}
    gone = [name for name in dict.fromkeys([*stop.gateways, *receipts]) if name not in names]
    stands += [_gone(stop, name, receipts.get(name)) for name in gone if stop.live or name in receipts]
    found = tuple(sorted(stands, key=lambda each: (each.confirmed, each.gateway is None)))
    missing = [each for each in found if not each.confirmed and each.gateway is not None]
    adjective: Adjective = ("stopping" if missing else "stopped") if stop.live else ("lifting" if missing else "lifted")
    return StopStatus(adjective, _reason(stop, adjective, found, missing), found)


def _stand(stop: Stop, gateway: Gateway, placement: Placement | None, receipt: StopReceipt | None) -> GatewayStand:
    confirmed = placement is not None and (placement.confirmed if stop.live else placement.settled)
    return GatewayStand(
        name=gateway.name,
        environment=gateway.environment.slug,
        gateway=gateway,
        confirmed=confirmed,
        reason=_why(gateway, placement, confirmed=confirmed),
        next_act_at=placement.next_act_at if placement is not None and not confirmed else None,
        receipt=receipt,
        **_times(stop, receipt),
    )


def _gone(stop: Stop, name: str, receipt: StopReceipt | None) -> GatewayStand:
    signed = "signed a receipt, and is no gateway of this organization any more"
    never = "was forgotten before it confirmed: if it still runs, it may still answer callers"
    return GatewayStand(
        name=name,
        environment=receipt.environment if receipt else "",
        gateway=None,
        confirmed=receipt is not None,
        reason=signed if receipt else never,
        next_act_at=None,
        receipt=receipt,
        **_times(stop, receipt),
    )


def _times(stop: Stop, receipt: StopReceipt | None) -> dict[str, int | None]:
    if receipt is None:
        return {"signed_ms": None, "arrived_ms": None}
    moments = {"signed_ms": datetime.fromisoformat(receipt.at), "arrived_ms": receipt.arrived_at}
    return {name: max(0, round((at - stop.created_at).total_seconds() * 1000)) for name, at in moments.items()}


def _why(gateway: Gateway, placement: Placement | None, *, confirmed: bool) -> str:
    """Why a gateway has not confirmed; one that does not answer is the reason behind any other."""
    if placement is None:
        return "waits for its turn"
    reason = placement.reason(timezone.now())
    if confirmed or gateway.reachable or not gateway.pinned or gateway.status_reason in reason:
        return reason
    return f"{reason} ({gateway.status}: {gateway.status_reason})"


def _reason(stop: Stop, adjective: Adjective, stands: tuple[GatewayStand, ...], missing: list[GatewayStand]) -> str:
    confirmed, present = sum(each.confirmed for each in stands), sum(each.gateway is not None for each in stands)
    named = [f"{each.name}: {each.reason}" for each in missing[:_NAMED]]
    if len(missing) > _NAMED:
        named.append(f"and {len(missing) - _NAMED} more")
    done = present - len(missing)
    match adjective:
        case "stopping":
            return "; ".join([f"{done} of {_count(present)} confirmed", *named])
        case "stopped":
            if not confirmed:
                return "no gateway is there; one that joins receives it before anything else"
            return f"{_count(done)} confirmed with a signed receipt" + _within(stands)
        case "lifting":
            return "; ".join([f"{done} of {_count(present)} let it run again", *named])
        case "lifted":
            return f"by {stop.lifted_by}: {stop.lift_reason}"


def _within(stands: tuple[GatewayStand, ...]) -> str:
    slowest = max((each.arrived_ms for each in stands if each.arrived_ms is not None), default=None)
    return f", the last after {in_seconds(slowest)}" if slowest is not None else ""


def in_seconds(milliseconds: int) -> str:
    """A time in words, as precise as it is short: “84 ms”, “3.2 s”, “12 min”."""
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    seconds = milliseconds / 1_000
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _count(gateways: int) -> str:
    return f"{gateways} gateway" if gateways == 1 else f"{gateways} gateways"
