"""Steering a rollout that is under way, and deciding beforehand how rollouts go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from apps.core.commands import command
from apps.core.commands import note as add_to_event
from apps.core.errors import Conflict
from apps.core.live import hint
from apps.deployments import rollouts
from apps.deployments.commands.conditions import check_labels_exist, checked_note
from apps.deployments.models import Deployment, Rollout, RolloutPolicy, RolloutStep
from apps.deployments.rollouts.beginning import PLANNED
from apps.deployments.rollouts.course import look_ahead, reaches_everybody, step_on, steps_of
from apps.deployments.rollouts.fleets import Fleet
from apps.deployments.stops.coverage import refuse_stopped

if TYPE_CHECKING:
    from apps.core.actors import Actor
    from apps.deployments.strategies.plans import Plan
    from apps.gateways.models import Environment


@command("deployment.approve", on="deployment")
def approve(*, actor: Actor, deployment: Deployment, step: int | None = None) -> Rollout:
    """Let a rollout go on after a step that waits for a person.

    Args:
        step: the number of the step that was looked at, counted from 1; None for whichever is present.

    Raises:
        Conflict: no rollout is under way, it is at another step, waits for something else, or a stop covers what it
            brings.
    """
    rollout, present = _current(deployment, step)
    # The gate may have been about to look again: what it finds now decides whether there is anything to approve.
    ahead = step_on(rollout)
    _, found = _current(deployment)
    if ahead.waits_for != "approval" or found.pk != present.pk:
        raise Conflict(f"{_step_in_words(present)} does not wait for approval yet.")
    _refuse_stopped(rollout)
    present.approved_at, present.approved_by = timezone.now(), actor.label
    present.save(update_fields=["approved_at", "approved_by", "updated_at"])
    _add_step(rollout, present)
    return _go_on(rollout)


@command("deployment.force", on="deployment")
def force(*, actor: Actor, deployment: Deployment, step: int | None = None) -> Rollout:
    """Let a rollout go on now, without the rest of the soak, the executions or the gateways that it waits for.

    Gateways that have not confirmed still receive what they should, when they answer. A pause ends.

    Args:
        step: the number of the step that is to be skipped, counted from 1; None for whichever is present. Whoever
            saw one says so: two who press at the same moment must not skip a step that nobody looked at.

    Raises:
        Conflict: no rollout is under way, it is at another step, its step has not begun, or a stop covers what it
            brings.
    """
    rollout, present = _current(deployment, step)
    if present.started_at is None and not rollout.paused:
        raise Conflict(f"{_step_in_words(present)} has not begun: the environment has no gateway yet.")
    _refuse_stopped(rollout)
    add_to_event(skipped=_skipped(rollout))
    if present.started_at is not None:
        present.forced_at, present.forced_by = timezone.now(), actor.label
        present.save(update_fields=["forced_at", "forced_by", "updated_at"])
    _add_step(rollout, present)
    if rollout.paused:
        _end_pause(rollout)
    return _go_on(rollout)


@command("deployment.pause", on="deployment")
def pause(*, actor: Actor, deployment: Deployment, note: str = "") -> Rollout:
    """Let a rollout take no further step until somebody resumes it. What it has begun, gateways still receive.

    Raises:
        Conflict: no rollout is under way, or it is paused already.
        Invalid: the note is too long.
    """
    note = checked_note(note)
    rollout, step = _current(deployment)
    if rollout.paused:
        raise Conflict(f"The rollout is paused already, by {rollout.paused_by}: {rollout.pause_reason}.")
    rollouts.pause(rollout, actor, note or "no reason was given")
    _add_step(rollout, step)
    return rollout


@command("deployment.resume", on="deployment")
def resume(*, actor: Actor, deployment: Deployment) -> Rollout:
    """Let a paused rollout go on. Its present step is judged by what happens from now on.

    Raises:
        Conflict: no rollout is under way, it is not paused, or a stop covers what it brings.
    """
    rollout, step = _current(deployment)
    if not rollout.paused:
        raise Conflict("The rollout is not paused.")
    _refuse_stopped(rollout)
    add_to_event(pause_reason=rollout.pause_reason)
    _add_step(rollout, step)
    _end_pause(rollout)
    if step.started_at is not None:
        step.watched_since, step.judged_at, step.verdict = timezone.now(), None, None
        step.save(update_fields=["watched_since", "judged_at", "verdict", "updated_at"])
    return _go_on(rollout)


@command("deployment.set-plan", on="deployment")
def set_plan(*, actor: Actor, deployment: Deployment, plan: Plan | None) -> Deployment:
    """Say how later changes of this deployment reach the gateways; None: as its environment does it.

    A rollout that is under way keeps the plan that it began with.

    Raises:
        Invalid: the plan names a label that no gateway there has.
    """
    if plan is not None:
        check_labels_exist(plan, deployment.environment, for_later=True)
    deployment.plan = plan.to_json() if plan is not None else None
    deployment.save(update_fields=["plan", "updated_at"])
    hint("deployment")
    return deployment


@command("environment.set-rollout-policy", on="environment")
def set_rollout_policy(*, actor: Actor, environment: Environment, plan: Plan) -> RolloutPolicy:
    """Say how changes reach the gateways of an environment, unless a deployment or a deploy says otherwise.

    Raises:
        Invalid: the plan names a label that no gateway there has.
    """
    check_labels_exist(plan, environment, for_later=True)
    before = RolloutPolicy.objects.filter(environment=environment).first()
    add_to_event(before=before.plan if before is not None else None, plan=plan.to_json())
    policy, _ = RolloutPolicy.objects.update_or_create(
        environment=environment, defaults={"plan": plan.to_json(), "changed_by": actor.label}
    )
    hint("environment")
    return policy


def _current(deployment: Deployment, number: int | None = None) -> tuple[Rollout, RolloutStep]:
    """The rollout that is under way, and its present step.

    Args:
        number: of the step that it should be at, counted from 1; None for any.

    Raises:
        Conflict: none is, or it is at another step.
    """
    rollout = rollouts.under_way().filter(deployment=deployment).first()
    step = next((each for each in steps_of(rollout) if each.finished_at is None), None) if rollout else None
    if rollout is None or step is None:
        raise Conflict(f"{deployment} has no rollout under way.")
    if number not in (None, step.index + 1):
        raise Conflict(f"The rollout is at step {step.index + 1} by now. Look at that step, then decide again.")
    return rollout, step


def _refuse_stopped(rollout: Rollout) -> None:
    """Let a rollout go on only with what may run; taking something back stays possible.

    Raises:
        Conflict: a stop covers it.
    """
    if rollout.to_release is not None and rollout.kind in PLANNED:
        refuse_stopped(rollout.deployment.agent, rollout.deployment.environment, rollout.to_release)


def _go_on(rollout: Rollout) -> Rollout:
    """Take what can be taken now; what has to be taken back is left to the next look at it."""
    step_on(rollout)
    hint("rollout")
    hint("deployment")
    return Rollout.objects.get(pk=rollout.pk)


def _end_pause(rollout: Rollout) -> None:
    rollout.paused_at, rollout.paused_by, rollout.pause_reason = None, "", ""
    rollout.save(update_fields=["paused_at", "paused_by", "pause_reason", "updated_at"])


def _skipped(rollout: Rollout) -> str:
    """What forcing a rollout does not wait for."""
    fleet = Fleet.read(rollout, steps_of(rollout))
    step = fleet.current
    if step is None or step.started_at is None:
        return ""
    concerned = set(fleet.concerned(step))
    late = [each.name for each in fleet.members if each.gateway in concerned and not fleet.moves(each.gateway).done]
    if late:
        return f"confirmation of {', '.join(late)}"
    return look_ahead(fleet, timezone.now(), judged=True).waits_for or ""


def _add_step(rollout: Rollout, step: RolloutStep) -> None:
    add_to_event(
        registration=rollout.deployment.registration,
        rollout=str(rollout.pk),
        step=step.index + 1,
        share=step.share,
        everybody=reaches_everybody(step),
    )


def _step_in_words(step: RolloutStep) -> str:
    return f"Step {step.index + 1} ({step.share})"
