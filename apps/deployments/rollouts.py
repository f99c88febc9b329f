"""The course of a rollout, derived again and again from rows.

Nothing here waits for a message: whoever notices that a placement changed, or just happens to look, calls `advance`.
Done twice, or late, or after a crash, it comes to the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from apps.core.commands import bookkeeping, record_system_event
from apps.core.live import hint
from apps.deployments.models import Deployment, Release, Rollout
from apps.deployments.strategies import DEFAULT, STRATEGIES, Standing, Step
from apps.gateways.models import Environment, Gateway, Placement
from apps.gateways.placements import want_on_gateways
from contract.kinds import TOMBSTONE_DIGEST, WORKFLOW

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from apps.core.actors import Actor


def start(deployment: Deployment, *, kind: Rollout.Kind, to: Release | None, actor: Actor, note: str = "") -> Rollout:
    """Change what a deployment wishes for, inside a command that holds the locks of environment and deployment."""
    cancelled = kind == Rollout.Kind.CANCEL
    _end_current(deployment, Rollout.State.CANCELLED if cancelled else Rollout.State.SUPERSEDED, actor)
    before = deployment.release
    deployment.release = to
    deployment.generation += 1
    deployment.save()
    rollout = Rollout.objects.create(
        deployment=deployment,
        kind=kind,
        from_release=before,
        to_release=to,
        generation=deployment.generation,
        strategy=DEFAULT,
        started_by=actor.label,
        note=note,
    )
    # A redeploy wants what is wanted already: only a new generation makes gateways take it again.
    forced = kind == Rollout.Kind.REDEPLOY
    step = _next_step(rollout, forced=forced)
    _take(rollout, step, force=forced)
    if step.finished:
        # Nothing has to be taken away from anywhere.
        _succeed(rollout)
    for resource in ("deployment", "rollout"):
        hint(resource)
    return rollout


def advance(rollout: Rollout) -> None:
    """Take the rollout's next step, if there is one. Cheap when there is none, and safe to repeat."""
    if not _has_work(_next_step(rollout)):
        return
    with bookkeeping():
        # The order of locks of every command; see `BaseModel.locked_under`.
        Environment.objects.select_for_update(of=("self",), no_key=True).get(pk=rollout.deployment.environment_id)
        Deployment.objects.select_for_update(of=("self",), no_key=True).get(pk=rollout.deployment_id)
        fresh = Rollout.objects.select_related("deployment", "to_release").get(pk=rollout.pk)
        if fresh.state != Rollout.State.PROGRESSING:
            return
        step = _next_step(fresh)
        _take(fresh, step, force=False)
        if step.finished:
            _succeed(fresh)


def advance_all() -> None:
    """Look at every rollout that is under way in the present organization."""
    for rollout in Rollout.objects.filter(state=Rollout.State.PROGRESSING).select_related("deployment", "to_release"):
        advance(rollout)


def unsettled(deployment: Deployment) -> list[Placement]:
    """The deployment's placements that are not as wanted."""
    placements = Placement.objects.of(WORKFLOW.name, deployment.registration).unsettled()
    return list(placements.select_related("gateway").order_by("gateway__name"))


def standings(deployment: Deployment, digest: str) -> list[Standing]:
    """Where each gateway of the deployment's environment stands on the way to a digest."""
    held = {
        placement.gateway_id: placement for placement in Placement.objects.of(WORKFLOW.name, deployment.registration)
    }
    gateways = Gateway.objects.serving().filter(environment=deployment.environment_id).values_list("pk", flat=True)
    return [_standing(gateway, held.get(gateway), digest) for gateway in gateways]


def _standing(gateway: UUID, placement: Placement | None, digest: str) -> Standing:
    if placement is None:
        # What never was there need not be taken away.
        nothing = digest == TOMBSTONE_DIGEST
        return Standing(gateway, wants=nothing, confirmed=nothing)
    wants = placement.desired_digest == digest
    return Standing(gateway, wants=wants, confirmed=wants and placement.settled)


def _next_step(rollout: Rollout, *, forced: bool = False) -> Step:
    target = rollout.to_release.digest if rollout.to_release else TOMBSTONE_DIGEST
    where: Sequence[Standing] = standings(rollout.deployment, target)
    if forced:
        where = [Standing(standing.gateway, wants=False, confirmed=False) for standing in where]
    if not where:
        # A release waits for its first gateway; without any gateway, nothing runs.
        return Step(finished=rollout.to_release is None)
    return STRATEGIES[rollout.strategy].next_step(where)


def _has_work(step: Step) -> bool:
    return step.finished or bool(step.gateways)


def _take(rollout: Rollout, step: Step, *, force: bool) -> None:
    body = bytes(rollout.to_release.body) if rollout.to_release else None
    gateways = list(Gateway.objects.filter(pk__in=step.gateways))
    want_on_gateways(gateways, WORKFLOW.name, rollout.deployment.registration, body, force=force)


def _end_current(deployment: Deployment, state: Rollout.State, actor: Actor) -> None:
    deployment.rollouts.filter(state=Rollout.State.PROGRESSING).update(
        state=state, reason=f"{state} by {actor.label}", finished_at=timezone.now()
    )


def _succeed(rollout: Rollout) -> None:
    rollout.state, rollout.finished_at = Rollout.State.SUCCEEDED, timezone.now()
    rollout.save(update_fields=["state", "finished_at", "updated_at"])
    record_system_event(
        "rollout.succeeded",
        rollout,
        registration=rollout.deployment.registration,
        kind=rollout.kind,
        seconds=round((rollout.finished_at - rollout.created_at).total_seconds(), 1),
    )
