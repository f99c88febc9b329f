"""The plan of a rollout as a form that nobody has to know JSON for."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms

from apps.core.errors import Invalid
from apps.core.forms import SwitchInput
from apps.deployments.forms.durations import DurationField
from apps.deployments.forms.steps import StepsField, StepsWidget
from apps.deployments.strategies.plans import (
    MINIMUM_MAX,
    PATIENCE_MAX_S,
    RATIO_MAX,
    SOAK_MAX_S,
    STRATEGIES,
    SUMMARIES,
    HealthGate,
    Plan,
    PlannedStep,
    Share,
    StrategyName,
    default_steps,
)

INHERITED = ""
_GATE = HealthGate()
_TITLES: dict[StrategyName, str] = {"all-at-once": "All at once", "waves": "In waves", "canary": "Canary"}
# Where a complaint about a whole plan belongs.
_STEPS_OF = {"waves": "waves", "canary": "weights"}


class PlanForm(forms.Form):
    """How a change reaches the gateways.

    Attributes:
        inherits: label of the choice to have no plan of one's own; "" leaves that choice out.
    """

    inherits: ClassVar[str] = ""

    strategy = forms.ChoiceField(label="How it gets there", widget=forms.RadioSelect, required=False)
    waves = StepsField(
        required=False,
        label="Waves",
        widget=StepsWidget(share_label="Gateways reached", share_hint="1, 25 %, region=eu or region=eu 50 %"),
        help_text="How many gateways have the new version after each wave: a number, a percentage, those with a "
        "label, or a part of those. The last wave is 100 %.",
    )
    weights = StepsField(
        required=False,
        percentages=True,
        label="Weights",
        widget=StepsWidget(share_label="Callers", share_hint="5 %"),
        help_text="How many callers the new version answers on every gateway. A session stays with its version. "
        "After the last weight the new version takes the place of the old one.",
    )
    soak = DurationField(
        required=False, most=SOAK_MAX_S, label="Watch it for", help_text="Such as 5 min. Left empty, it is not watched."
    )
    judged = forms.BooleanField(
        required=False,
        widget=SwitchInput,
        label="Take it back by itself if it is worse",
        help_text="The new version's executions are compared with the old one's. If it is worse, every gateway goes "
        "back to the last good release, which is then held.",
    )
    error_rate_points = forms.FloatField(
        required=False, min_value=0, max_value=100, label="Errors, points more", initial=_GATE.error_rate_points
    )
    p95_ratio = forms.FloatField(
        required=False, min_value=1, max_value=RATIO_MAX, label="95th percentile, times", initial=_GATE.p95_ratio,
        help_text="Empty: ignored",
    )  # fmt: skip
    cost_ratio = forms.FloatField(
        required=False, min_value=1, max_value=RATIO_MAX, label="Cost, times", initial=_GATE.cost_ratio,
        help_text="Empty: ignored",
    )  # fmt: skip
    minimum_executions = forms.IntegerField(
        required=False, min_value=1, max_value=MINIMUM_MAX, label="Judged on executions",
        initial=_GATE.minimum_executions,
    )  # fmt: skip
    patience = DurationField(
        required=False,
        most=PATIENCE_MAX_S,
        label="Wait for them",
        initial=_GATE.patience_s,
        help_text="Then a person decides",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["initial"] = {**as_initial(None), **(kwargs.get("initial") or {})}
        super().__init__(*args, **kwargs)
        own = [(name, _TITLES[name]) for name in STRATEGIES]
        field = self.fields["strategy"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(INHERITED, self.inherits), *own] if self.inherits else own

    @property
    def ways(self) -> list[tuple[str, str, str]]:
        """Value, title and summary of each way to choose from."""
        inherited = (INHERITED, self.inherits, "Its rollout policy decides; the picture below shows it.")
        return [
            *([inherited] if self.inherits else []),
            *((name, _TITLES[name], SUMMARIES[name]) for name in STRATEGIES),
        ]

    @property
    def chosen_way(self) -> str:
        """The strategy that is ticked at the moment."""
        return str(self["strategy"].value() or INHERITED)

    def clean(self) -> dict[str, Any]:
        """Put the fields of a plan together to `plan`; None: none of its own."""
        values = super().clean() or {}
        strategy = values.get("strategy", INHERITED)
        self._pass_over(strategy, judged=bool(values.get("judged")))
        plan = None
        if strategy and not any(name in self.errors for name in _PLAN_FIELDS):
            try:
                plan = _plan(strategy, values)
            except Invalid as error:
                self.add_error(self._steps_field, error.fields["plan"])
        elif not strategy and not self.inherits:
            self.add_error("strategy", "Choose one.")
        return {**{name: value for name, value in values.items() if name not in _PLAN_FIELDS}, "plan": plan}

    def placed(self, error: Invalid) -> Invalid:
        """What a command found wrong with the plan, at the field where it was written."""
        fields = dict(error.fields)
        texts = fields.pop("plan", [])
        return Invalid(error.message, fields={**fields, **({self._steps_field: texts} if texts else {})})

    @property
    def _steps_field(self) -> str:
        return _STEPS_OF.get(self.chosen_way, "strategy")

    def _pass_over(self, strategy: str, *, judged: bool) -> None:
        """Forget what is wrong in fields that belong to another choice, and that nobody sees."""
        if "strategy" in self.errors:
            return
        seen = {*_PARTS.get(strategy, ()), *(_GATE_FIELDS if strategy and judged else ())}
        for name in {*_GATE_FIELDS, *(part for parts in _PARTS.values() for part in parts)} - seen:
            self.errors.pop(name, None)

    @property
    def present_plan(self) -> Plan | None:
        """The plan that the form describes at the moment; None: none of its own, or one that cannot be."""
        if not self.is_bound:
            strategy = self.chosen_way
            return _plan(strategy, dict(self.initial)) if strategy else None
        # Not anew: a command may have added what it found wrong.
        self.is_valid()
        plan: Plan | None = self.cleaned_data.get("plan")
        return plan

    @property
    def plan_errors(self) -> list[str]:
        """What is wrong with the plan that the form describes at the moment."""
        return [str(text) for name in _PLAN_FIELDS if self.is_bound for text in self.errors.get(name, [])]


class DeploymentPlanForm(PlanForm):
    """How changes of one deployment reach the gateways."""

    inherits = "As the environment does it"


_PARTS = {"waves": ("waves",), "canary": ("weights",), "all-at-once": ("soak",)}
_GATE_FIELDS = ("error_rate_points", "p95_ratio", "cost_ratio", "minimum_executions", "patience")
_PLAN_FIELDS = ("strategy", "waves", "weights", "soak", "judged", *_GATE_FIELDS)


def as_initial(plan: Plan | None) -> dict[str, Any]:
    """What the form starts with for a plan, or for having none; strategies that it does not use get their defaults."""
    steps = {name: default_steps(name) for name in STRATEGIES}
    gate: HealthGate | None = _GATE
    if plan is not None:
        steps[plan.strategy], gate = plan.steps, plan.gate
    shown = gate or _GATE
    return {
        "strategy": plan.strategy if plan is not None else INHERITED,
        "waves": steps["waves"],
        "weights": steps["canary"],
        "soak": steps["all-at-once"][0].soak_s,
        "judged": gate is not None,
        "error_rate_points": shown.error_rate_points,
        "p95_ratio": shown.p95_ratio,
        "cost_ratio": shown.cost_ratio,
        "minimum_executions": shown.minimum_executions,
        "patience": shown.patience_s,
    }


def _plan(strategy: Any, values: dict[str, Any]) -> Plan:
    """The plan that the fields' values describe.

    Raises:
        Invalid: the steps do not fit the strategy, or each other.
    """
    match strategy:
        case "waves":
            steps = values["waves"]
        case "canary":
            steps = values["weights"]
        case _:
            steps = (PlannedStep(Share(percent=100), values["soak"]),)
    return Plan(strategy, tuple(steps), _gate(values) if values["judged"] else None)


def _gate(values: dict[str, Any]) -> HealthGate:
    points, minimum = values["error_rate_points"], values["minimum_executions"]
    return HealthGate(
        error_rate_points=_GATE.error_rate_points if points is None else points,
        p95_ratio=values["p95_ratio"],
        cost_ratio=values["cost_ratio"],
        minimum_executions=minimum or _GATE.minimum_executions,
        patience_s=values["patience"],
    )
