"""Changes of what runs where.

Whoever changes what an environment wants holds the environment's row (`Deployment.locked_under`), so that a gateway
that joins at the same moment misses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from apps.core.commands import command
from apps.core.commands import note as add_to_event
from apps.core.errors import Conflict
from apps.core.live import hint
from apps.deployments import rollouts
from apps.deployments.commands.conditions import (
    check_labels_exist,
    checked_note,
    deployment_for,
    held_in_words,
    lift_hold,
    lock_alive,
    pass_hold,
)
from apps.deployments.models import Deployment, Release, Rollout
from apps.deployments.releases import release_of
from apps.deployments.stops.coverage import refuse_stopped, refuse_stopped_release
from apps.gateways import placements

if TYPE_CHECKING:
    from apps.agents.models import AgentVersion
    from apps.core.actors import Actor
    from apps.deployments.strategies.plans import Plan
    from apps.gateways.models import Environment


@command("environment.deploy", on="environment")
def deploy(
    *,
    actor: Actor,
    environment: Environment,
    version: AgentVersion,
    note: str = "",
    redeploy: bool = False,
    release_hold: bool = False,
    plan: Plan | None = None,
) -> Rollout:
    """Want a version of an agent on every gateway of the environment.

    Args:
        note: why, for the history.
        redeploy: send it again also if it is what runs already.
        release_hold: lift a hold that a rollback left; only a member may, never Studio itself.
        plan: how it reaches the gateways; None: as the deployment does it, or else the environment.

    Raises:
        Conflict: the agent is deleted, the version runs already, the deployment is held, or a stop covers it.
        Invalid: the version cannot be released, the note is too long, or the plan names a label that no gateway has.
    """
    note = checked_note(note)
    agent = lock_alive(version.agent)
    release = release_of(version)
    refuse_stopped(agent, environment, release)
    deployment = deployment_for(agent, environment)
    pass_hold(deployment, actor, release_hold=release_hold)
    if deployment.release_id == release.pk and not redeploy:
        raise Conflict(f"Version {version.number} of {agent} is what runs in {environment.slug} already.")
    kind = Rollout.Kind.REDEPLOY if rollouts.base_of(deployment) == release else Rollout.Kind.DEPLOY
    plan = plan or rollouts.effective_plan(deployment, environment.pk)
    check_labels_exist(plan, environment)
    add_to_event(
        agent=agent.slug,
        version=version.number,
        registration=deployment.registration,
        digest=release.digest,
        strategy=plan.strategy,
    )
    return rollouts.start(deployment, kind=kind, to=release, actor=actor, note=note, plan=plan)


@command("deployment.rollback", on="deployment")
def rollback(*, actor: Actor, deployment: Deployment, to: Release, note: str = "") -> Rollout:
    """Point the deployment at an earlier release and hold it there, so that automation does not undo it.

    Raises:
        Conflict: `to` never ran in this environment, is what runs, or is stopped itself; the agent is deleted; it is
            held and Studio itself wants to change it.
        Invalid: the note is too long.
    """
    note = checked_note(note)
    if deployment.held and actor.kind == "system":
        raise Conflict(held_in_words(deployment))
    lock_alive(deployment.agent)
    if deployment.release_id == to.pk:
        raise Conflict(f"{to} is what runs in {deployment.environment.slug} already.")
    if not deployment.rollouts.filter(to_release=to).exists():
        raise Conflict(f"{to} never ran in {deployment.environment.slug}; deploy it instead.")
    refuse_stopped_release(to, deployment.environment)
    before = deployment.release
    deployment.held_since, deployment.held_by = timezone.now(), actor.label
    # From now on, and not only when the last gateway has confirmed: a later rollout that turns out to be worse must not
    # take us to what a person has just taken back.
    deployment.stable_release = to
    deployment.hold_reason = f"rolled back {f'from version {before.number} ' if before else ''}to version {to.number}"
    add_to_event(version=to.number, registration=deployment.registration, digest=to.digest, held=True)
    return rollouts.start(deployment, kind=Rollout.Kind.ROLLBACK, to=to, actor=actor, note=note)


@command("deployment.release-hold", on="deployment")
def release_hold(*, actor: Actor, deployment: Deployment) -> Deployment:
    """Let automation change the deployment again. What runs stays as it is.

    Raises:
        Conflict: it is not held.
    """
    if not deployment.held:
        raise Conflict(f"{deployment} is not held.")
    lift_hold(deployment)
    deployment.save(update_fields=["held_since", "held_by", "hold_reason", "updated_at"])
    hint("deployment")
    return deployment


@command("deployment.cancel", on="deployment")
def cancel(*, actor: Actor, deployment: Deployment, note: str = "") -> Rollout:
    """Take back a rollout that is under way: to what ran before it, or to nothing if it was the first.

    Raises:
        Conflict: nothing is progressing, or what progresses is itself a cancellation; it is held and Studio itself
            wants to change it.
        Invalid: the note is too long.
    """
    note = checked_note(note)
    current = deployment.rollouts.filter(state=Rollout.State.PROGRESSING).first()
    if current is None:
        raise Conflict(f"{deployment} has no rollout under way.")
    if current.kind == Rollout.Kind.CANCEL:
        raise Conflict("What is under way takes a rollout back already. Deploy the version that you want.")
    if current.kind == Rollout.Kind.REDEPLOY:
        raise Conflict("What is under way sends again what ran before: there is nothing to go back to.")
    if deployment.held and actor.kind == "system":
        raise Conflict(held_in_words(deployment))
    if current.kind == Rollout.Kind.ROLLBACK:
        # The hold was there to keep this rollback, and there is nothing to keep.
        lift_hold(deployment)
    if current.from_release is not None:
        lock_alive(deployment.agent)
    add_to_event(cancelled=str(current), registration=deployment.registration)
    return rollouts.start(deployment, kind=Rollout.Kind.CANCEL, to=current.from_release, actor=actor, note=note)


@command("deployment.undeploy", on="deployment")
def undeploy(*, actor: Actor, deployment: Deployment, note: str = "") -> Rollout:
    """Take the agent off every gateway of the environment. A hold stays.

    Raises:
        Conflict: nothing runs there, or it is held and Studio itself wants to change it.
        Invalid: the note is too long.
    """
    note = checked_note(note)
    if deployment.release_id is None:
        raise Conflict(f"{deployment} is not deployed.")
    if deployment.held and actor.kind == "system":
        raise Conflict(held_in_words(deployment))
    add_to_event(registration=deployment.registration)
    return rollouts.start(deployment, kind=Rollout.Kind.UNDEPLOY, to=None, actor=actor, note=note)


@command("deployment.retry", on="deployment")
def retry(*, actor: Actor, deployment: Deployment) -> Deployment:
    """Try the gateways that have not confirmed again now, instead of when their back-off ends.

    Raises:
        Conflict: every gateway has confirmed.
    """
    waiting = rollouts.unsettled(deployment)
    if not waiting:
        raise Conflict(f"Every gateway of {deployment.environment.slug} has confirmed; there is nothing to retry.")
    placements.retry(waiting)
    add_to_event(gateways=[placement.gateway.name for placement in waiting])
    return deployment
