"""Looking at gateways: who answers, how it is, and whether it still holds what was acknowledged.

A poll overwrites what was observed, also downwards: a restarted, wiped or hand-edited gateway is drift, and drift is
pushed again by the same rows that pushed it at first.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog
from django.db import connection
from django.utils import timezone

from apps.core.commands import bookkeeping, record_system_event
from apps.core.database import save_rows
from apps.core.errors import Conflict
from apps.core.live import hint
from apps.gateways import due, observers
from apps.gateways.client import GatewayClient, GatewayProblem, GatewayRefusal
from apps.gateways.group_commit import GroupCommit
from apps.gateways.items import Fences, apply_items, free_fences
from apps.gateways.leases import LEASE, leases
from apps.gateways.models import Environment, Gateway, Placement
from apps.gateways.readings import Reading, write_readings
from contract.admin_api import GatewayState, Item, state_digest

if TYPE_CHECKING:
    import uuid
    from collections import Counter
    from collections.abc import Sequence

log = structlog.get_logger(__name__)

# A request that got lost on the way is asked again soon; only who stays away is asked less and less often.
_FIRST_PAUSES_S = (1.0, 2.0)
_LONGEST_PAUSE_S = 15.0
_LOST_AFTER = 1 + len(_FIRST_PAUSES_S)
# Polls that are due so soon are made together: fewer visits, and fewer transactions.
_SOON = timedelta(seconds=0.5)
Status = Gateway.Status
# What a poll may change.
_FIELDS = (
    "gateway_id", "public_key", "status", "status_reason", "status_since", "version", "boot_id", "revision",
    "state_digest", "in_flight", "max_concurrent", "registrations", "started_at", "latency_ms", "last_seen_at",
    "last_polled_at", "consecutive_failures", "next_poll_at", "circuit_failures", "circuit_open_until",
)  # fmt: skip
# What of it a page shows at once. The rest it reads every few seconds anyway.
_SHOWN = ("gateway_id", "status", "status_reason", "version", "boot_id", "in_flight", "max_concurrent", "registrations")
_CLAIM = f"""
    UPDATE {Gateway._meta.db_table} AS g SET next_poll_at = statement_timestamp() + %(lease)s
    FROM (
        SELECT g.id FROM {Gateway._meta.db_table} AS g
        JOIN {Environment._meta.db_table} AS e ON e.id = g.environment_id
        WHERE g.next_poll_at <= %(now)s + least(%(soon)s, e.poll_interval_s * interval '0.1 second')
        ORDER BY g.next_poll_at LIMIT %(limit)s FOR NO KEY UPDATE OF g SKIP LOCKED
    ) AS due WHERE g.id = due.id RETURNING g.id
"""  # noqa: S608


def claim_polls(limit: int) -> list[Gateway]:
    """Take gateways of the present tenant whose turn to be looked at has come, or comes in a moment."""
    if limit <= 0:
        return []
    values: dict[str, Any] = {"now": timezone.now(), "soon": _SOON, "lease": LEASE, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, values)
        claimed = [key for (key,) in cursor.fetchall()]
    return list(Gateway.objects.select_related("environment").filter(pk__in=claimed)) if claimed else []


@dataclass(frozen=True, slots=True)
class Look:
    """One poll: which row it was made for, and when it began.

    Attributes:
        gateway: the row as it was when the poll began.
        began: what was recorded after this is newer than the poll.
    """

    gateway: Gateway
    began: datetime


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What came of a look: the gateway's answer and how long it took, or a problem."""

    look: Look
    told: GatewayState | GatewayProblem
    latency_ms: float | None = None


def poll(gateway: Gateway) -> None:
    """Look at a gateway that `claim_polls` returned, and write down what is seen."""
    with leases.kept(gateway.pk, gateway.next_poll_at):
        look = Look(gateway, timezone.now())
        started = time.perf_counter()
        try:
            client = GatewayClient.of(gateway)
            state = client.state()
            latency_ms = (time.perf_counter() - started) * 1000
            seen = record_answer(look, state, latency_ms)
        except GatewayProblem as problem:
            record_failure(look, problem)
            return
        except Conflict as error:
            record_failure(look, GatewayRefusal("secret-unreadable", error.message))
            return
    if seen is None or not seen.reachable:
        return
    if seen.state_digest != state.state_digest:
        compare_or_ask_again(look, client)
    _drain_leaving(seen, client, state)
    observers.polled(seen, state)


def record_answer(look: Look, state: GatewayState, latency_ms: float) -> Gateway | None:
    """Write down an answered poll.

    Returns:
        The gateway as recorded; None if the answer is outdated and was discarded.
    """
    return _record(_Seen(look, state, latency_ms))


def record_failure(look: Look, problem: GatewayProblem) -> None:
    """Write down a poll that was not answered as agreed."""
    _record(_Seen(look, problem))


def _write(seen: Sequence[_Seen]) -> list[Gateway | None]:
    """Write down what was seen, together as far as nobody else is at the rows, as with pushes."""
    written: dict[_Seen, Gateway | None] = dict.fromkeys(seen)
    with bookkeeping():
        left = _write_unlocked(seen, written, wait=False)
    for each in left:
        with bookkeeping():
            _write_unlocked([each], written, wait=True)
    return list(written.values())


_record: GroupCommit[_Seen, Gateway | None] = GroupCommit(_write)


def _write_unlocked(seen: Sequence[_Seen], written: dict[_Seen, Gateway | None], *, wait: bool) -> list[_Seen]:
    """Lock the rows that are free, write them, and return what was seen of the others."""
    rows = _locked([each.look.gateway.pk for each in seen], wait=wait)
    changed: dict[uuid.UUID, Gateway] = {}
    readings: list[Reading] = []
    for each in seen:
        row = rows.get(each.look.gateway.pk)
        if row is None or _outdated(each, row):
            continue
        written[each] = changed[row.pk] = row
        _take(each, row)
        readings.append(Reading.of(row, each.look.began, latency_ms=each.latency_ms))
    save_rows(list(changed.values()), _FIELDS)
    write_readings(readings)
    return [each for each in seen if each.look.gateway.pk not in rows]


def _locked(keys: Sequence[uuid.UUID], *, wait: bool) -> dict[uuid.UUID, Gateway]:
    rows = Gateway.objects.select_for_update(no_key=True, of=("self",), skip_locked=not wait)
    return {row.pk: row for row in rows.select_related("environment").filter(pk__in=keys).order_by("pk")}


def _outdated(seen: _Seen, row: Gateway) -> bool:
    """Whether the gateway was changed or a newer poll recorded since this one began, or its answer is the older."""
    look, state = seen.look, seen.told
    if (row.address, row.deploy_token) != (look.gateway.address, look.gateway.deploy_token):
        return True
    if row.last_polled_at is not None and row.last_polled_at > look.began:
        return True
    return isinstance(state, GatewayState) and row.boot_id == state.boot_id and state.revision < row.revision


def _take(seen: _Seen, row: Gateway) -> None:
    """Put what was seen into the row, and tell who has to know."""
    before = {name: getattr(row, name) for name in _SHOWN}
    lost = not row.reachable
    if isinstance(seen.told, GatewayState):
        _take_answer(row, seen.told, seen.latency_ms or 0.0)
    else:
        _take_failure(row, seen.told)
    row.last_polled_at, row.next_poll_at = seen.look.began, _next_poll(seen.look, row)
    if before != {name: getattr(row, name) for name in _SHOWN}:
        hint("gateway")
    _tell(row, before["status"])
    if row.reachable and (lost or before["boot_id"] != row.boot_id):
        # It answers again, or was restarted: what waited in a back-off need not wait any longer.
        waiting = Placement.objects.unsettled().filter(gateway=row).unlocked()
        Placement.objects.filter(pk__in=list(waiting.values_list("pk", flat=True))).update(
            next_attempt_at=timezone.now()
        )
        due.lower()


def _take_answer(row: Gateway, state: GatewayState, latency_ms: float) -> None:
    stranger = _identify(row, state)
    if stranger:
        _refuse(row, stranger)
        return
    _overwrite(row, state, latency_ms)
    if row.state_digest != state.state_digest:
        row.state_digest = state.state_digest if _digest_of_rows(row) == state.state_digest else ""


def _take_failure(row: Gateway, problem: GatewayProblem) -> None:
    row.consecutive_failures += 1
    first = row.consecutive_failures < _LOST_AFTER and row.reachable
    status = Status.REFUSED if isinstance(problem, GatewayRefusal) else Status.UNREACHABLE
    reason = f"did not answer the last poll: {problem.message}" if first else problem.message
    _set_status(row, Status.DEGRADED if first and status is Status.UNREACHABLE else status, reason)


def _identify(row: Gateway, state: GatewayState) -> str:
    """Pin who answers first, and say what is wrong with whoever answers later under another identity."""
    if not row.pinned:
        other = Gateway.objects.filter(gateway_id=state.gateway_id).exclude(pk=row.pk).first()
        if other is not None:
            return f"what answers is the gateway {other}, which is registered at {other.address}"
        row.gateway_id, row.public_key = state.gateway_id, state.public_key
        # At once, so that another row of this transaction at whose address the same gateway answers finds it.
        row.save(update_fields=["gateway_id", "public_key"])
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
    """Record a meaningful transition."""
    if row.status == before:
        return
    action = _TRANSITIONS.get(Status(row.status))
    if action is None and before in _TRANSITIONS and row.status == Status.HEALTHY:
        action = "gateway.recover"
    if action is not None:
        record_system_event(action, row, before=before, now=row.status, reason=row.status_reason)


def _next_poll(look: Look, row: Gateway) -> datetime:
    """Every interval while it answers; less often, but never rarely, while it does not."""
    pause = _pause_s(float(row.environment.poll_interval_s), row.consecutive_failures)
    return look.began + timedelta(seconds=pause * random.uniform(0.95, 1.05))  # noqa: S311


def _pause_s(interval: float, failures: int) -> float:
    """Seconds between two polls, after so many in a row that were not answered."""
    if not failures:
        return interval
    if failures <= len(_FIRST_PAUSES_S):
        return min(interval, _FIRST_PAUSES_S[failures - 1])
    return float(min(interval * 2 ** min(failures - _LOST_AFTER, 8), max(interval, _LONGEST_PAUSE_S)))


def _digest_of_rows(gateway: Gateway) -> str:
    """The digest that the gateway reports if it holds exactly what was observed."""
    rows = Placement.objects.filter(gateway=gateway, observed_generation__gt=0)
    return state_digest(
        Item(kind=kind, name=name, generation=generation, digest=digest, tombstone=False)
        for kind, name, generation, digest in rows.values_list("kind", "name", "observed_generation", "observed_digest")
    )


def compare_or_ask_again(look: Look, client: GatewayClient) -> None:
    """Compare what the gateway holds with what was observed; if the answer gets lost, ask again in a moment.

    The gateway answered its poll, so it has missed none, and what it lost meanwhile must not wait for the next one.
    """
    try:
        compare(look, client)
    except GatewayProblem as problem:
        log.info("comparison_failed", gateway=str(look.gateway), reason=problem.reason)
        soon = timezone.now() + timedelta(seconds=_FIRST_PAUSES_S[0])
        due.poll_at(Gateway.objects.filter(pk=look.gateway.pk), soon)


def compare(look: Look, client: GatewayClient) -> None:
    """Fetch everything that the gateway holds and overwrite what was observed of it."""
    fences: Fences = free_fences(look.gateway)
    look = Look(look.gateway, timezone.now())
    state = client.state(items=True)
    with bookkeeping():
        row = _locked([look.gateway.pk], wait=True).get(look.gateway.pk)
        if row is None or _outdated(_Seen(look, state), row) or _identity(row) != (state.gateway_id, state.public_key):
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
        # Both may have been removed by a person meanwhile.
        Environment.objects.select_for_update(no_key=True).filter(pk=environment).first()
        row = Gateway.objects.select_for_update(of=("self",)).filter(pk=key, leaving_at__isnull=False).first()
        if row is None or Placement.objects.unsettled().filter(gateway=row).exists():
            return False
        record_system_event("gateway.leave", row, reason="it confirmed that it is empty")
        row.delete()
        return True
