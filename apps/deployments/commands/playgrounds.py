"""Conversations of people with deployed agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.core.commands import command
from apps.core.errors import Conflict
from apps.deployments.models import Playground
from apps.deployments.playground import end
from apps.gateways.commands.keys import create_ephemeral_key

if TYPE_CHECKING:
    from apps.core.actors import Actor
    from apps.deployments.models import Deployment
    from contract.caller_keys import KeyText


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
