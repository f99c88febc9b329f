"""Reading gateways' execution logs: fetch a page, then keep its records and move the cursor in one transaction.

A crash between the two loses nothing and repeats nothing, because the next page begins where the rows end. No
transaction is open while a gateway is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import structlog
from django.conf import settings
from django.utils import timezone

from apps.core.commands import bookkeeping, record_system_event
from apps.core.errors import GatewayUnavailable
from apps.core.live import hint
from apps.core.tenancy import current_schema
from apps.gateways.client import GatewayClient
from apps.gateways.commands.keys import record_key_use
from apps.telemetry.live import HINT
from apps.telemetry.models import Execution, ExecutionCursor
from apps.telemetry.rollups import add
from contract.admin_api import EXECUTION_PAGE_LIMIT, ExecutionPage, ExecutionRecord
from contract.errors import ContractError
from contract.names import split_registration_name

if TYPE_CHECKING:
    from uuid import UUID

    from apps.gateways.models import Gateway
    from contract.admin_api import GatewayState

log = structlog.get_logger(__name__)

Fetch = Callable[[int], ExecutionPage]

# A gateway that has much to tell is read in several turns, so that it does not keep the others waiting.
PAGES_A_TURN = 10
# How long a gateway that reports nothing new goes without being asked.
_ASK_ANYWAY_S = 30.0
_MOST_REMEMBERED = 10_000
# By how much a gateway's clock may be ahead. What seems to begin later would be kept long after all else is pruned.
_CLOCK_AHEAD = timedelta(days=1)


class _Position(NamedTuple):
    """A place in a gateway's log."""

    epoch: str
    after: int


# Until where this process has read, and when, by tenant and gateway.
_read: dict[tuple[str, UUID], tuple[_Position, float]] = {}


def collect(gateway: Gateway, state: GatewayState) -> None:
    """Read what a gateway executed since it was last asked; hangs on every answered poll, so on the scanner alone.

    A gateway that does not answer this call is no failure of the poll: its cursor says what is wrong. One whose state
    names the record that this process read last is not asked, save now and then: the cursor may have been moved.
    """
    key = (current_schema(), gateway.pk)
    read_until, read_at = _read.get(key, (None, 0.0))
    now = time.monotonic()
    if read_until == (state.execution_epoch, state.execution_seq) and now - read_at < _ASK_ANYWAY_S:
        return
    client = GatewayClient.of(gateway)
    try:
        read_log(gateway, lambda after: client.executions(after=after, limit=EXECUTION_PAGE_LIMIT))
    except GatewayUnavailable as error:
        log.warning("executions_not_collected", gateway=gateway.name, reason=error.message)
        return
    if len(_read) >= _MOST_REMEMBERED:
        _read.clear()
    _read[key] = (_position(gateway), now)


def read_log(gateway: Gateway, fetch: Fetch) -> int:
    """Read what is new in a gateway's log, at most `PAGES_A_TURN` pages.

    Args:
        fetch: asks the gateway for the page after a position. Runs outside any transaction.

    Returns:
        How many executions were kept.

    Raises:
        GatewayUnavailable: the gateway did not answer, or not as agreed. The cursor stays and says so.
    """
    kept = 0
    try:
        for _ in range(PAGES_A_TURN):
            position = _position(gateway)
            page = fetch(position.after)
            _check(page, position)
            kept += _keep(gateway, position, page)
            if _is_last(page, position):
                break
    except GatewayUnavailable as error:
        ExecutionCursor.objects.filter(gateway=gateway).update(problem=error.message[:300])
        raise
    return kept


def _position(gateway: Gateway) -> _Position:
    cursor, _ = ExecutionCursor.objects.get_or_create(gateway=gateway)
    return _Position(cursor.epoch, cursor.after)


def _is_last(page: ExecutionPage, position: _Position) -> bool:
    """Whether nothing more is to be read now. The page of another epoch says nothing: it began at a strange place."""
    return position.epoch in ("", page.epoch) and len(page.items) < EXECUTION_PAGE_LIMIT


def _check(page: ExecutionPage, position: _Position) -> None:
    """Refuse a page that would let the cursor stand still or run away.

    Raises:
        GatewayUnavailable: the positions in it do not ascend from where it was asked to begin.
    """
    seqs = [position.after, *(record.seq for record in page.items)]
    ascending = all(earlier < later for earlier, later in pairwise(seqs))
    if not ascending or page.next_after != seqs[-1]:
        raise GatewayUnavailable("Its execution log is out of order.")


def _keep(gateway: Gateway, position: _Position, page: ExecutionPage) -> int:
    """Add the page's records and move the cursor behind them; nothing if another reader was faster."""
    if not page.items and position.epoch == page.epoch and page.first_seq <= position.after + 1:
        unmoved = ExecutionCursor.objects.filter(gateway=gateway, epoch=position.epoch, after=position.after)
        unmoved.update(collected_at=timezone.now(), problem="")
        return 0
    with bookkeeping():
        cursor = ExecutionCursor.objects.select_for_update().get(gateway=gateway)
        if (cursor.epoch, cursor.after) != position:
            return 0
        if cursor.epoch and cursor.epoch != page.epoch:
            _begin_anew(gateway, cursor, page.epoch)
            return 0
        executions = _executions(gateway, cursor, page)
        Execution.objects.bulk_create(executions)
        add(gateway, executions)
        missed = _missed(cursor, page)
        cursor.epoch, cursor.after, cursor.missed = page.epoch, page.next_after, cursor.missed + missed
        cursor.collected_at, cursor.problem = timezone.now(), ""
        cursor.save()
        if executions:
            record_key_use(_last_uses(executions))
            hint(HINT)
        if missed:
            # Last, as in commands: who holds the head of the log waits for nothing else.
            record_system_event("gateway.drop-executions", gateway, count=missed, epoch=page.epoch)
    return len(executions)


def _begin_anew(gateway: Gateway, cursor: ExecutionCursor, epoch: str) -> None:
    """The gateway lost its log. What was read stays; the new log is read from its first record."""
    lost = {"previous_epoch": cursor.epoch, "read_until": cursor.after, "epoch": epoch}
    cursor.epoch, cursor.after = epoch, 0
    cursor.save()
    log.warning("execution_log_lost", gateway=gateway.name, **lost)
    record_system_event("gateway.lose-execution-log", gateway, **lost)


def _missed(cursor: ExecutionCursor, page: ExecutionPage) -> int:
    """How many records the gateway, whose log is bounded, dropped before Studio came for them.

    A log that is read for the first time began before Studio knew the gateway: of it nothing was missed.
    """
    return max(0, page.first_seq - cursor.after - 1) if cursor.epoch else 0


def _executions(gateway: Gateway, cursor: ExecutionCursor, page: ExecutionPage) -> list[Execution]:
    """The page's records as new rows, without what is stored already, is too old to be kept, or cannot be stored."""
    now = timezone.now()
    oldest = now - timedelta(days=settings.KAIZEN_EXECUTION_RETENTION_DAYS)
    stored = _stored(gateway, page)
    new = [record for record in page.items if record.seq not in stored]
    readable = [record for record in new if isinstance(record, ExecutionRecord)]
    sound = [record for record in readable if record.started_at <= now + _CLOCK_AHEAD]
    if len(sound) < len(new):
        cursor.unreadable += len(new) - len(sound)
        log.warning("execution_records_unreadable", gateway=gateway.name, count=len(new) - len(sound))
    return [_execution(gateway, page.epoch, record) for record in sound if record.started_at >= oldest]


def _stored(gateway: Gateway, page: ExecutionPage) -> set[int]:
    """Positions that are stored though the cursor is before them: a gateway restored an older log, or Studio did."""
    seqs: Sequence[int] = [record.seq for record in page.items]
    if not seqs:
        return set()
    known = Execution.objects.filter(gateway=gateway, epoch=page.epoch, seq__gte=seqs[0], seq__lte=seqs[-1])
    return set(known.values_list("seq", flat=True))


def _last_uses(executions: Iterable[Execution]) -> dict[str, datetime]:
    """The latest start by key id, in the order of the ids, so that two readers lock keys in the same order."""
    uses: dict[str, datetime] = {}
    for execution in executions:
        uses[execution.key_id] = max(execution.started_at, uses.get(execution.key_id, execution.started_at))
    return dict(sorted(uses.items()))


def _execution(gateway: Gateway, epoch: str, record: ExecutionRecord) -> Execution:
    return Execution(
        gateway=gateway,
        gateway_name=gateway.name,
        environment_id=gateway.environment_id,
        epoch=epoch,
        seq=record.seq,
        execution_id=record.execution_id,
        registration=record.registration,
        agent_slug=_slug(record.registration),
        release_digest=record.release_digest,
        key_id=record.key_id,
        channel=record.channel.value,
        started_at=record.started_at,
        duration_ms=record.duration_ms,
        status=record.status.value,
        error_code=record.error_code or "",
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        session_id=record.session_id or "",
    )


def _slug(registration: str) -> str:
    """The agent behind a registration; the whole name if somebody named it otherwise."""
    try:
        return split_registration_name(registration).slug
    except ContractError:
        return registration[:64]
