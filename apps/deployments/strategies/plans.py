"""How a change reaches the gateways of an environment: the plan of a rollout, as values and as JSON.

A plan decides nothing. It is written by people (in a form, in the API, as the policy of an environment), kept with the
rollout that follows it, and never changed after that.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from apps.core.errors import Invalid
from apps.gateways.labels import KEY_PATTERN, VALUE_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

StrategyName = Literal["all-at-once", "waves", "canary"]
STRATEGIES: tuple[StrategyName, ...] = get_args(StrategyName)
SUMMARIES: dict[StrategyName, str] = {
    "all-at-once": "Every gateway of the environment at the same time.",
    "waves": "Some gateways after others, each wave watched before the next one begins.",
    "canary": "A rising part of the callers on every gateway, the others stay with the release before.",
}
STEPS_MAX = 20
SOAK_MAX_S = 7 * 24 * 3600
PATIENCE_MAX_S = 7 * 24 * 3600
DEFAULT_SOAK_S = 300
DEFAULT_WEIGHTS = (1, 5, 25, 100)
_COUNT_MAX = 10_000
MINIMUM_MAX = 1_000_000
RATIO_MAX = 1_000.0

_SHARE = re.compile(
    rf"(?:(?P<key>{KEY_PATTERN})=(?P<value>{VALUE_PATTERN}))?(?:(?:^|(?<=\S)\s+)(?P<number>[0-9]{{1,6}})\s*(?P<percent>%)?)?"
)


@dataclass(frozen=True, slots=True)
class Share:
    """A part of something: of an environment's gateways, of those with a label, or of the callers.

    Attributes:
        percent, count: one of them; the part that is reached in all, not the part that is added.
        label: `(name, value)` that a gateway must have; None for all of them.
    """

    percent: int | None = None
    count: int | None = None
    label: tuple[str, str] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `3`, `25 %`, `region=eu`, `region=eu 50 %` or `region=eu 1`.

        Raises:
            Invalid: it is none of them.
        """
        found = _SHARE.fullmatch(text.strip())
        if found is None or not text.strip():
            raise _wrong(
                f"“{text[:60]}” is no part of a fleet: write a number of gateways (3), a percentage (25 %), "
                "a label (region=eu), or a label with one of them (region=eu 50 %)"
            )
        label = (found["key"], found["value"]) if found["key"] else None
        number = int(found["number"]) if found["number"] else 100
        if found["percent"] or not found["number"]:
            if not 1 <= number <= 100:
                raise _wrong(f"“{text.strip()}”: a percentage is from 1 to 100")
            return cls(percent=number, label=label)
        if not 1 <= number <= _COUNT_MAX:
            raise _wrong(f"“{text.strip()}”: a number of gateways is from 1 to {_COUNT_MAX}")
        return cls(count=number, label=label)

    @property
    def whole(self) -> bool:
        """Whether it is everything there is."""
        return self.percent == 100 and self.label is None

    def __str__(self) -> str:
        label = "=".join(self.label) if self.label else ""
        if label and self.percent == 100:
            return label
        amount = f"{self.percent} %" if self.percent is not None else str(self.count)
        return f"{label} {amount}".strip()

    def of(self, total: int) -> int:
        """How many of so many: percentages are rounded up, so that a part is never nothing."""
        if self.percent is not None:
            return math.ceil(total * self.percent / 100)
        return min(self.count or 0, total)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a plan.

    Attributes:
        share: of the gateways (waves) or of the callers (canary) that have the new release when it is done.
        soak_s: seconds to watch it, counted from the last gateway's confirmation.
        approval: whether a person has to approve what comes after it.
    """

    share: Share
    soak_s: int = 0
    approval: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"share": str(self.share), "soak_s": self.soak_s, "approval": self.approval}

    @classmethod
    def from_json(cls, value: Any, where: str) -> Self:
        """Read one step.

        Raises:
            Invalid: it is none; the message says which and why.
        """
        members = _members(value, where, {"share", "soak_s", "approval"})
        share = members.get("share")
        if not isinstance(share, str):
            raise _wrong(f"{where}: “share” is missing; write it as text, such as “25 %”")
        return cls(
            Share.parse(share),
            soak_s=_integer(members, "soak_s", where, default=0, lowest=0, highest=SOAK_MAX_S),
            approval=_boolean(members, "approval", where),
        )


@dataclass(frozen=True, slots=True)
class HealthGate:
    """When a new release counts as worse than the old one, by the executions of both.

    Attributes:
        error_rate_points: the most that the error rate may rise, in percentage points.
        p95_ratio: the most that the 95th percentile of the latency may be of the old one; None does not look at it.
        cost_ratio: the same for the cost of an execution.
        minimum_executions: of the new release within a step, before anything is said about it.
        patience_s: seconds to wait for them after the soak; then a person has to decide.
    """

    error_rate_points: float = 5.0
    p95_ratio: float | None = 2.0
    cost_ratio: float | None = 1.5
    minimum_executions: int = 20
    patience_s: int = 1_800

    def to_json(self) -> dict[str, Any]:
        return {
            "error_rate_points": self.error_rate_points,
            "p95_ratio": self.p95_ratio,
            "cost_ratio": self.cost_ratio,
            "minimum_executions": self.minimum_executions,
            "patience_s": self.patience_s,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read a gate; what is left out has its default.

        Raises:
            Invalid: it is none.
        """
        names = {"error_rate_points", "p95_ratio", "cost_ratio", "minimum_executions", "patience_s"}
        members = _members(value, "gate", names)
        default = cls()
        points = _number(members, "error_rate_points", lowest=0.0, highest=100.0, default=default.error_rate_points)
        if points is None:
            raise _wrong("gate: “error_rate_points” cannot be null; leave the whole gate out instead")
        return cls(
            error_rate_points=points,
            p95_ratio=_number(members, "p95_ratio", lowest=1.0, highest=RATIO_MAX, default=default.p95_ratio),
            cost_ratio=_number(members, "cost_ratio", lowest=1.0, highest=RATIO_MAX, default=default.cost_ratio),
            minimum_executions=_integer(
                members, "minimum_executions", "gate",
                default=default.minimum_executions, lowest=1, highest=MINIMUM_MAX,
            ),
            patience_s=_integer(
                members, "patience_s", "gate", default=default.patience_s, lowest=0, highest=PATIENCE_MAX_S
            ),
        )  # fmt: skip

    @property
    def in_words(self) -> str:
        """What it judges, for people."""
        limits = [f"errors at most {self.error_rate_points:g} points more"]
        if self.p95_ratio is not None:
            limits.append(f"p95 at most {self.p95_ratio:g} times")
        if self.cost_ratio is not None:
            limits.append(f"cost at most {self.cost_ratio:g} times")
        return f"{', '.join(limits)}, judged on {self.minimum_executions} executions"


@dataclass(frozen=True, slots=True)
class Plan:
    """How one change reaches the gateways.

    Attributes:
        steps: at least one, in their order. All at once has exactly one; the last wave is everything; after the last
            weight of a canary the new release takes the place of the old one.
        gate: None: nobody compares, and nothing rolls back by itself.
    """

    strategy: StrategyName = "all-at-once"
    steps: tuple[PlannedStep, ...] = field(default=(PlannedStep(Share(percent=100)),))
    gate: HealthGate | None = None

    def __post_init__(self) -> None:
        """Check what no part can check for itself.

        Raises:
            Invalid: the steps do not fit the strategy, or each other.
        """
        if not 1 <= len(self.steps) <= STEPS_MAX:
            raise _wrong(f"a plan has from 1 to {STEPS_MAX} steps")
        shares = [step.share for step in self.steps]
        if self.strategy == "all-at-once" and (len(shares) != 1 or not shares[0].whole):
            raise _wrong("all at once has one step, 100 %")
        if self.strategy == "canary" and any(share.percent is None or share.label for share in shares):
            raise _wrong("a canary's steps are percentages of the callers, such as 1 %, 5 %, 25 %, 100 %")
        if self.strategy == "waves" and not shares[-1].whole:
            raise _wrong("the last wave has to be everything: end with 100 %")
        _check_rising(shares)

    @property
    def stepwise(self) -> bool:
        """Whether old and new run beside each other for a while on purpose."""
        return self.strategy != "all-at-once"

    def to_json(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "steps": [step.to_json() for step in self.steps],
            "gate": self.gate.to_json() if self.gate else None,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read a plan. Without `steps`, those are used that the strategy has by default.

        Raises:
            Invalid: it is none; under `plan`, with what is wrong and where.
        """
        members = _members(value, "the plan", {"strategy", "steps", "gate"})
        strategy = members.get("strategy")
        if strategy not in STRATEGIES:
            raise _wrong(f"“strategy” is one of {', '.join(STRATEGIES)}")
        gate = members.get("gate")
        steps = members.get("steps")
        if steps is not None and not isinstance(steps, list):
            raise _wrong("“steps” is a list")
        if steps is not None and len(steps) > STEPS_MAX:
            raise _wrong(f"a plan has at most {STEPS_MAX} steps")
        return cls(
            strategy,
            default_steps(strategy)
            if steps is None
            else tuple(PlannedStep.from_json(step, f"step {number}") for number, step in enumerate(steps, start=1)),
            HealthGate.from_json(gate) if gate is not None else None,
        )

    @property
    def in_words(self) -> str:
        """The whole plan in a sentence: “canary 1 %, 5 %, 25 %, 100 %; soaks 5 min each; judged on 20 executions”."""
        parts = [self.strategy.replace("-", " ")]
        if self.stepwise:
            parts[0] += f" {', '.join(str(step.share) for step in self.steps)}"
        soaks = [step.soak_s for step in self.steps]
        if len(set(soaks)) == 1 and soaks[0]:
            parts.append(f"soaks {seconds_in_words(soaks[0])}" + (" each" if len(soaks) > 1 else ""))
        elif any(soaks):
            parts.append(f"soaks {', '.join(seconds_in_words(soak) for soak in soaks)}")
        approvals = sum(step.approval for step in self.steps)
        if approvals:
            every = approvals == len(self.steps)
            parts.append("approved after every step" if every else f"approved after {approvals} of {len(soaks)} steps")
        parts.append(self.gate.in_words if self.gate else "not judged")
        return "; ".join(parts)


def default_steps(strategy: StrategyName) -> tuple[PlannedStep, ...]:
    """The steps of a strategy that nobody wrote down."""
    if strategy == "canary":
        return tuple(PlannedStep(Share(percent=weight), DEFAULT_SOAK_S) for weight in DEFAULT_WEIGHTS)
    if strategy == "waves":
        shares = (Share(count=1), Share(percent=25), Share(percent=100))
        return tuple(PlannedStep(share, DEFAULT_SOAK_S) for share in shares)
    return (PlannedStep(Share(percent=100)),)


def steps_from_text(text: str, *, soak_s: int = 0, approval: bool = False) -> tuple[PlannedStep, ...]:
    """Steps as people write them, `1, 25 %, region=eu, 100 %`, with the same soak and approval for each.

    Raises:
        Invalid: a part is no share.
    """
    return tuple(PlannedStep(Share.parse(part), soak_s, approval) for part in text.split(",") if part.strip())


def seconds_in_words(seconds: int) -> str:
    """`45 s`, `10 min`, `1 h 30 min`."""
    if seconds < 60:
        return f"{seconds} s"
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{left} s" if left else ""]
    return " ".join(part for part in parts if part)


def _check_rising(shares: Sequence[Share]) -> None:
    """A later step reaches more than an earlier one that is measured alike.

    Raises:
        Invalid: one does not.
    """
    reached: dict[tuple[Any, bool], int] = {}
    for share in shares:
        measure = (share.label, share.percent is not None)
        amount = share.percent if share.percent is not None else share.count or 0
        if amount <= reached.get(measure, 0):
            raise _wrong(f"each step reaches more than the ones before it, and “{share}” does not")
        reached[measure] = amount


def _members(value: Any, where: str, names: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(f"{where} is an object with {', '.join(sorted(names))}")
    unknown = sorted(set(value) - names)
    if unknown:
        raise _wrong(f"{where} has no “{unknown[0][:60]}”; it has {', '.join(sorted(names))}")
    return value


def _integer(members: Mapping[str, Any], name: str, where: str, *, default: int, lowest: int, highest: int) -> int:
    value = members.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise _wrong(f"{where}: “{name}” is a whole number from {lowest} to {highest}")
    return value


def _number(
    members: Mapping[str, Any], name: str, *, lowest: float, highest: float, default: float | None
) -> float | None:
    value = members.get(name, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
        raise _wrong(f"gate: “{name}” is a number from {lowest:g} to {highest:g}")
    return float(value)


def _boolean(members: Mapping[str, Any], name: str, where: str) -> bool:
    value = members.get(name, False)
    if not isinstance(value, bool):
        raise _wrong(f"{where}: “{name}” is true or false")
    return value


def _wrong(message: str) -> Invalid:
    return Invalid(fields={"plan": [f"{message[:1].upper()}{message[1:]}."]})


ALL_AT_ONCE = Plan()
