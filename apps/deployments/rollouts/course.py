"""What comes next in a rollout: one pure decision, made and applied again until there is nothing to do but wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from django.utils import timezone

from apps.core.commands import record_system_event
from apps.core.live import hint
from apps.deployments.models import NOTE_MAX_LENGTH, Deployment, Rollout, RolloutStep
from apps.deployments.rollouts.fleets import Fleet
from apps.deployments.rollouts.judging import JUDGE_EVERY, verdict_on
from apps.deployments.strategies.plans import Plan
from apps.deployments.strategies.waves import members_of_wave
from apps.gateways import due
from apps.gateways.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from apps.deployments.strategies.plans import HealthGate

Move = Literal["begin", "place", "placed", "judge", "fall-back", "finish", "succeed"]
Wait = Literal["gateway", "resume", "confirmation", "soak", "executions", "approval"]


@dataclass(frozen=True, slots=True)
class Ahead:
    """What a rollout does now, or what it waits for.

    Attributes:
        move: None while it waits.
        waits_for: None while it moves.
        until: when the waiting ends by itself, or the next look is taken; None if neither does.
        because: why a step is finished, in words.
    """

    move: Move | None = None
    waits_for: Wait | None = None
    until: datetime | None = None
    because: str = ""


def look_ahead(fleet: Fleet, now: datetime, *, judged: bool = False) -> Ahead:
    """What comes next. Reads nothing and changes nothing.

    Args:
        judged: take what the gate found last for what it would find now. For people: a look that is due every two
            seconds, and may be late, changes nothing about what a rollout waits for.
    """
    rollout, step = fleet.rollout, fleet.current
    if step is None:
        return Ahead("succeed")
    if step.started_at is None:
        if rollout.paused:
            return Ahead(waits_for="resume")
        if not fleet.members and len(fleet.steps) > 1:
            return Ahead(waits_for="gateway")
        return Ahead("begin")
    if fleet.wishes():
        return Ahead("place")
    if step.placed_at is None and fleet.confirmed(step):
        return Ahead("placed")
    if step.forced_at is not None:
        return Ahead("finish", because=f"forced by {step.forced_by}")
    if rollout.paused:
        return Ahead(waits_for="resume")
    return watch(rollout, step, now, judged=judged)


def watch(rollout: Rollout, step: RolloutStep, now: datetime, *, judged: bool = False) -> Ahead:
    """What comes next in a step whose gateways have been given what it says; `judged` as in `look_ahead`."""
    gate = _gate(rollout, step)
    look_again = None
    if gate is not None:
        look_again = step.judged_at + JUDGE_EVERY if step.judged_at is not None else now
        if now >= look_again and not judged:
            return Ahead("judge")
        if _health(step) == "degraded":
            return Ahead("fall-back")
    if step.soaks_until is None:
        return Ahead(waits_for="confirmation", until=look_again)
    if now < step.soaks_until:
        return Ahead(waits_for="soak", until=min(filter(None, (step.soaks_until, look_again))))
    unjudged = gate is not None and _health(step) != "healthy"
    if gate is not None and unjudged and step.approved_at is None:
        patient_until = step.soaks_until + timedelta(seconds=gate.patience_s)
        if now < patient_until:
            return Ahead(waits_for="executions", until=min(filter(None, (patient_until, look_again))))
        if not reaches_everybody(step):
            return Ahead(waits_for="approval", until=look_again)
    if step.approval and step.approved_at is None:
        return Ahead(waits_for="approval", until=look_again)
    return Ahead("finish", because=_because(step, gate))


def _because(step: RolloutStep, gate: HealthGate | None) -> str:
    parts = [f"approved by {step.approved_by}"] if step.approved_at else []
    if gate is not None:
        found = "; ".join((step.verdict or {}).get("reasons", ()))
        parts.append(found if _health(step) == "healthy" else f"not judged: {found or 'no executions'}")
    elif not parts:
        parts.append("every gateway confirmed" if not step.soak_s else "soaked, not judged")
    return "; ".join(parts)


def reaches_everybody(step: RolloutStep) -> bool:
    """Whether no caller is left with the old release once it is placed."""
    return step.reach.whole


def _health(step: RolloutStep) -> str:
    return str((step.verdict or {}).get("health", "too-few"))


def _gate(rollout: Rollout, step: RolloutStep) -> HealthGate | None:
    # What is promoted was judged already, and nothing is left that it could be compared with.
    return None if step.kind == RolloutStep.Kind.PROMOTE else Plan.from_json(rollout.plan).gate


def steps_of(rollout: Rollout) -> Sequence[RolloutStep]:
    """The rollout's steps, freshly read."""
    return list(RolloutStep.objects.filter(rollout=rollout).order_by("index"))


def step_on(rollout: Rollout) -> Ahead:
    """Take every step that can be taken, inside a transaction that holds the locks of environment and deployment.

    Returns:
        What it waits for in the end. A release that has to be taken back is left to the caller.
    """
    steps = steps_of(rollout)
    while True:
        now = timezone.now()
        fleet = Fleet.read(rollout, steps)
        ahead = look_ahead(fleet, now)
        if ahead.move in (None, "fall-back"):
            if ahead.move is not None or ahead.until is not None:
                due.lower(ahead.until)
            return ahead
        _take(ahead, fleet, now)
        hint("rollout")
        if ahead.move == "succeed":
            return ahead


def _take(ahead: Ahead, fleet: Fleet, now: datetime) -> None:
    step = fleet.current
    if step is None:
        _succeed(fleet, now)
        return
    match ahead.move:
        case "begin":
            _begin(fleet, step, now)
        case "place":
            fleet.place(fleet.wishes())
        case "placed":
            step.placed_at = now
            if step.everywhere:
                # For the history: whom it concerns is not asked of these rows.
                step.gateways.set(Gateway.objects.filter(pk__in=fleet.concerned(step)))
        case "judge":
            verdict = verdict_on(fleet.rollout, step)
            step.judged_at, step.verdict = now, verdict.to_json() if verdict is not None else None
        case "finish":
            step.finished_at, step.decision = now, ahead.because[:NOTE_MAX_LENGTH]
    step.save()


def _begin(fleet: Fleet, step: RolloutStep, now: datetime) -> None:
    step.started_at = step.watched_since = now
    if not step.everywhere:
        wave = members_of_wave(step.reach, fleet.members, fleet.taken)
        step.gateways.set(Gateway.objects.filter(pk__in=wave))
    if fleet.rollout.kind == Rollout.Kind.REDEPLOY:
        Fleet.read(fleet.rollout, fleet.steps).send_again(step)


def _succeed(fleet: Fleet, now: datetime) -> None:
    # Whoever forced the last step did not wait for every gateway: nothing may be left on any of them for that.
    fleet.place(fleet.wishes(at_once=True))
    rollout = fleet.rollout
    rollout.state, rollout.finished_at = Rollout.State.SUCCEEDED, now
    rollout.paused_at, rollout.paused_by, rollout.pause_reason = None, "", ""
    remarkable = [step for step in fleet.steps if step.forced_at or "not judged: " in step.decision]
    rollout.reason = "; ".join(f"step {step.index + 1} {step.decision}" for step in remarkable)[:NOTE_MAX_LENGTH]
    rollout.save()
    Deployment.objects.filter(pk=rollout.deployment_id).update(stable_release=rollout.to_release)
    record_system_event(
        "rollout.succeeded",
        rollout,
        registration=rollout.deployment.registration,
        kind=rollout.kind,
        seconds=round((now - rollout.created_at).total_seconds(), 1),
    )
