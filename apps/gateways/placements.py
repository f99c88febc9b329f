"""Wanting something on gateways: the only way in which desired state is written.

`want` belongs into the body of a command. It writes rows and nothing else; the reconciler makes them true. Lock order:
whoever changes what an environment wants locks the environment's row first (`lock_environment`), so that a gateway that
joins at the same moment misses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils import timezone

from apps.gateways import due
from apps.gateways.hints import hint_reconciler
from apps.gateways.kinds import KINDS, kind_of
from apps.gateways.models import Condition, Environment, Gateway, Payload, Placement
from contract.canonical import digest_of
from contract.kinds import TOMBSTONE_DIGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Wanted:
    """One thing that a gateway should hold; `body` is the canonical payload."""

    kind: str
    name: str
    body: bytes


# What a gateway that joins has to receive; asked in the transaction that registers it, under the environment's lock.
desired_sources: list[Callable[[Gateway], Iterable[Wanted]]] = []


def lock_environment(environment: Environment) -> Environment:
    """Lock the environment's row until the end of the transaction and return it freshly read."""
    return Environment.objects.select_for_update(no_key=True).get(pk=environment.pk)


def want(
    *, gateway: Gateway, kind: str, name: str, body: bytes | None, priority: bool = False, force: bool = False
) -> Placement:
    """Want a payload on a gateway, or with `body=None` that it be gone.

    Wanting what is wanted already changes nothing, unless `force` asks for a new generation of the same.

    Args:
        body: the canonical payload.
        priority: ahead of other work and without back-off; what never waits by its kind is so anyway.

    Raises:
        Invalid: no gateway would accept the name or the payload.
    """
    (placement,) = want_on_gateways([gateway], kind, name, body, priority=priority, force=force)
    return placement


def want_on_environment(
    environment: Environment, kind: str, name: str, body: bytes | None, *, priority: bool = False, force: bool = False
) -> list[Placement]:
    """Want the same on every gateway that serves the environment. Locks the environment.

    What overtakes by its kind reaches those that are leaving, too.

    Returns:
        The placements, ordered by gateway. Empty if the environment has no gateway: one that joins gets it then.

    Raises:
        Invalid: as `want`.
    """
    lock_environment(environment)
    gateways = Gateway.objects.all() if KINDS[kind].overtakes else Gateway.objects.serving()
    return want_on_gateways(
        list(gateways.filter(environment=environment)), kind, name, body, priority=priority, force=force
    )


def want_everything(gateway: Gateway) -> None:
    """Want on a joining gateway whatever its environment runs. Locks the environment."""
    lock_environment(gateway.environment)
    for source in desired_sources:
        for wanted in source(gateway):
            want(gateway=gateway, kind=wanted.kind, name=wanted.name, body=wanted.body)


def want_nothing(gateway: Gateway) -> None:
    """Want that a gateway holds nothing any more, but for what must be in force until its end."""
    for placement in Placement.objects.filter(gateway=gateway).exclude(desired_digest=TOMBSTONE_DIGEST):
        kind = kind_of(placement.kind)
        if kind is not None and not kind.outlasts_leaving:
            want(gateway=gateway, kind=placement.kind, name=placement.name, body=None)


def retry(placements: Iterable[Placement]) -> None:
    """Try unsettled placements again now: end their back-off, and close the circuit of their gateways.

    Gateways first and then placements, each in one order for all: an UPDATE of many rows locks them in none, and two
    who press at the same moment would wait for each other.
    """
    rows = list(placements)
    now = timezone.now()
    gateways = Gateway.objects.filter(pk__in={row.gateway_id for row in rows})
    list(gateways.select_for_update(no_key=True).order_by("pk").values_list("pk"))
    gateways.update(circuit_failures=0, circuit_open_until=None)
    waiting = Placement.objects.unsettled().filter(pk__in=[row.pk for row in rows], next_attempt_at__gt=now)
    locked = list(waiting.select_for_update(no_key=True).order_by("gateway_id", "pk").values_list("pk", flat=True))
    Placement.objects.filter(pk__in=locked).update(next_attempt_at=now)
    due.lower()
    hint_reconciler()


def want_on_gateways(
    gateways: Sequence[Gateway],
    kind: str,
    name: str,
    body: bytes | None,
    *,
    priority: bool = False,
    force: bool = False,
) -> list[Placement]:
    """Want the same on several gateways of one environment, whose row the caller has locked.

    Raises:
        Invalid: as `want`.
    """
    KINDS[kind].check(name, body)
    digest = TOMBSTONE_DIGEST if body is None else digest_of(body)
    if body is not None:
        Payload.objects.bulk_create([Payload(digest=digest, body=body)], ignore_conflicts=True)
    urgent = priority or KINDS[kind].urgent(removal=body is None)
    placements = _locked(gateways, kind, name, digest, urgent=urgent)
    changed = [each for each in placements if force or each.desired_digest != digest]
    for placement in changed:
        _desire(placement, digest, urgent=urgent)
    Placement.objects.bulk_update(
        changed,
        [
            "desired_generation",
            "desired_digest",
            "priority",
            "attempts",
            "next_attempt_at",
            "lease_until",
            "conditions",
            "receipt",
            "receipt_at",
            "receipt_verified_at",
        ],
    )
    if changed:
        due.lower()
        hint_reconciler()
    return placements


def _locked(gateways: Sequence[Gateway], kind: str, name: str, digest: str, *, urgent: bool) -> list[Placement]:
    """The rows of the thing on each gateway, made where missing (with generation 0), locked in one order for all."""
    Placement.objects.bulk_create(
        [
            Placement(gateway=gateway, kind=kind, name=name, desired_generation=0, desired_digest="", priority=urgent)
            for gateway in gateways
        ],
        ignore_conflicts=True,
    )
    rows = Placement.objects.select_for_update(of=("self",)).select_related("gateway__environment")
    return list(rows.filter(gateway__in=gateways, kind=kind, name=name).order_by("gateway_id"))


def _desire(placement: Placement, digest: str, *, urgent: bool) -> None:
    """The next generation of a placement's desire."""
    # A worker that is at the older desire loses its claim: its fence is passed by the next one, and the gateway keeps
    # whichever generation is higher.
    placement.desired_generation = max(placement.desired_generation, placement.observed_generation) + 1
    placement.desired_digest = digest
    placement.priority = urgent
    placement.attempts = 0
    placement.next_attempt_at = timezone.now()
    placement.lease_until = None
    placement.drop_receipt()
    placement.set_condition(Condition.placed("waiting", "waits for its turn"))
