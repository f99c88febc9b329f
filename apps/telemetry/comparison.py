"""Two releases side by side, from the executions themselves: what a rollout's health gate decides upon.

Rollups would answer sooner but not exactly: their quantiles are as wide as a bucket, and a minute that began before the
rollout belongs to both sides of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from django.contrib.postgres.fields import ArrayField
from django.db.models import Aggregate, Count, FloatField, Q, Sum

from apps.telemetry.models import ERRORS, Execution, Status
from apps.telemetry.prices import UNPRICED, Pricing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from decimal import Decimal

    from apps.gateways.models import Environment, Gateway

# A failure is often quick, and a caller who leaves says nothing of the agent: neither may make a release look fast.
TIMED = (Status.SUCCEEDED, Status.TIMED_OUT)
ENDED = ~Q(status=Status.CANCELLED)


class Quantiles(Aggregate):
    """PostgreSQL's exact quantiles (`percentile_cont`): [median, 95th percentile]; NULL over nothing."""

    function = "percentile_cont"
    template = "%(function)s(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = ArrayField(FloatField())
    name = "Quantiles"


@dataclass(frozen=True, slots=True)
class ReleaseFigures:
    """How one release did over a span of time.

    Attributes:
        executions: those that ended by themselves: succeeded, failed or timed out. All other figures speak of them.
        errors: failed and timed out.
        cancelled: left by their callers; counted here and nowhere else.
        p50_ms, p95_ms: exact durations of what succeeded or timed out; None without any.
        pricing: the price that `cost_per_execution` uses.
    """

    executions: int = 0
    errors: int = 0
    cancelled: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    pricing: Pricing = UNPRICED

    @property
    def error_rate(self) -> float | None:
        """Between 0 and 1; None without executions."""
        return self.errors / self.executions if self.executions else None

    @property
    def tokens_per_execution(self) -> float | None:
        """Read and written together; None without executions."""
        return (self.input_tokens + self.output_tokens) / self.executions if self.executions else None

    @property
    def priced(self) -> bool:
        return self.pricing.price is not None

    @property
    def currency(self) -> str:
        """Of `cost_per_execution`; "" without a price or where nothing costs anything."""
        return self.pricing.price.currency if self.pricing.price else ""

    @property
    def cost_per_execution(self) -> Decimal | None:
        """In `currency`; None without a price or without executions."""
        if self.pricing.price is None or not self.executions:
            return None
        return self.pricing.price.of(self.input_tokens, self.output_tokens) / self.executions


def figures_of(
    *,
    registration: str,
    environment: Environment,
    release_digest: str,
    since: datetime,
    until: datetime | None = None,
    gateways: Iterable[Gateway] | None = None,
    pricing: Pricing = UNPRICED,
) -> ReleaseFigures:
    """How a release did, of the executions that began within a span. One query.

    Args:
        registration: the name that callers use; a canary's executions stand under it too.
        since, until: by the gateways' clocks; the first moment is included, the last is not. None: until now.
        gateways: only of these; None: of all, also of those that were removed since.
        pricing: how its tokens are priced; see `prices.pricing_of`.
    """
    rows = Execution.objects.filter(
        registration=registration, release_digest=release_digest, environment=environment, started_at__gte=since
    )
    if until is not None:
        rows = rows.filter(started_at__lt=until)
    if gateways is not None:
        rows = rows.filter(gateway__in=list(gateways))
    return _figures(rows.aggregate(**_SUMS), pricing)


_SUMS: dict[str, Any] = {
    "executions": Count("pk", filter=ENDED),
    "errors": Count("pk", filter=Q(status__in=ERRORS)),
    "cancelled": Count("pk", filter=Q(status=Status.CANCELLED)),
    "durations": Quantiles("duration_ms", filter=Q(status__in=TIMED)),
    "input_tokens": Sum("input_tokens", filter=ENDED),
    "output_tokens": Sum("output_tokens", filter=ENDED),
}


def _figures(sums: dict[str, Any], pricing: Pricing) -> ReleaseFigures:
    p50_ms, p95_ms = sums["durations"] or (None, None)
    return ReleaseFigures(
        executions=sums["executions"],
        errors=sums["errors"],
        cancelled=sums["cancelled"],
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        input_tokens=int(sums["input_tokens"] or 0),
        output_tokens=int(sums["output_tokens"] or 0),
        pricing=pricing,
    )


@dataclass(frozen=True, slots=True)
class CostComparison:
    """What an execution of the new release takes, against one of the old.

    Attributes:
        measure: what was compared: money, or tokens where there are no prices; "" if nothing could be.
        ratio: new by old; 1.2 is a fifth more. None if nothing could be compared.
        reason: why there is no ratio, or why it speaks of tokens; "" for money.
    """

    measure: Literal["cost", "tokens", ""]
    ratio: float | None
    reason: str = ""


def compare_costs(new: ReleaseFigures, old: ReleaseFigures) -> CostComparison:
    """Compare the cost of an execution, or its tokens where neither release has a price and both call the same models.

    Whatever cannot be compared fairly is not compared: the reason says why, and a health gate leaves the cost out.
    """
    if not new.executions or not old.executions:
        return CostComparison("", None, f"the {'old' if new.executions else 'new'} release has no executions")
    cost, cost_before = new.cost_per_execution, old.cost_per_execution
    if cost is not None and cost_before is not None:
        return _compare_money(new, old, cost, cost_before)
    if cost is not None or cost_before is not None:
        problem, side = (new.pricing.problem, "new") if cost is None else (old.pricing.problem, "old")
        return CostComparison("", None, f"the {side} release cannot be priced: {problem}")
    return _compare_tokens(new, old)


def _compare_money(new: ReleaseFigures, old: ReleaseFigures, cost: Decimal, before: Decimal) -> CostComparison:
    if new.currency and old.currency and new.currency != old.currency:
        return CostComparison("", None, f"the releases are priced in {old.currency} and in {new.currency}")
    if not before:
        if not cost:
            return CostComparison("cost", 1.0)
        return CostComparison("", None, "the old release cost nothing")
    return CostComparison("cost", float(cost / before))


def _compare_tokens(new: ReleaseFigures, old: ReleaseFigures) -> CostComparison:
    if not new.pricing.profiles or new.pricing.profiles != old.pricing.profiles:
        return CostComparison("", None, f"the releases call different models and {new.pricing.problem}")
    tokens, before = new.tokens_per_execution, old.tokens_per_execution
    if not tokens or not before:
        return CostComparison("", None, "no tokens were counted")
    return CostComparison("tokens", tokens / before, f"tokens are compared, because {new.pricing.problem}")
