"""Reads: figures over time, and what list pages need to know of an execution."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from django.db.models import DateTimeField, DurationField, F, Func, Max, QuerySet, Sum, Value
from django.utils import timezone

from apps.core.ports import ports
from apps.telemetry.histogram import BUCKETS, quantile
from apps.telemetry.models import ExecutionRollup, Status
from apps.telemetry.windows import DAY, Window

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from apps.core.actors import Actor


@dataclass(frozen=True, slots=True)
class Figures:
    """Executions in numbers.

    Attributes:
        by_status: numbers of executions by how they ended.
        histogram: numbers by duration, see `histogram.BOUNDS_MS`.
        longest_ms: the longest duration.
    """

    by_status: Mapping[str, int] = field(default_factory=dict)
    histogram: Sequence[int] = ()
    longest_ms: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def executions(self) -> int:
        return sum(self.by_status.values())

    @property
    def succeeded(self) -> int:
        return self.by_status.get(Status.SUCCEEDED, 0)

    @property
    def failed(self) -> int:
        return self.by_status.get(Status.FAILED, 0)

    @property
    def timed_out(self) -> int:
        return self.by_status.get(Status.TIMED_OUT, 0)

    @property
    def cancelled(self) -> int:
        return self.by_status.get(Status.CANCELLED, 0)

    @property
    def errors(self) -> int:
        """Failed and timed out; a caller who left is no error."""
        return self.failed + self.timed_out

    @property
    def ended(self) -> int:
        """Those that ended by themselves: whoever leaves says nothing about the agent."""
        return self.executions - self.cancelled

    @property
    def error_share(self) -> float | None:
        """Of those that ended by themselves, as health gates count; between 0 and 1, None without any."""
        return self.errors / self.ended if self.ended else None

    @property
    def p50_ms(self) -> float | None:
        return quantile(self.histogram, 0.50, self.longest_ms)

    @property
    def p95_ms(self) -> float | None:
        return quantile(self.histogram, 0.95, self.longest_ms)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def total(parts: Iterable[Figures]) -> Figures:
    """The sum of several figures."""
    parts = list(parts)
    by_status = {status: sum(part.by_status.get(status, 0) for part in parts) for status in Status.values}
    return Figures(
        by_status={status: count for status, count in by_status.items() if count},
        histogram=[sum(column) for column in zip(*(part.histogram for part in parts if part.histogram), strict=True)],
        longest_ms=max((part.longest_ms for part in parts), default=0.0),
        input_tokens=sum(part.input_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
    )


@dataclass(frozen=True, slots=True)
class Activity:
    """Figures over time.

    Attributes:
        starts: the beginning of each step, oldest first.
        steps: the figures of each step; as many as `starts`.
    """

    window: Window
    starts: Sequence[datetime]
    steps: Sequence[Figures]

    @property
    def total(self) -> Figures:
        return total(self.steps)


def activity(
    actor: Actor, window: Window = DAY, *, now: datetime | None = None, where: Mapping[str, Any] | None = None
) -> Activity:
    """Executions over time that the actor may see. One query, whatever the window.

    Args:
        where: field look-ups on `ExecutionRollup`, such as `{"agent_slug": "translator"}`.
    """
    starts = window.starts(now or timezone.now())
    rows = (
        _rollups(actor, window, starts[0])
        .filter(start__lt=starts[-1] + window.step, **(where or {}))
        .annotate(step=_step(window.step, starts[0]))
        .values("step", "status")
        .annotate(**_SUMS)
        .order_by("step")
    )
    found = {step: _figures(group) for step, group in groupby(rows, key=itemgetter("step"))}
    return Activity(window, starts, [found.get(start, Figures()) for start in starts])


def by_registration(actor: Actor, window: Window = DAY, *, now: datetime | None = None) -> dict[str, Figures]:
    """The figures of each registration that was called within the window. One query."""
    since = window.starts(now or timezone.now())[0]
    rows = _rollups(actor, window, since).values("registration", "status").annotate(**_SUMS).order_by("registration")
    return {registration: _figures(group) for registration, group in groupby(rows, key=itemgetter("registration"))}


def _rollups(actor: Actor, window: Window, since: datetime) -> QuerySet[ExecutionRollup]:
    queryset = ExecutionRollup.objects.filter(resolution=window.resolution, start__gte=since)
    visible: QuerySet[ExecutionRollup] = ports.visible(queryset, actor, "execution.view")
    return visible


def _step(length: timedelta, origin: datetime) -> Func:
    """PostgreSQL's `date_bin`: the beginning of the step that a rollup lies in."""
    return Func(
        Value(length, DurationField()), F("start"), Value(origin, DateTimeField()),
        function="date_bin", output_field=DateTimeField(),
    )  # fmt: skip


_SUMS: dict[str, Any] = {
    "count": Sum("executions"),
    "longest_ms": Max("duration_max_ms"),
    "tokens_in": Sum("input_tokens"),
    "tokens_out": Sum("output_tokens"),
    # PostgreSQL has no sum over arrays; a sum for each place is one pass all the same.
    **{f"bucket_{at}": Sum(F(f"histogram__{at}")) for at in range(BUCKETS)},
}


def _figures(rows: Iterable[Mapping[str, Any]]) -> Figures:
    """The rows of one group, of which there is one a status."""
    return total(
        Figures(
            by_status={row["status"]: int(row["count"])},
            histogram=[int(row[f"bucket_{at}"]) for at in range(BUCKETS)],
            longest_ms=row["longest_ms"],
            input_tokens=int(row["tokens_in"]),
            output_tokens=int(row["tokens_out"]),
        )
        for row in rows
    )
