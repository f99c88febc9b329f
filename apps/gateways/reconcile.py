"""Making one placement true: claim it, push it outside any transaction, record the answer if the claim still stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import connection
from django.utils import timezone

from apps.core.errors import Conflict
from apps.gateways import due
from apps.gateways.client import GatewayClient, GatewayMisbehaved, GatewayProblem, GatewayRejection
from apps.gateways.kinds import KINDS, overtaking
from apps.gateways.leases import LEASE, leases
from apps.gateways.models import Gateway, Payload, Placement
from apps.gateways.receipts import genuine
from apps.gateways.recording import CIRCUIT_OPENS_AFTER, Result, record
from apps.gateways.signing import private_key
from contract.envelope import Envelope
from contract.kinds import TOMBSTONE_DIGEST

if TYPE_CHECKING:
    import uuid
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from contract.admin_api import Acknowledgement

PER_GATEWAY = 4


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
    UPDATE {placement} AS claimed SET lease_until = statement_timestamp() + %(lease)s, fence = claimed.fence + 1
    FROM (
        SELECT due.id
        FROM {gateway} AS g CROSS JOIN LATERAL (
            SELECT p.id, p.next_attempt_at, p.kind <> ALL(%(overtaking)s) AS waits FROM {placement} AS p
            WHERE p.gateway_id = g.id AND p.priority = %(priority)s
                AND (p.observed_generation <> p.desired_generation OR p.observed_digest <> p.desired_digest)
                AND p.next_attempt_at <= %(now)s AND (p.lease_until IS NULL OR p.lease_until <= statement_timestamp())
            ORDER BY waits, p.next_attempt_at
            LIMIT greatest(0, CASE WHEN g.circuit_failures >= %(opens_after)s THEN 1 ELSE %(per_gateway)s END - (
                SELECT count(*) FROM {placement} AS busy
                WHERE busy.gateway_id = g.id AND busy.priority = %(priority)s
                    AND busy.lease_until > statement_timestamp()
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
        "now": now, "lease": LEASE, "priority": lane.priority,
        "faltering": lane.faltering, "limit": limit, "per_gateway": per_gateway,
        "opens_after": CIRCUIT_OPENS_AFTER, "overtaking": overtaking(), "gone": TOMBSTONE_DIGEST,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return [Claim(*row) for row in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class Errand:
    """A claim with all that is needed to fulfil it, so that whoever does it holds no connection to the database.

    Attributes:
        gateway: the row as it was when the claim was made.
        body: the payload; None for a tombstone.
        key: signs the envelope.
    """

    claimed: Claim
    gateway: Gateway
    body: bytes | None
    key: Ed25519PrivateKey = field(repr=False)


def prepare(claims: Sequence[Claim]) -> list[Errand]:
    """Read what the claims need, in a few queries for all of them. A gateway that is gone needs nothing any more."""
    if not claims:
        return []
    try:
        key = private_key()
    except Conflict as error:
        # A secret of ours that cannot be read: nothing that a gateway could do about it.
        for claimed in claims:
            record_failure(claimed, GatewayRejection("secret_unreadable", error.message))
        return []
    gateways = Gateway.objects.in_bulk([claimed.gateway for claimed in claims])
    digests = {claimed.digest for claimed in claims} - {TOMBSTONE_DIGEST}
    bodies = {row.digest: bytes(row.body) for row in Payload.objects.filter(digest__in=digests)}
    errands = []
    for claimed in claims:
        body = bodies.get(claimed.digest)
        if body is None and claimed.digest != TOMBSTONE_DIGEST:
            record_failure(claimed, GatewayRejection("payload_missing", "what should be pushed is not stored any more"))
        elif claimed.gateway in gateways:
            errands.append(Errand(claimed, gateways[claimed.gateway], body, key))
    return errands


def push(claimed: Claim) -> None:
    """Bring a claimed placement to its gateway and record what came of it."""
    for errand in prepare([claimed]):
        deliver(errand)


def deliver(errand: Errand) -> None:
    """Push, with no transaction open, and record what came of it."""
    told: Acknowledgement | GatewayProblem
    with leases.kept(errand.claimed.placement, errand.claimed.fence):
        try:
            told = _send(errand)
            _verify(errand.gateway, errand.claimed, told)
        except GatewayProblem as problem:
            told = problem
        except Conflict as error:
            # The deploy token cannot be read, as above.
            told = GatewayRejection("secret_unreadable", error.message)
        record(Result(errand.claimed, told))


def record_failure(claimed: Claim, problem: GatewayProblem) -> bool:
    """Write down why a push failed and when the next one follows; False if the claim was lost meanwhile."""
    return record(Result(claimed, problem))


def _send(errand: Errand) -> Acknowledgement:
    claimed, gateway = errand.claimed, errand.gateway
    kind = KINDS[claimed.kind]
    client = GatewayClient.of(gateway)
    envelope = Envelope(gateway.gateway_id, kind.name, claimed.name, claimed.generation, claimed.digest)
    if errand.body is None:
        return client.delete(kind, envelope, errand.key)
    return client.put(kind, envelope, errand.body, errand.key)


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
