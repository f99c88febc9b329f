"""Looking at gateways: who answers, how it is, and whether it still holds what was acknowledged.

A poll overwrites what was observed, also downwards: a restarted, wiped or hand-edited gateway is drift, and drift is
pushed again by the same rows that pushed it at first.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from django.db import connection
from django.utils import timezone

from apps.core.commands import bookkeeping, record_system_event
from apps.core.errors import Conflict
from apps.core.live import hint
from apps.gateways import due, observers
from apps.gateways.client import ANSWER_S, CONNECT_S, GatewayClient, GatewayProblem, GatewayRefusal
from apps.gateways.items import Fences, apply_items, free_fences
from apps.gateways.models import Environment, Gateway, Placement
from apps.gateways.readings import write_reading
from contract.admin_api import GatewayState, Item, state_digest

if TYPE_CHECKING:
    import uuid
    from collections import Counter

log = structlog.get_logger(__name__)

# Longer than a poll can take: a poller that dies delays the next look by this and no more.
_CLAIM_S = 2 * (CONNECT_S + ANSWER_S)
_LONGEST_PAUSE_S = 15.0
_LOST_AFTER = 2
Status = Gateway.Status


def claim_polls(limit: int) -> list[uuid.UUID]:
    """Take gateways of the present tenant whose turn to be looked at has come."""
    if limit <= 0:
        return []
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE {Gateway._meta.db_table} AS g SET next_poll_at = %(claimed_until)s
            FROM (
                SELECT id FROM {Gateway._meta.db_table} WHERE next_poll_at <= %(now)s
                ORDER BY next_poll_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
            ) AS due WHERE g.id = due.id RETURNING g.id
            """,  # noqa: S608
            {"now": now, "claimed_until": now + timedelta(seconds=_CLAIM_S), "limit": limit},
        )
        return [key for (key,) in cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class Look:
    """One poll: which row it was made for, and when it began.

    Attributes:
        gateway: the row as it was when the poll began.
        began: what was recorded after this is newer than the poll.
    """

    gateway: Gateway
    began: datetime


def poll(key: uuid.UUID) -> None:
    """Look at a gateway and write down what is seen."""
    gateway = Gateway.objects.select_related("environment").filter(pk=key).first()
    if gateway is None:
        return
    look = Look(gateway, timezone.now())
    started = time.perf_counter()
    try:
        client = GatewayClient.of(gateway)
        state = client.state()
        latency_ms = (time.perf_counter() - started) * 1000
        seen = record_answer(look, state, latency_ms)
        if seen is not None and seen.reachable and seen.state_digest != state.state_digest:
            _compare(look, client)
    except GatewayProblem as problem:
        record_failure(look, problem)
        return
    except Conflict as error:
        record_failure(look, GatewayRefusal("secret-unreadable", error.message))
        return
    if seen is not None and seen.reachable:
        _drain_leaving(seen, client, state)
        observers.polled(seen, state)


def record_answer(look: Look, state: GatewayState, latency_ms: float) -> Gateway | None:
    """Write down an answered poll.

    Returns:
        The gateway as recorded; None if the answer is outdated and was discarded.
    """
    with bookkeeping():
        row = _current_row(look)
        if row is None or (row.boot_id == state.boot_id and state.revision < row.revision):
            return None
        before = row.status
        stranger = _identify(row, state)
        if stranger:
            _refuse(row, stranger)
        else:
            _overwrite(row, state, latency_ms)
            if row.state_digest != state.state_digest:
                row.state_digest = state.state_digest if _digest_of_rows(row) == state.state_digest else ""
        row.last_polled_at, row.next_poll_at = look.began, _next_poll(look, row)
        row.save()
        write_reading(row, look.began, latency_ms=latency_ms)
        _tell(row, before)
        if row.reachable and before not in (Status.HEALTHY, Status.DEGRADED, Status.DRAINING):
            # It answers again: what waited in a back-off need not wait any longer.
            waiting = Placement.objects.unsettled().filter(gateway=row).unlocked()
            Placement.objects.filter(pk__in=list(waiting.values_list("pk", flat=True))).update(
                next_attempt_at=timezone.now()
            )
            due.lower()
    return row


def record_failure(look: Look, problem: GatewayProblem) -> None:
    """Write down a poll that was not answered as agreed."""
    with bookkeeping():
        row = _current_row(look)
        if row is None:
            return
        before = row.status
        row.consecutive_failures += 1
        first = row.consecutive_failures < _LOST_AFTER and row.reachable
        status = Status.REFUSED if isinstance(problem, GatewayRefusal) else Status.UNREACHABLE
        reason = f"did not answer the last poll: {problem.message}" if first else problem.message
        _set_status(row, Status.DEGRADED if first and status is Status.UNREACHABLE else status, reason)
        row.last_polled_at, row.next_poll_at = look.began, _next_poll(look, row)
        row.save()
        write_reading(row, look.began, latency_ms=None)
        _tell(row, before)


def _current_row(look: Look) -> Gateway | None:
    """The gateway's row, locked; None if it is gone, was changed, or a newer poll was recorded since this one began."""
    row = (
        Gateway.objects.select_for_update(no_key=True, of=("self",))
        .select_related("environment")
        .filter(pk=look.gateway.pk)
        .first()
    )
    if row is None or (row.address, row.deploy_token) != (look.gateway.address, look.gateway.deploy_token):
        return None
    if row.last_polled_at is not None and row.last_polled_at > look.began:
        return None
    return row


def _identify(row: Gateway, state: GatewayState) -> str:
    """Pin who answers first, and say what is wrong with whoever answers later under another identity."""
    if not row.pinned:
        other = Gateway.objects.filter(gateway_id=state.gateway_id).exclude(pk=row.pk).first()
        if other is not None:
            return f"what answers is the gateway {other}, which is registered at {other.address}"
        row.gateway_id, row.public_key = state.gateway_id, state.public_key
        record_system_event("gateway.identify", row, gateway_id=state.gateway_id, version=state.version)
        return ""
    if row.gateway_id != state.gateway_id:
        return "another gateway answers at its address than the one that was registered"
    if row.public_key != state.public_key:
        return "it signs with another key than the one that it was registered with"
    return ""


def _refuse(row: Gateway, reason: str) -> None:
    row.consecutive_failures += 1
    _set_status(row, Status.REFUSED, reason)


def _overwrite(row: Gateway, state: GatewayState, latency_ms: float) -> None:
    row.version, row.boot_id, row.revision = state.version[:60], state.boot_id, state.revision
    row.in_flight, row.max_concurrent = state.capacity.in_flight, state.capacity.max_concurrent
    row.registrations, row.latency_ms = state.registrations, round(latency_ms, 1)
    row.started_at = timezone.now() - timedelta(seconds=state.uptime_s)
    row.last_seen_at = timezone.now()
    row.consecutive_failures = row.circuit_failures = 0
    row.circuit_open_until = None
    if state.draining:
        _set_status(row, Status.DRAINING, "finishes what runs and accepts nothing new")
    elif 0 < row.max_concurrent <= row.in_flight:
        _set_status(row, Status.DEGRADED, f"runs as many executions as it can at once ({row.max_concurrent})")
    else:
        _set_status(row, Status.HEALTHY, "answers as agreed")


def _set_status(row: Gateway, status: Gateway.Status, reason: str) -> None:
    if row.status != status:
        row.status, row.status_since = status, timezone.now()
    row.status_reason = reason[:300]


# A single missed poll or a full moment is no event; being lost, refused, draining and coming back are.
_TRANSITIONS = {Status.UNREACHABLE: "gateway.lose", Status.REFUSED: "gateway.refuse", Status.DRAINING: "gateway.drain"}


def _tell(row: Gateway, before: str) -> None:
    """Record a meaningful transition and wake the pages that show the gateway."""
    hint("gateway")
    if row.status == before:
        return
    action = _TRANSITIONS.get(Status(row.status))
    if action is None and before in _TRANSITIONS and row.status == Status.HEALTHY:
        action = "gateway.recover"
    if action is not None:
        record_system_event(action, row, before=before, now=row.status, reason=row.status_reason)


def _next_poll(look: Look, row: Gateway) -> datetime:
    """Every interval while it answers; less often, but never rarely, while it does not."""
    interval = float(row.environment.poll_interval_s)
    if row.consecutive_failures:
        interval = min(interval * 2 ** min(row.consecutive_failures - 1, 8), max(interval, _LONGEST_PAUSE_S))
    return look.began + timedelta(seconds=interval * random.uniform(0.95, 1.05))  # noqa: S311


def _digest_of_rows(gateway: Gateway) -> str:
    """The digest that the gateway reports if it holds exactly what was observed."""
    rows = Placement.objects.filter(gateway=gateway, observed_generation__gt=0)
    return state_digest(
        Item(kind=kind, name=name, generation=generation, digest=digest, tombstone=False)
        for kind, name, generation, digest in rows.values_list("kind", "name", "observed_generation", "observed_digest")
    )


def _compare(look: Look, client: GatewayClient) -> None:
    """Fetch everything that the gateway holds and overwrite what was observed of it."""
    fences: Fences = free_fences(look.gateway)
    look = Look(look.gateway, timezone.now())
    state = client.state(items=True)
    with bookkeeping():
        row = _current_row(look)
        outdated = row is None or (row.boot_id == state.boot_id and state.revision < row.revision)
        if row is None or outdated or _identity(row) != (state.gateway_id, state.public_key):
            return
        drift = apply_items(row, state.items or [], fences)
        if drift.counts:
            due.lower()
            hint("placement")
            _record_drift(row, drift.counts, known=bool(look.gateway.boot_id))
    if drift.counts or drift.adoptions:
        observers.changed()


def _identity(row: Gateway) -> tuple[str, str]:
    return row.gateway_id, row.public_key


def _record_drift(row: Gateway, counts: Counter[str], *, known: bool) -> None:
    log.warning("gateway_drifted", gateway=str(row), **counts)
    # What a gateway holds when it is seen for the first time is news, and no drift.
    record_system_event("gateway.drift" if known else "gateway.take-over", row, **dict(counts))


def _drain_leaving(row: Gateway, client: GatewayClient, state: GatewayState) -> None:
    if row.leaving_at is None or state.draining:
        return
    try:
        client.drain()
    except GatewayProblem as problem:
        log.warning("drain_failed", gateway=str(row), reason=problem.reason)


def finish_leaving() -> int:
    """Forget the gateways that were to leave and have confirmed that they are empty.

    Returns:
        How many.
    """
    leaving = Gateway.objects.filter(leaving_at__isnull=False).values_list("pk", "environment_id")
    return sum(_finish_leaving(key, environment) for key, environment in list(leaving))


def _finish_leaving(key: uuid.UUID, environment: uuid.UUID) -> bool:
    with bookkeeping():
        Environment.objects.select_for_update(no_key=True).get(pk=environment)
        row = Gateway.objects.select_for_update(of=("self",)).filter(pk=key, leaving_at__isnull=False).first()
        if row is None or Placement.objects.unsettled().filter(gateway=row).exists():
            return False
        record_system_event("gateway.leave", row, reason="it confirmed that it is empty")
        row.delete()
        return True
