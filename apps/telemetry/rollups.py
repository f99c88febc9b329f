"""Keeping the sums: what is added to the rows is added to the rollups, in the same transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from apps.telemetry.histogram import bucket_of
from apps.telemetry.models import Execution, ExecutionRollup, Resolution

if TYPE_CHECKING:
    from collections.abc import Iterable

    from apps.gateways.models import Gateway


class _Key(NamedTuple):
    """What tells one rollup of a gateway from another."""

    resolution: int
    start: datetime
    registration: str
    release_digest: str
    status: str


_SUMS = (
    "executions", "duration_sum_ms", "duration_max_ms", "histogram", "input_tokens", "output_tokens",
)  # fmt: skip


def add(gateway: Gateway, executions: Iterable[Execution]) -> None:
    """Add executions of one gateway to its rollups.

    The caller holds the lock on the gateway's cursor. Nobody else writes this gateway's rollups meanwhile, which is
    what makes it safe to read a sum and to write a larger one.
    """
    fresh: dict[_Key, ExecutionRollup] = {}
    for execution in executions:
        for resolution in Resolution:
            key = _key(execution, resolution)
            if key not in fresh:
                fresh[key] = _empty(gateway, execution, key)
            _count(fresh[key], execution)
    if not fresh:
        return
    for stored in _stored(gateway, fresh):
        same = fresh.get(_Key(*(getattr(stored, name) for name in _Key._fields)))
        if same is not None:
            _merge(same, stored)
    ExecutionRollup.objects.bulk_create(
        fresh.values(), update_conflicts=True, unique_fields=["gateway", *_Key._fields], update_fields=_SUMS
    )


def _stored(gateway: Gateway, keys: Iterable[_Key]) -> Iterable[ExecutionRollup]:
    """The rollups that may be among `keys`: found by the columns of the unique index."""
    keys = list(keys)
    return ExecutionRollup.objects.filter(
        gateway=gateway,
        resolution__in={key.resolution for key in keys},
        start__in={key.start for key in keys},
        registration__in={key.registration for key in keys},
    )


def _key(execution: Execution, resolution: Resolution) -> _Key:
    length = resolution.value
    start = datetime.fromtimestamp(execution.started_at.timestamp() // length * length, UTC)
    return _Key(length, start, execution.registration, execution.release_digest, execution.status)


def _empty(gateway: Gateway, execution: Execution, key: _Key) -> ExecutionRollup:
    return ExecutionRollup(
        gateway=gateway, environment_id=execution.environment_id, agent_slug=execution.agent_slug, **key._asdict()
    )


def _count(rollup: ExecutionRollup, execution: Execution) -> None:
    rollup.executions += 1
    rollup.duration_sum_ms += execution.duration_ms
    rollup.duration_max_ms = max(rollup.duration_max_ms, execution.duration_ms)
    rollup.histogram[bucket_of(execution.duration_ms)] += 1
    rollup.input_tokens += execution.input_tokens
    rollup.output_tokens += execution.output_tokens


def _merge(fresh: ExecutionRollup, stored: ExecutionRollup) -> None:
    fresh.executions += stored.executions
    fresh.duration_sum_ms += stored.duration_sum_ms
    fresh.duration_max_ms = max(fresh.duration_max_ms, stored.duration_max_ms)
    fresh.histogram = [ours + theirs for ours, theirs in zip(fresh.histogram, stored.histogram, strict=True)]
    fresh.input_tokens += stored.input_tokens
    fresh.output_tokens += stored.output_tokens
