"""Changes of what runs where.

Whoever changes what an environment wants holds the environment's row (`Deployment.locked_under`), so that a gateway
that joins at the same moment misses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from apps.agents.models import Agent, AgentVersion
from apps.core.commands import command
from apps.core.commands import note as add_to_event
from apps.core.errors import Conflict, Invalid
from apps.core.live import hint
from apps.deployments import rollouts
from apps.deployments.models import NOTE_MAX_LENGTH, Deployment, Playground, Release, Rollout
from apps.deployments.playground import end
from apps.deployments.releases import release_of
from apps.gateways import placements
from apps.gateways.commands.keys import create_ephemeral_key
from contract.names import registration_name

if TYPE_CHECKING:
    from apps.core.actors import Actor
    from apps.gateways.models import Environment
    from contract.caller_keys import KeyText


@command("environment.deploy", on="environment")
def deploy(
    *,
    actor: Actor,
    environment: Environment,
    version: AgentVersion,
    note: str = "",
    redeploy: bool = False,
    release_hold: bool = False,
) -> Rollout:
    """Want a version of an agent on every gateway of the environment.

    Args:
        note: why, for the history.
        redeploy: send it again also if it is what runs already.
        release_hold: lift a hold that a rollback left; only a member may, never Studio itself.

    Raises:
        Conflict: the agent is deleted, the version runs already, or the deployment is held.
        Invalid: the version cannot be released, or the note is too long.
    """
    note = _checked_note(note)
    agent = _lock_alive(version.agent)
    release = release_of(version)
    deployment = _deployment_for(agent, environment)
    _pass_hold(deployment, actor, release_hold=release_hold)
    if deployment.release_id == release.pk and not redeploy:
        raise Conflict(f"Version {version.number} of {agent} is what runs in {environment.slug} already.")
    kind = Rollout.Kind.REDEPLOY if deployment.release_id == release.pk else Rollout.Kind.DEPLOY
    add_to_event(agent=agent.slug, version=version.number, registration=deployment.registration, digest=release.digest)
    return rollouts.start(deployment, kind=kind, to=release, actor=actor, note=note)


@command("deployment.rollback", on="deployment")
def rollback(*, actor: Actor, deployment: Deployment, to: Release, note: str = "") -> Rollout:
    """Point the deployment at an earlier release and hold it there, so that automation does not undo it.

    Raises:
        Conflict: `to` never ran in this environment, or is what runs; the agent is deleted.
        Invalid: the note is too long.
    """
    note = _checked_note(note)
    _lock_alive(deployment.agent)
    if deployment.release_id == to.pk:
        raise Conflict(f"{to} is what runs in {deployment.environment.slug} already.")
    if not deployment.rollouts.filter(to_release=to).exists():
        raise Conflict(f"{to} never ran in {deployment.environment.slug}; deploy it instead.")
    before = deployment.release
    deployment.held_since, deployment.held_by = timezone.now(), actor.label
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
    _lift_hold(deployment)
    deployment.save(update_fields=["held_since", "held_by", "hold_reason", "updated_at"])
    hint("deployment")
    return deployment


@command("deployment.cancel", on="deployment")
def cancel(*, actor: Actor, deployment: Deployment, note: str = "") -> Rollout:
    """Take back a rollout that is under way: to what ran before it, or to nothing if it was the first.

    Raises:
        Conflict: nothing is progressing, or what progresses is itself a cancellation.
        Invalid: the note is too long.
    """
    note = _checked_note(note)
    current = deployment.rollouts.filter(state=Rollout.State.PROGRESSING).first()
    if current is None:
        raise Conflict(f"{deployment} has no rollout under way.")
    if current.kind == Rollout.Kind.CANCEL:
        raise Conflict("What is under way takes a rollout back already. Deploy the version that you want.")
    if current.kind == Rollout.Kind.REDEPLOY:
        raise Conflict("What is under way sends again what ran before: there is nothing to go back to.")
    if current.kind == Rollout.Kind.ROLLBACK:
        # The hold was there to keep this rollback, and there is nothing to keep.
        _lift_hold(deployment)
    if current.from_release is not None:
        _lock_alive(deployment.agent)
    add_to_event(cancelled=str(current), registration=deployment.registration)
    return rollouts.start(deployment, kind=Rollout.Kind.CANCEL, to=current.from_release, actor=actor, note=note)


@command("deployment.undeploy", on="deployment")
def undeploy(*, actor: Actor, deployment: Deployment, note: str = "") -> Rollout:
    """Take the agent off every gateway of the environment. A hold stays.

    Raises:
        Conflict: nothing runs there, or it is held and Studio itself wants to change it.
        Invalid: the note is too long.
    """
    note = _checked_note(note)
    if deployment.release_id is None:
        raise Conflict(f"{deployment} is not deployed.")
    if deployment.held and actor.kind == "system":
        raise Conflict(_held(deployment))
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


@command("playground.open", on="deployment")
def open_playground(*, actor: Actor, deployment: Deployment) -> tuple[Playground, KeyText]:
    """Mint the key of a conversation: for this one registration, for a quarter of an hour.

    Returns:
        The playground, and the key's text, which is shown to nobody and kept in memory only.

    Raises:
        Conflict: nothing is deployed there.
    """
    if deployment.release_id is None:
        raise Conflict(f"{deployment} is not deployed, so there is nobody to talk to.")
    key, text = create_ephemeral_key(
        actor=actor, environment=deployment.environment, registration=deployment.registration
    )
    playground = Playground.objects.create(
        deployment=deployment, environment=deployment.environment, key=key, opened_by=actor.label
    )
    return playground, text


@command("playground.close", on="playground")
def close_playground(*, actor: Actor, playground: Playground) -> Playground:
    """End a conversation: its key stops working on every reachable gateway.

    Raises:
        Conflict: it is closed already.
    """
    if playground.closed_at is not None:
        raise Conflict("The conversation is over already.")
    end(playground)
    playground.refresh_from_db()
    return playground


def _lock_alive(agent: Agent) -> Agent:
    """The agent's row, locked against its deletion until we commit.

    Raises:
        Conflict: it is deleted.
    """
    locked = Agent.objects.select_for_update(of=("self",), no_key=True).get(pk=agent.pk)
    if locked.deleted_at is not None:
        raise Conflict(f"{locked} is deleted; restore it before it runs again.")
    return locked


def _deployment_for(agent: Agent, environment: Environment) -> Deployment:
    deployment, _ = Deployment.objects.get_or_create(
        agent=agent,
        environment=environment,
        defaults={"registration": registration_name(agent.slug, environment.slug)},
    )
    locked: Deployment = Deployment.objects.select_for_update(of=("self",), no_key=True).get(pk=deployment.pk)
    return locked


def _pass_hold(deployment: Deployment, actor: Actor, *, release_hold: bool) -> None:
    """Lift the hold if a person said so, else stop at it.

    Raises:
        Conflict: it is held.
    """
    if not deployment.held:
        return
    if actor.kind == "system" or not release_hold:
        raise Conflict(_held(deployment))
    add_to_event(hold_released=deployment.hold_reason)
    _lift_hold(deployment)


def _held(deployment: Deployment) -> str:
    since = f"{deployment.held_since:%Y-%m-%d %H:%M} UTC" if deployment.held_since else ""
    return (
        f"{deployment} is held since {since} by {deployment.held_by}: {deployment.hold_reason}. "
        "Release the hold, or say in the deploy that it releases it."
    )


def _lift_hold(deployment: Deployment) -> None:
    deployment.held_since, deployment.held_by, deployment.hold_reason = None, "", ""


def _checked_note(note: str) -> str:
    """The note without surrounding space.

    Raises:
        Invalid: it is too long, or holds what cannot be shown.
    """
    note = note.replace("\r\n", "\n").strip()
    if len(note) > NOTE_MAX_LENGTH:
        raise Invalid(fields={"note": [f"Use at most {NOTE_MAX_LENGTH} characters."]})
    if not all(character.isprintable() or character in "\n\t" for character in note):
        raise Invalid(fields={"note": ["The note holds a character that cannot be shown."]})
    return note
