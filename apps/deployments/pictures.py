"""A plan as a picture, before anything happens: which gateways each step reaches, and what happens after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.deployments.queries import preview
from apps.deployments.strategies.plans import Plan, PlannedStep, seconds_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from apps.gateways.models import Environment, Gateway


@dataclass(frozen=True, slots=True)
class PicturedStep:
    """One step of a plan.

    Attributes:
        gateways: those that it adds (waves), or on which it shifts callers (canary).
        percent: of the callers (canary), or of the gateways that have the new version when it is done.
        then: what happens before the next step: “watched for 5 min, then waits for approval”; "" for nothing.
    """

    title: str
    reach: str
    gateways: Sequence[Gateway]
    percent: int
    then: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A plan for one environment as it is now."""

    plan: Plan
    steps: Sequence[PicturedStep]
    gateways: int


def picture_of(plan: Plan, environment: Environment, *, first: bool = False) -> Picture:
    """Draw a plan.

    Args:
        first: nothing runs there yet: a canary has nothing to leave the other callers with, and the new version
            reaches everybody at once.
    """
    if plan.strategy == "canary" and first:
        plan = Plan(gate=plan.gate)
    reached = preview(plan, environment)
    total = len({gateway.pk for _, gateways in reached for gateway in gateways})
    steps: list[PicturedStep] = []
    so_far = 0
    for step, (reach, gateways) in zip(plan.steps, reached, strict=True):
        so_far = so_far + len(gateways) if plan.strategy == "waves" else total
        percent = step.share.percent or 0 if plan.strategy == "canary" else _percent(so_far, total)
        steps.append(PicturedStep(_title(plan, step, len(steps) + 1), reach, gateways, percent, _then(step)))
    return Picture(plan, steps, total)


def _percent(part: int, total: int) -> int:
    return round(100 * part / total) if total else 100


def _title(plan: Plan, step: PlannedStep, number: int) -> str:
    match plan.strategy:
        case "canary":
            return f"{step.share} of the callers"
        case "waves":
            return f"Wave {number}"
    return "All gateways"


def _then(step: PlannedStep) -> str:
    soak = f"watched for {seconds_in_words(step.soak_s)}" if step.soak_s else ""
    approval = "waits for approval" if step.approval else ""
    return ", then ".join(part for part in (soak, approval) if part)
