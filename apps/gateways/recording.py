"""Writing down what came of pushes: what a gateway holds now, or why it does not and when to try again.

Results count only while the claim stands that they were made under. Those that threads have at the same moment share
one transaction.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from apps.core.commands import bookkeeping
from apps.core.database import save_rows
from apps.core.live import hint
from apps.gateways import due, observers
from apps.gateways.client import GatewayProblem, GatewayRejection, GatewayUnreachable
from apps.gateways.group_commit import GroupCommit
from apps.gateways.kinds import kind_of
from apps.gateways.models import Condition, Gateway, Placement
from contract.kinds import TOMBSTONE_DIGEST

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet

    from apps.core.models import BaseModel
    from apps.gateways.reconcile import Claim
    from contract.admin_api import Acknowledgement

log = structlog.get_logger(__name__)
Row = TypeVar("Row", bound="BaseModel")

CIRCUIT_OPENS_AFTER = 4
_CIRCUIT_LONGEST_S = 30.0
_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 60.0
_REJECTED_DELAY_S = 300.0
_URGENT_DELAY_S = 0.8

_GATEWAY_FIELDS = ("state_digest", "next_poll_at", "circuit_failures", "circuit_open_until")
_PLACEMENT_FIELDS = (
    "desired_generation", "desired_digest", "observed_generation", "observed_digest", "conditions", "attempts",
    "next_attempt_at", "lease_until", "receipt", "receipt_at", "receipt_verified_at", "adoption_due", "updated_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What came of one push: an acknowledgement that was verified, or a problem."""

    claimed: Claim
    told: Acknowledgement | GatewayProblem


def _write(results: Sequence[Result]) -> list[bool]:
    """Write results down, together as far as nobody else is at their rows.

    Waiting for one row while holding others, which a command may take in another order, would be a deadlock: rows that
    are locked are left out and written one by one.

    Returns:
        For each, whether its claim still stood.
    """
    stood = dict.fromkeys(results, False)
    with bookkeeping():
        left = _write_unlocked(results, stood, wait=False)
    for result in left:
        with bookkeeping():
            _write_unlocked([result], stood, wait=True)
    return list(stood.values())


def _tell_observers() -> None:
    try:
        observers.changed()
    except (OperationalError, InterfaceError) as error:
        # They look again at the next visit.
        log.warning("database_unavailable", reason=type(error).__name__)
        connection.close()


record: GroupCommit[Result, bool] = GroupCommit(_write, after=_tell_observers)
"""Write down what came of a push; returns whether the claim still stood."""


def _write_unlocked(results: Sequence[Result], stood: dict[Result, bool], *, wait: bool) -> list[Result]:
    """Lock what is free, write it, and return the results whose rows are not.

    The gateway's row first, as polling does.
    """
    gateways = _locked(Gateway.objects.all(), {result.claimed.gateway for result in results}, wait=wait)
    reached = [result for result in results if result.claimed.gateway in gateways]
    placements = _locked(Placement.objects.all(), {result.claimed.placement for result in reached}, wait=wait)
    left = [result for result in results if result.claimed.placement not in placements]
    now = timezone.now()
    written = [result for result in reached if result.claimed.placement in placements]
    _write_gateways(gateways, reached if wait else written, now)
    standing = [result for result in written if _stands(placements[result.claimed.placement], result.claimed)]
    for result in standing:
        placement = placements[result.claimed.placement]
        placement.gateway = gateways[result.claimed.gateway]
        _apply(placement, result.told, now)
        stood[result] = True
    _save([placements[result.claimed.placement] for result in standing])
    return left


def _locked(rows: QuerySet[Row], keys: Iterable[uuid.UUID], *, wait: bool) -> dict[uuid.UUID, Row]:
    """Those of the rows that exist and, unless we wait for them, that nobody else has locked."""
    found = rows.select_for_update(no_key=True, of=("self",), skip_locked=not wait).filter(pk__in=list(keys))
    return {row.pk: row for row in found.order_by("pk")}


def _stands(placement: Placement, claimed: Claim) -> bool:
    """Whether nobody claimed or desired it anew since."""
    return placement.fence == claimed.fence and placement.lease_until is not None


def _write_gateways(gateways: dict[uuid.UUID, Gateway], results: Iterable[Result], now: datetime) -> None:
    changed: dict[uuid.UUID, Gateway] = {}
    behind_circuits = {gateway.pk for gateway in gateways.values() if gateway.circuit_open_until is not None}
    for result in results:
        gateway = gateways[result.claimed.gateway]
        before = [getattr(gateway, field) for field in _GATEWAY_FIELDS]
        _note(gateway, result.told, now)
        if before != [getattr(gateway, field) for field in _GATEWAY_FIELDS]:
            changed[gateway.pk] = gateway
    save_rows(list(changed.values()), _GATEWAY_FIELDS)
    if any(gateways[key].circuit_open_until is None for key in behind_circuits):
        # One push tried a gateway that had failed, and got through: what waited behind its circuit need not any longer.
        due.lower()


def _note(gateway: Gateway, told: Acknowledgement | GatewayProblem, now: datetime) -> None:
    """What a push says of the gateway itself."""
    match told:
        case GatewayUnreachable():
            _count_failure(gateway, now)
        case GatewayRejection(gateway_code="conflict"):
            # Two writers, or a gateway ahead: its items tell which.
            gateway.state_digest, gateway.next_poll_at = "", now
        case GatewayProblem():
            pass
        case _:
            # What was known of its whole content is outdated by this.
            gateway.state_digest, gateway.circuit_failures, gateway.circuit_open_until = "", 0, None


def _count_failure(gateway: Gateway, now: datetime) -> None:
    """Open the gateway's circuit after a few failures in a row, longer each time; an answered poll closes it."""
    gateway.circuit_failures += 1
    if gateway.circuit_failures >= CIRCUIT_OPENS_AFTER:
        seconds = min(_CIRCUIT_LONGEST_S, 2.0 ** (gateway.circuit_failures - CIRCUIT_OPENS_AFTER + 1))
        gateway.circuit_open_until = now + timedelta(seconds=seconds)


def _apply(placement: Placement, told: Acknowledgement | GatewayProblem, now: datetime) -> None:
    placement.lease_until = None
    if isinstance(told, GatewayProblem):
        placement.attempts += 1
        placement.next_attempt_at = now + _delay(placement, told)
        placement.set_condition(Condition.placed(told.reason, told.message))
        if placement.attempts.bit_count() == 1:
            # The 1st, 2nd, 4th, 8th time: a revocation that waits for a dead gateway is tried every second for days.
            log.info(
                "push_failed", kind=placement.kind, name=placement.name, reason=told.reason, times=placement.attempts
            )
        return
    placement.observed_generation, placement.observed_digest = told.generation, told.digest
    placement.attempts, placement.next_attempt_at = 0, now
    settle(placement)
    if placement.settled:
        placement.keep_receipt(told.receipt, told.applied_at)


def _save(placements: Sequence[Placement]) -> None:
    """Write the rows, and when the tenant has to be visited for what is not settled or waited for one of them."""
    if not placements:
        return
    save_rows(placements, _PLACEMENT_FIELDS)
    moments = [
        placement.next_attempt_at
        for placement in placements
        if not placement.settled or _kept_others_waiting(placement)
    ]
    if moments:
        due.lower(min(moments))
    hint("placement")


def _kept_others_waiting(placement: Placement) -> bool:
    """Whether nothing ordinary was pushed to its gateway before this was confirmed."""
    kind = kind_of(placement.kind)
    return kind is not None and kind.overtakes


def settle(placement: Placement) -> None:
    """Say what follows from a newly observed state. The caller saves, and has the row locked.

    A gateway that is ahead of Studio (which was restored from a backup) keeps what it has until Studio's wish comes as
    the next generation; only what was ended for good stays ended, and is marked for `adoption`. A receipt ends with
    what it was for.
    """
    placement.drop_receipt()
    ahead = placement.observed_generation > placement.desired_generation
    conflicting = placement.observed_generation == placement.desired_generation and not placement.settled
    if ahead or conflicting:
        kind = kind_of(placement.kind)
        ended = placement.observed_digest == TOMBSTONE_DIGEST and not placement.tombstone
        if kind is None or (ended and kind.tombstone_wins):
            placement.adoption_due = kind is not None
            placement.desired_generation = placement.observed_generation
            placement.desired_digest = placement.observed_digest
        else:
            placement.desired_generation = placement.observed_generation + 1
    if placement.settled:
        placement.attempts = 0
        reason = "removed" if placement.tombstone else "acknowledged"
        text = "the gateway confirmed that it is gone" if placement.tombstone else "the gateway acknowledged it"
        placement.set_condition(Condition.placed(reason, text))
    elif ahead or conflicting:
        placement.set_condition(Condition.placed("ahead", "the gateway was ahead of Studio; its state is replaced"))
    else:
        placement.set_condition(Condition.placed("waiting", "waits for its turn"))


def _delay(placement: Placement, problem: GatewayProblem) -> timedelta:
    """How long to wait: exponential and jittered, so that many placements do not come back at once."""
    jitter = random.uniform(0.75, 1.25)  # noqa: S311
    if placement.priority:
        return timedelta(seconds=_URGENT_DELAY_S * jitter)
    longest = _REJECTED_DELAY_S if isinstance(problem, GatewayRejection) else _LONGEST_DELAY_S
    doubled = _FIRST_DELAY_S * 2 ** min(placement.attempts - 1, 16)
    return timedelta(seconds=min(longest, doubled) * jitter)
