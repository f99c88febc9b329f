"""The two releases of a rollout side by side in words, with the limits of its gate: what a person decides upon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.telemetry.comparison import compare_costs
from apps.telemetry.words import NOTHING, count_words, duration_words, money_words

if TYPE_CHECKING:
    from apps.deployments.strategies.plans import HealthGate
    from apps.telemetry.comparison import ReleaseFigures


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of both releases.

    Attributes:
        old, new: as text; a dash for nothing.
        limit: what the gate allows; "" where it does not look.
        worse: whether the new release exceeds that.
        hint: why there is nothing to compare.
    """

    label: str
    old: str
    new: str
    limit: str = ""
    worse: bool = False
    hint: str = ""


def scorecard(old: ReleaseFigures | None, new: ReleaseFigures | None, gate: HealthGate | None) -> list[Line]:
    """The figures that a gate looks at, whether there is one or not; none without a new release."""
    if new is None:
        return []
    return [_executions(old, new, gate), _errors(old, new, gate), _latency(old, new, gate), _cost(old, new, gate)]


def _executions(old: ReleaseFigures | None, new: ReleaseFigures, gate: HealthGate | None) -> Line:
    limit = f"{gate.minimum_executions} to judge" if gate else ""
    return Line("Executions", count_words(old.executions) if old else NOTHING, count_words(new.executions), limit)


def _errors(old: ReleaseFigures | None, new: ReleaseFigures, gate: HealthGate | None) -> Line:
    before, after = old.error_rate if old else None, new.error_rate
    rise = 100 * ((after or 0.0) - (before or 0.0))
    return Line(
        "Error rate",
        NOTHING if before is None else f"{before:.1%}",
        NOTHING if after is None else f"{after:.1%}",
        limit=f"{gate.error_rate_points:g} points more" if gate else "",
        worse=gate is not None and after is not None and rise > gate.error_rate_points,
    )


def _latency(old: ReleaseFigures | None, new: ReleaseFigures, gate: HealthGate | None) -> Line:
    before, after = old.p95_ms if old else None, new.p95_ms
    most = gate.p95_ratio if gate else None
    return Line(
        "95th percentile",
        duration_words(before),
        duration_words(after),
        limit=f"{most:g} times" if most is not None else "",
        worse=bool(most and before and after and after / before > most),
    )


def _cost(old: ReleaseFigures | None, new: ReleaseFigures, gate: HealthGate | None) -> Line:
    most = gate.cost_ratio if gate else None
    limit = f"{most:g} times" if most is not None else ""
    compared = compare_costs(new, old) if old is not None else None
    worse = bool(most and compared and compared.ratio is not None and compared.ratio > most)
    hint = compared.reason if compared is not None and new.executions and old and old.executions else ""
    if new.priced or (old is not None and old.priced):
        return Line("Cost of an execution", _money(old), _money(new), limit, worse, hint)
    return Line("Tokens of an execution", _tokens(old), _tokens(new), limit, worse, hint)


def _money(figures: ReleaseFigures | None) -> str:
    return money_words(figures.cost_per_execution, figures.currency) if figures else NOTHING


def _tokens(figures: ReleaseFigures | None) -> str:
    tokens = figures.tokens_per_execution if figures else None
    return NOTHING if tokens is None else f"{tokens:,.0f}"
