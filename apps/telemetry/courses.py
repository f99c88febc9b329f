"""Releases beside each other over the time of a rollout, from the executions themselves, as charts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, DateTimeField, DurationField, F, Func, Q, Value
from django.utils import timezone

from apps.telemetry.comparison import ENDED, TIMED, Quantiles
from apps.telemetry.models import ERRORS, Execution

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from apps.gateways.models import Environment

POINTS = 40
# A rollout that is over in a moment is drawn with what went before it: a single point is no course.
_FEWEST = 12
_STEPS_S = (5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 86_400)


@dataclass(frozen=True, slots=True)
class Moment:
    """One release within one step of time."""

    executions: int = 0
    errors: int = 0
    p95_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Courses:
    """Releases over the same time.

    Attributes:
        starts: the beginning of each step, oldest first.
        by_digest: as many moments as `starts` for each release that was asked for.
    """

    step: timedelta
    starts: Sequence[datetime]
    by_digest: Mapping[str, Sequence[Moment]] = field(default_factory=dict)


def courses_of(
    *, registration: str, environment: Environment, digests: Sequence[str], since: datetime, until: datetime | None
) -> Courses:
    """How releases did over time, in at most about `POINTS` steps. One query.

    Args:
        until: None: until now.
    """
    end = max(until or timezone.now(), since)
    step = _step_of(end - since)
    since = min(since, end - step * _FEWEST)
    starts = [since + step * at for at in range(int((end - since) / step) + 1)]
    # PostgreSQL's `date_bin`: the beginning of the step that an execution lies in.
    binned = Func(
        Value(step, DurationField()), F("started_at"), Value(since, DateTimeField()),
        function="date_bin", output_field=DateTimeField(),
    )  # fmt: skip
    rows = (
        Execution.objects.filter(
            registration=registration, environment=environment, release_digest__in=digests,
            started_at__gte=since, started_at__lte=end,
        )
        .annotate(step=binned)
        .values("step", "release_digest")
        .annotate(
            count=Count("pk", filter=ENDED),
            failed=Count("pk", filter=Q(status__in=ERRORS)),
            durations=Quantiles("duration_ms", filter=Q(status__in=TIMED)),
        )
        .order_by("step")
    )  # fmt: skip
    found = {
        (row["release_digest"], row["step"]): Moment(
            row["count"], row["failed"], row["durations"][1] if row["durations"] else None
        )
        for row in rows
    }
    return Courses(
        step, starts, {digest: [found.get((digest, start), Moment()) for start in starts] for digest in digests}
    )


def _step_of(span: timedelta) -> timedelta:
    seconds = next((each for each in _STEPS_S if span.total_seconds() <= each * POINTS), _STEPS_S[-1])
    return timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Line:
    """How one release is drawn."""

    digest: str
    label: str
    color: str


def error_chart(courses: Courses, lines: Sequence[Line], height: int) -> dict[str, Any]:
    """The share of executions that failed, in per cent, with gaps where nothing ran."""
    return _chart(courses, lines, height, "%", _per_cent)


def latency_chart(courses: Courses, lines: Sequence[Line], height: int) -> dict[str, Any]:
    """The 95th percentile of the duration, with gaps where nothing ran."""
    return _chart(courses, lines, height, "ms", lambda moment: moment.p95_ms and round(moment.p95_ms, 1))


def volume_chart(courses: Courses, lines: Sequence[Line], height: int) -> dict[str, Any]:
    """How many executions each release had, stacked."""
    chart = _chart(courses, lines, height, "", lambda moment: moment.executions)
    for series in chart["series"]:
        series |= {"kind": "bars", "total": sum(series["values"])}
    return {**chart, "stacked": True}


def _per_cent(moment: Moment) -> float | None:
    return round(100 * moment.errors / moment.executions, 1) if moment.executions else None


def _chart(
    courses: Courses, lines: Sequence[Line], height: int, unit: str, value: Callable[[Moment], float | None]
) -> dict[str, Any]:
    return {
        "times": [int(start.timestamp()) for start in courses.starts],
        "unit": unit,
        "height": height,
        "series": [
            {
                "label": line.label,
                "color": line.color,
                "values": [value(moment) for moment in courses.by_digest[line.digest]],
            }
            for line in lines
        ],
    }
