"""Changes of agents. A draft changes in place; publishing freezes it as the next version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.agents.checks import check
from apps.agents.definitions import Definition
from apps.agents.models import LABEL_MAX_LENGTH, NAME_MAX_LENGTH, NOTE_MAX_LENGTH, Agent, AgentVersion
from apps.agents.ports import deletion_guards, hand_over_guards
from apps.core.commands import command
from apps.core.commands import note as add_to_event
from apps.core.errors import Conflict, Invalid, NotFound
from contract.errors import ContractError
from contract.names import check_slug

if TYPE_CHECKING:
    from apps.core.actors import Actor


@command("agent.create")
def create(*, actor: Actor, slug: str, definition: Definition) -> Agent:
    """Make an agent. Its slug stays for ever; the rest is a draft.

    Raises:
        Invalid: the slug or the definition is not acceptable; every wrong field is named.
        Conflict: another agent, perhaps a deleted one, has the slug.
    """
    slug = slug.strip()
    problems = _slug_problems(slug)
    try:
        definition = check(definition)
    except Invalid as error:
        raise Invalid(error.message if not error.fields else "", fields=problems | error.fields) from None
    if problems:
        raise Invalid(fields=problems)
    label = _label(actor)
    agent = Agent(
        slug=slug, created_by=label, updated_by=label, content_digest=definition.digest,
        owner=actor.user if actor.kind == "user" else None, **definition.members(),
    )  # fmt: skip
    try:
        with transaction.atomic():
            agent.save(force_insert=True)
    except IntegrityError:
        raise _taken(slug) from None
    return agent


@command("agent.edit", on="agent")
def edit(*, actor: Actor, agent: Agent, revision: int, definition: Definition) -> Agent:
    """Replace the draft.

    Args:
        revision: the draft's revision that the editor saw.

    Raises:
        Invalid: the definition is not acceptable; every wrong field is named.
        Conflict: somebody else saved the draft meanwhile, or the agent is deleted.
    """
    _require_alive(agent)
    _require_revision(agent, revision)
    return _save_draft(agent, check(definition), actor)


@command("agent.publish", on="agent")
def publish(*, actor: Actor, agent: Agent, note: str = "", revision: int | None = None) -> AgentVersion:
    """Freeze the draft as the next version.

    Args:
        note: what changed and why, for the history.
        revision: the draft's revision that the publisher saw; None publishes whatever the draft is.

    Raises:
        Invalid: the note is too long or cannot be shown.
        Conflict: nothing changed since the last version, the draft changed meanwhile, or the agent is deleted.
    """
    _require_alive(agent)
    if revision is not None:
        _require_revision(agent, revision)
    note = _checked_note(note)
    if agent.latest_version is not None and not agent.has_unpublished_changes:
        raise Conflict(f"Nothing changed since version {agent.latest_number}.")
    number = (agent.latest_number or 0) + 1
    add_to_event(version=number, note=note)
    return AgentVersion.objects.create(
        agent=agent,
        number=number,
        content=agent.definition.to_json(),
        content_digest=agent.content_digest,
        note=note,
        published_by=_label(actor),
    )


@command("agent.restore-version", on="agent")
def restore_version(*, actor: Actor, agent: Agent, number: int, revision: int | None = None) -> Agent:
    """Take an older version's definition as the draft. Nothing is published by it.

    Args:
        revision: the draft's revision that will be replaced; None replaces whatever the draft is.

    Raises:
        NotFound: there is no such version.
        Conflict: the draft is that version already or changed meanwhile, or the agent is deleted.
    """
    _require_alive(agent)
    if revision is not None:
        _require_revision(agent, revision)
    version = agent.versions.filter(number=number).first()
    if version is None:
        raise NotFound(f"{agent} has no version {number}.")
    if version.content_digest == agent.content_digest:
        raise Conflict(f"The draft is version {number} already.")
    add_to_event(version=number)
    # Checked again: what an older Studio accepted may be refused by today's contract.
    return _save_draft(agent, check(version.definition), actor)


@command("agent.delete", on="agent")
def delete(*, actor: Actor, agent: Agent) -> Agent:
    """Put an agent away. Its versions stay, and it can be restored.

    Raises:
        Conflict: it is deleted already, or something still needs it, such as a deployment.
    """
    if agent.deleted_at is not None:
        raise Conflict(f"{agent} is deleted already.")
    reasons = [reason for guard in deletion_guards if (reason := guard(agent))]
    if reasons:
        raise Conflict(" ".join(reasons))
    agent.deleted_at = timezone.now()
    agent.updated_by = _label(actor)
    agent.save(update_fields=["deleted_at", "updated_by", "updated_at"])
    return agent


@command("agent.restore", on="agent")
def restore(*, actor: Actor, agent: Agent) -> Agent:
    """Bring a deleted agent back as it was.

    Raises:
        Conflict: it is not deleted.
    """
    if agent.deleted_at is None:
        raise Conflict(f"{agent} is not deleted.")
    agent.deleted_at = None
    agent.updated_by = _label(actor)
    agent.save(update_fields=["deleted_at", "updated_by", "updated_at"])
    return agent


@command("agent.duplicate", on="agent")
def duplicate(*, actor: Actor, agent: Agent, slug: str, name: str = "") -> Agent:
    """Make another agent with the same draft, and no versions.

    Raises:
        Invalid: the slug or name is not acceptable.
        Conflict: another agent has the slug.
    """
    definition = agent.definition.replaced(name=name.strip() or f"{agent.name[: NAME_MAX_LENGTH - 7]} (copy)")
    return create(actor=actor, slug=slug, definition=definition)


@command("agent.hand-over", on="agent")
def hand_over(*, actor: Actor, agent: Agent, owner: User) -> Agent:
    """Make another member the agent's owner, who answers for it.

    Raises:
        Conflict: the agent is deleted, is the member's already, the member is deactivated, or something stands in the
            way, such as a stop of everything that the member owns.
    """
    _require_alive(agent)
    if agent.owner_id == owner.pk:
        raise Conflict(f"{owner} is the owner of {agent} already.")
    # Locked after the agent, so that nobody is deactivated or stopped at this very moment.
    owner = User.objects.select_for_update(of=("self",), no_key=True).get(pk=owner.pk)
    if not owner.is_active:
        raise Conflict(f"{owner} is deactivated and can own nothing new.")
    reasons = [reason for guard in hand_over_guards if (reason := guard(agent, owner))]
    if reasons:
        raise Conflict(" ".join(reasons))
    add_to_event(owner=owner.email)
    agent.owner = owner
    agent.updated_by = _label(actor)
    agent.save(update_fields=["owner", "updated_by", "updated_at"])
    return agent


def _save_draft(agent: Agent, definition: Definition, actor: Actor) -> Agent:
    """Write a checked definition into the draft; one that changes nothing leaves the revision as it is."""
    if definition.digest == agent.content_digest:
        return agent
    for name, value in definition.members().items():
        setattr(agent, name, value)
    agent.content_digest = definition.digest
    agent.revision += 1
    agent.updated_by = _label(actor)
    agent.save(update_fields=[*Definition.NAMES, "content_digest", "revision", "updated_by", "updated_at"])
    return agent


def _require_alive(agent: Agent) -> None:
    if agent.deleted_at is not None:
        raise Conflict(f"{agent} is deleted; restore it first.")


def _require_revision(agent: Agent, revision: int) -> None:
    if agent.revision != revision:
        raise Conflict(
            f"{agent.updated_by} saved the draft meanwhile: it is revision {agent.revision} now, you saw {revision}. "
            "Load it again and make your change there."
        )


def _slug_problems(slug: str) -> dict[str, list[str]]:
    try:
        check_slug(slug)
    except ContractError as error:
        return {"slug": [error.reason[:1].upper() + error.reason[1:] + "."]}
    return {}


def _taken(slug: str) -> Conflict:
    holder = Agent.objects.filter(slug=slug).first()
    if holder is not None and holder.deleted_at is not None:
        return Conflict(f"The slug “{slug}” belongs to a deleted agent, which can be restored.")
    return Conflict(f"The slug “{slug}” is taken by another agent.")


def _checked_note(note: str) -> str:
    note = note.replace("\r\n", "\n").strip()
    if len(note) > NOTE_MAX_LENGTH:
        raise Invalid(fields={"note": [f"The note has {len(note)} characters; the most is {NOTE_MAX_LENGTH}."]})
    if not all(character.isprintable() or character in "\n\t" for character in note):
        raise Invalid(fields={"note": ["The note holds a character that cannot be shown."]})
    return note


def _label(actor: Actor) -> str:
    return actor.label[:LABEL_MAX_LENGTH]
