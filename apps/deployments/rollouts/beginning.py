"""Beginning a rollout, and ending the one that was under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from apps.core.live import hint
from apps.deployments.models import Deployment, Release, Rollout, RolloutPolicy, RolloutStep
from apps.deployments.rollouts.course import step_on
from apps.deployments.strategies.plans import ALL_AT_ONCE, Plan

if TYPE_CHECKING:
    from uuid import UUID

    from apps.core.actors import Actor

# What a plan is for. Whatever takes something back reaches every gateway at once.
PLANNED = (Rollout.Kind.DEPLOY, Rollout.Kind.REDEPLOY)


def start(
    deployment: Deployment,
    *,
    kind: Rollout.Kind,
    to: Release | None,
    actor: Actor,
    note: str = "",
    plan: Plan | None = None,
    instead: tuple[Rollout.State, str] | None = None,
) -> Rollout:
    """Change what a deployment wishes for, in a transaction that holds the locks of environment and deployment.

    Args:
        plan: how a deploy reaches the gateways; what takes something back always goes to all of them at once.
        instead: state and reason of the rollout that was under way; by default a newer one has taken over from it.
    """
    before = base_of(deployment) if kind in PLANNED else deployment.release
    followed = (plan or ALL_AT_ONCE) if kind in PLANNED else ALL_AT_ONCE
    if followed.strategy == "canary" and (before is None or kind == Rollout.Kind.REDEPLOY):
        # There is no other release that the rest of the callers could be left with.
        followed = ALL_AT_ONCE
    ended = Rollout.State.CANCELLED if kind == Rollout.Kind.CANCEL else Rollout.State.SUPERSEDED
    _end_current(deployment, *(instead or (ended, f"{ended} by {actor.label}")))
    deployment.release = to
    deployment.generation += 1
    deployment.save()
    rollout = Rollout.objects.create(
        deployment=deployment,
        kind=kind,
        from_release=before,
        to_release=to,
        generation=deployment.generation,
        strategy=followed.strategy,
        plan=followed.to_json(),
        started_by=actor.label,
        note=note,
    )
    RolloutStep.objects.bulk_create(_steps(rollout, followed))
    step_on(rollout)
    for resource in ("deployment", "rollout"):
        hint(resource)
    return rollout


def base_of(deployment: Deployment) -> Release | None:
    """What the gateways of a deployment run for the most part: what a rollout that begins now leaves them with.

    While a rollout is under way this is its own release only once it concerns every gateway.
    """
    current = deployment.rollouts.filter(state=Rollout.State.PROGRESSING).select_related("from_release").first()
    if current is None:
        return deployment.release
    begun = [step for step in current.steps.all() if step.started_at is not None]
    everywhere = bool(begun) and begun[-1].kind != RolloutStep.Kind.WEIGHT and begun[-1].everywhere
    return deployment.release if everywhere else current.from_release


def effective_plan(deployment: Deployment | None, environment: UUID) -> Plan:
    """How a change of a deployment reaches the gateways, unless the change itself says so."""
    if deployment is not None and deployment.plan is not None:
        return Plan.from_json(deployment.plan)
    policy = RolloutPolicy.objects.filter(environment=environment).first()
    return Plan.from_json(policy.plan) if policy is not None else ALL_AT_ONCE


def _end_current(deployment: Deployment, state: Rollout.State, reason: str) -> None:
    deployment.rollouts.filter(state=Rollout.State.PROGRESSING).update(
        state=state, reason=reason[:1000], finished_at=timezone.now(), paused_at=None, paused_by="", pause_reason=""
    )


def _steps(rollout: Rollout, plan: Plan) -> list[RolloutStep]:
    kind = RolloutStep.Kind.WEIGHT if plan.strategy == "canary" else RolloutStep.Kind.WAVE
    steps = [
        RolloutStep(
            rollout=rollout, index=index, kind=kind,
            share=str(step.share), soak_s=step.soak_s, approval=step.approval,
        )
        for index, step in enumerate(plan.steps)
    ]  # fmt: skip
    if plan.strategy == "canary":
        steps.append(RolloutStep(rollout=rollout, index=len(steps), kind=RolloutStep.Kind.PROMOTE, share="100 %"))
    return steps
