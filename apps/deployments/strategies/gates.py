"""Judging a new release by its executions, beside those of the release that it is to replace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from apps.telemetry.comparison import compare_costs

if TYPE_CHECKING:
    from apps.deployments.strategies.plans import HealthGate
    from apps.telemetry.comparison import ReleaseFigures

Health = Literal["healthy", "degraded", "too-few"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a health gate says of a release.

    Attributes:
        health: `too-few` while there are too few executions to say anything.
        reasons: in numbers: what is worse (degraded), or what was found (healthy).
        executions, minimum: how many of the new release there are, and how many it takes.
        old, new: the figures that were compared, as JSON; `old` is null without an earlier release.
    """

    health: Health
    reasons: tuple[str, ...]
    executions: int
    minimum: int
    new: dict[str, Any]
    old: dict[str, Any] | None = None

    @property
    def in_words(self) -> str:
        """The reasons in one line."""
        return "; ".join(self.reasons)

    def to_json(self) -> dict[str, Any]:
        return {
            "health": self.health,
            "reasons": list(self.reasons),
            "executions": self.executions,
            "minimum": self.minimum,
            "old": self.old,
            "new": self.new,
        }


def judge(gate: HealthGate, *, new: ReleaseFigures, old: ReleaseFigures | None) -> Verdict:
    """Compare two releases.

    Args:
        old: None without an earlier release, or if it ran too little to be compared with: then an error rate is
            measured against none, and nothing else is looked at.
    """
    figures = (figures_as_json(new), figures_as_json(old) if old is not None else None)
    if new.executions < gate.minimum_executions:
        some = f"judged on {new.executions} of {gate.minimum_executions} executions"
        return Verdict("too-few", (some,), new.executions, gate.minimum_executions, *figures)
    worse: list[str] = []
    fine: list[str] = []
    for exceeded, words in (_errors(gate, new, old), _latency(gate, new, old), _cost(gate, new, old)):
        (worse if exceeded else fine).append(words)
    found = tuple(words for words in (worse or fine) if words)
    return Verdict("degraded" if worse else "healthy", found, new.executions, gate.minimum_executions, *figures)


def _errors(gate: HealthGate, new: ReleaseFigures, old: ReleaseFigures | None) -> tuple[bool, str]:
    after = (new.error_rate or 0.0) * 100
    before = ((old.error_rate or 0.0) if old is not None else 0.0) * 100
    against = f"against {before:.1f} %" if old is not None else "with nothing to compare"
    words = f"error rate {after:.1f} % {against} ({new.errors} of {new.executions} executions failed)"
    return after - before > gate.error_rate_points, words


def _latency(gate: HealthGate, new: ReleaseFigures, old: ReleaseFigures | None) -> tuple[bool, str]:
    if gate.p95_ratio is None or old is None or not new.p95_ms or not old.p95_ms:
        return False, ""
    ratio = new.p95_ms / old.p95_ms
    return ratio > gate.p95_ratio, f"p95 {_ms(new.p95_ms)} against {_ms(old.p95_ms)} ({ratio:.2g} times)"


def _cost(gate: HealthGate, new: ReleaseFigures, old: ReleaseFigures | None) -> tuple[bool, str]:
    if gate.cost_ratio is None or old is None:
        return False, ""
    compared = compare_costs(new, old)
    if compared.ratio is None:
        return False, f"cost not compared: {compared.reason}"
    if compared.measure == "tokens":
        pair = f"{new.tokens_per_execution:.0f} against {old.tokens_per_execution:.0f} tokens an execution"
    else:
        currency = new.currency or old.currency
        pair = f"cost {new.cost_per_execution:.4g} against {old.cost_per_execution:.4g} {currency} an execution"
    return compared.ratio > gate.cost_ratio, f"{pair} ({compared.ratio:.2g} times)"


def _ms(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.2f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


def figures_as_json(figures: ReleaseFigures) -> dict[str, Any]:
    """Figures as a verdict keeps them."""
    return {
        "executions": figures.executions,
        "errors": figures.errors,
        "error_rate": figures.error_rate,
        "p50_ms": figures.p50_ms,
        "p95_ms": figures.p95_ms,
        "tokens_per_execution": figures.tokens_per_execution,
        "currency": figures.currency,
        "cost_per_execution": str(figures.cost_per_execution) if figures.cost_per_execution is not None else None,
    }
