"""What the commands on deployments ask before they change anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.agents.models import Agent
from apps.core.commands import note as add_to_event
from apps.core.errors import Conflict, Invalid
from apps.deployments.models import NOTE_MAX_LENGTH, Deployment
from contract.names import registration_name

if TYPE_CHECKING:
    from apps.core.actors import Actor
    from apps.deployments.strategies.plans import Plan
    from apps.gateways.models import Environment


def lock_alive(agent: Agent) -> Agent:
    """The agent's row, locked against its deletion until we commit.

    Raises:
        Conflict: it is deleted.
    """
    locked = Agent.objects.select_for_update(of=("self",), no_key=True).get(pk=agent.pk)
    if locked.deleted_at is not None:
        raise Conflict(f"{locked} is deleted; restore it before it runs again.")
    return locked


def deployment_for(agent: Agent, environment: Environment) -> Deployment:
    """The one deployment of the pair, made if it is the first, and locked."""
    deployment, _ = Deployment.objects.get_or_create(
        agent=agent,
        environment=environment,
        defaults={"registration": registration_name(agent.slug, environment.slug)},
    )
    locked: Deployment = Deployment.objects.select_for_update(of=("self",), no_key=True).get(pk=deployment.pk)
    return locked


def pass_hold(deployment: Deployment, actor: Actor, *, release_hold: bool) -> None:
    """Lift the hold if a person said so, else stop at it.

    Raises:
        Conflict: it is held.
    """
    if not deployment.held:
        return
    if actor.kind == "system" or not release_hold:
        raise Conflict(held_in_words(deployment))
    add_to_event(hold_released=deployment.hold_reason)
    lift_hold(deployment)


def held_in_words(deployment: Deployment) -> str:
    """Since when, by whom and why it is held, and what would let it change."""
    since = f"{deployment.held_since:%Y-%m-%d %H:%M} UTC" if deployment.held_since else ""
    return (
        f"{deployment} is held since {since} by {deployment.held_by}: {deployment.hold_reason}. "
        "Release the hold, or say in the deploy that it releases it."
    )


def lift_hold(deployment: Deployment) -> None:
    """Let automation change it again. The caller saves."""
    deployment.held_since, deployment.held_by, deployment.hold_reason = None, "", ""


def checked_note(note: str) -> str:
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


def check_labels_exist(plan: Plan, environment: Environment, *, for_later: bool = False) -> None:
    """Refuse a plan that chooses by a label no gateway of the environment has: its wave would pass by, unseen.

    Args:
        for_later: gateways may come first; in an environment that has none yet, any label is fine.

    Raises:
        Invalid: naming the label.
    """
    labels = [step.share.label for step in plan.steps if step.share.label is not None]
    fleet = list(environment.gateways.values_list("labels", flat=True)) if labels else []
    if for_later and not fleet:
        return
    for name, value in labels:
        if not any(each.get(name) == value for each in fleet):
            raise Invalid(fields={"plan": [f"No gateway of {environment.slug} has the label {name}={value}."]})
