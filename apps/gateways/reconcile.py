"""Making one placement true: claim it, push it outside any transaction, record the answer if the claim still stands."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.db import connection
from django.utils import timezone

from apps.core.commands import bookkeeping
from apps.core.errors import Conflict
from apps.core.live import hint
from apps.gateways import due, observers
from apps.gateways.client import (
    ANSWER_S,
    CONNECT_S,
    GatewayClient,
    GatewayMisbehaved,
    GatewayProblem,
    GatewayRejection,
    GatewayUnreachable,
)
from apps.gateways.kinds import KINDS, kind_of, overtaking
from apps.gateways.models import Condition, Gateway, Payload, Placement
from apps.gateways.receipts import genuine
from apps.gateways.signing import private_key
from contract.envelope import Envelope
from contract.kinds import TOMBSTONE_DIGEST

if TYPE_CHECKING:
    import uuid

    from contract.admin_api import Acknowledgement

log = structlog.get_logger(__name__)

# Longer than any push can take, so that only a dead worker's lease runs out.
LEASE = timedelta(seconds=2 * (CONNECT_S + ANSWER_S))
PER_GATEWAY = 4
_FIRST_DELAY_S, _LONGEST_DELAY_S = 1.0, 60.0
_REJECTED_DELAY_S = 300.0
_URGENT_DELAY_S = 0.8
_CIRCUIT_OPENS_AFTER = 4
_CIRCUIT_LONGEST_S = 30.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A placement that this worker, and until `LEASE` ends no other, is to make true.

    Attributes:
        fence: of this claim; the result counts only while the row still has it.
    """

    placement: uuid.UUID
    gateway: uuid.UUID
    kind: str
    name: str
    generation: int
    digest: str
    fence: int


@dataclass(frozen=True, slots=True)
class Lane:
    """Which pushes share threads, and so may have to wait for each other.

    Attributes:
        priority: revocations and stops, or everything else.
        faltering: of gateways whose last push failed. They wait among themselves, so that a gateway which hangs or
            swallows connections holds up none that works.
    """

    priority: bool
    faltering: bool


URGENT, ORDINARY = Lane(priority=True, faltering=False), Lane(priority=False, faltering=False)
URGENT_FALTERING, FALTERING = Lane(priority=True, faltering=True), Lane(priority=False, faltering=True)

# Per gateway at most as many as are not leased yet; the first of each gateway before the second of any. What overtakes
# (a stop) is first of all, and where it is not confirmed nothing ordinary is pushed: a gateway that joins, or that lost
# its store, must not run for an instant what is stopped.
_CLAIM = """
    UPDATE {placement} AS claimed SET lease_until = %(lease_until)s, fence = claimed.fence + 1
    FROM (
        SELECT due.id
        FROM {gateway} AS g CROSS JOIN LATERAL (
            SELECT p.id, p.next_attempt_at, p.kind <> ALL(%(overtaking)s) AS waits FROM {placement} AS p
            WHERE p.gateway_id = g.id AND p.priority = %(priority)s
                AND (p.observed_generation <> p.desired_generation OR p.observed_digest <> p.desired_digest)
                AND p.next_attempt_at <= %(now)s AND (p.lease_until IS NULL OR p.lease_until <= %(now)s)
            ORDER BY waits, p.next_attempt_at
            LIMIT greatest(0, CASE WHEN g.circuit_failures >= %(opens_after)s THEN 1 ELSE %(per_gateway)s END - (
                SELECT count(*) FROM {placement} AS busy
                WHERE busy.gateway_id = g.id AND busy.lease_until > %(now)s AND busy.priority = %(priority)s
            ))
            FOR UPDATE SKIP LOCKED
        ) AS due
        WHERE g.gateway_id <> '' AND g.status <> 'refused' AND (g.circuit_failures > 0) = %(faltering)s
            AND (%(priority)s OR g.circuit_open_until IS NULL OR g.circuit_open_until <= %(now)s)
            AND (%(priority)s OR NOT {overtaken})
        ORDER BY row_number() OVER (PARTITION BY g.id ORDER BY due.waits, due.next_attempt_at),
            due.waits, due.next_attempt_at
        LIMIT %(limit)s
    ) AS chosen
    WHERE claimed.id = chosen.id
    RETURNING claimed.id, claimed.gateway_id, claimed.kind, claimed.name, claimed.desired_generation,
        claimed.desired_digest, claimed.fence
"""


def claim(lane: Lane, *, limit: int, per_gateway: int = PER_GATEWAY) -> list[Claim]:
    """Lease placements of the present tenant that are due, in one of the lanes.

    The limit per gateway holds for all workers together. A gateway whose circuit is open is left alone until it
    closes, and then gets one push to try; revocations and stops do not ask the circuit.
    """
    if limit <= 0:
        return []
    query = _CLAIM.format(gateway=Gateway._meta.db_table, placement=Placement._meta.db_table, overtaken=due.OVERTAKEN)
    now = timezone.now()
    values: dict[str, Any] = {
        "now": now, "lease_until": now + LEASE, "priority": lane.priority,
        "faltering": lane.faltering, "limit": limit, "per_gateway": per_gateway,
        "opens_after": _CIRCUIT_OPENS_AFTER, "overtaking": overtaking(), "gone": TOMBSTONE_DIGEST,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return [Claim(*row) for row in cursor.fetchall()]


def push(claimed: Claim) -> None:
    """Bring a claimed placement to its gateway and record what came of it."""
    gateway = Gateway.objects.filter(pk=claimed.gateway).first()
    if gateway is None:
        return
    try:
        acknowledgement = _send(gateway, claimed)
        _verify(gateway, claimed, acknowledgement)
    except GatewayProblem as problem:
        record_failure(claimed, problem)
    except Conflict as error:
        # A secret of ours that cannot be read: nothing that the gateway could do about it.
        record_failure(claimed, GatewayRejection("secret_unreadable", error.message))
    else:
        record_acknowledgement(claimed, acknowledgement)
    observers.changed()


def _send(gateway: Gateway, claimed: Claim) -> Acknowledgement:
    kind = KINDS[claimed.kind]
    client = GatewayClient.of(gateway)
    envelope = Envelope(gateway.gateway_id, kind.name, claimed.name, claimed.generation, claimed.digest)
    if claimed.digest == TOMBSTONE_DIGEST:
        return client.delete(kind, envelope, private_key())
    payload = Payload.objects.get(digest=claimed.digest)
    return client.put(kind, envelope, bytes(payload.body), private_key())


def _verify(gateway: Gateway, claimed: Claim, acknowledgement: Acknowledgement) -> None:
    """Check that the answer speaks of what was sent, and that the gateway's pinned key signed it.

    Raises:
        GatewayMisbehaved: it does not.
    """
    told = acknowledgement
    stamp = (told.generation, told.digest)
    if (told.kind, told.name) != (claimed.kind, claimed.name) or told.generation < claimed.generation:
        raise GatewayMisbehaved("wrong-acknowledgement", "it acknowledged something else than what was sent")
    if told.generation == claimed.generation and stamp != (claimed.generation, claimed.digest):
        raise GatewayMisbehaved("wrong-acknowledgement", "it acknowledged other content than what was sent")
    if not genuine(gateway, told):
        raise GatewayMisbehaved("forged-receipt", "its receipt is not signed with the key that it was registered with")


def record_acknowledgement(claimed: Claim, told: Acknowledgement) -> bool:
    """Write down what the gateway holds now, unless the claim was lost meanwhile.

    Returns:
        Whether the claim still stood.
    """
    with bookkeeping():
        # The gateway's row first, as polling does. What is known of its whole content is outdated by this.
        Gateway.objects.filter(pk=claimed.gateway).update(state_digest="", circuit_failures=0, circuit_open_until=None)
        placement = _claimed_row(claimed)
        if placement is None:
            return False
        placement.observed_generation, placement.observed_digest = told.generation, told.digest
        placement.lease_until, placement.attempts = None, 0
        placement.next_attempt_at = timezone.now()
        settle(placement)
        if placement.settled:
            placement.keep_receipt(told.receipt, told.applied_at)
        placement.save()
        if not placement.settled:
            due.lower()
        hint("placement")
    return True


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


def record_failure(claimed: Claim, problem: GatewayProblem) -> bool:
    """Write down why a push failed and when the next one follows, unless the claim was lost meanwhile."""
    now = timezone.now()
    with bookkeeping():
        if isinstance(problem, GatewayUnreachable):
            _count_failure(claimed.gateway, now)
        if isinstance(problem, GatewayRejection) and problem.gateway_code == "conflict":
            # Two writers, or a gateway ahead: its items tell which.
            Gateway.objects.filter(pk=claimed.gateway).update(state_digest="", next_poll_at=now)
        placement = _claimed_row(claimed)
        if placement is None:
            return False
        placement.attempts += 1
        placement.lease_until = None
        placement.next_attempt_at = now + _delay(placement, problem)
        placement.set_condition(Condition.placed(problem.reason, problem.message))
        placement.save()
        due.lower(placement.next_attempt_at)
        hint("placement")
    if placement.attempts.bit_count() == 1:
        # The 1st, 2nd, 4th, 8th time: a revocation that waits for a dead gateway is tried every second for days.
        log.info("push_failed", kind=claimed.kind, name=claimed.name, reason=problem.reason, times=placement.attempts)
    return True


def _claimed_row(claimed: Claim) -> Placement | None:
    """The placement, locked, if nobody claimed or desired it anew since."""
    return (
        Placement.objects.select_for_update(of=("self",))
        .select_related("gateway")
        .filter(pk=claimed.placement, fence=claimed.fence, lease_until__isnull=False)
        .first()
    )


def _delay(placement: Placement, problem: GatewayProblem) -> timedelta:
    """How long to wait: exponential and jittered, so that many placements do not come back at once."""
    jitter = random.uniform(0.75, 1.25)  # noqa: S311
    if placement.priority:
        return timedelta(seconds=_URGENT_DELAY_S * jitter)
    longest = _REJECTED_DELAY_S if isinstance(problem, GatewayRejection) else _LONGEST_DELAY_S
    doubled = _FIRST_DELAY_S * 2 ** min(placement.attempts - 1, 16)
    return timedelta(seconds=min(longest, doubled) * jitter)


def _count_failure(gateway: uuid.UUID, now: datetime) -> None:
    """Open the gateway's circuit after a few failures in a row, longer each time; an answered poll closes it."""
    row = Gateway.objects.select_for_update(no_key=True, of=("self",)).filter(pk=gateway).first()
    if row is None:
        return
    row.circuit_failures += 1
    if row.circuit_failures >= _CIRCUIT_OPENS_AFTER:
        seconds = min(_CIRCUIT_LONGEST_S, 2.0 ** (row.circuit_failures - _CIRCUIT_OPENS_AFTER + 1))
        row.circuit_open_until = now + timedelta(seconds=seconds)
    row.save(update_fields=["circuit_failures", "circuit_open_until"])
