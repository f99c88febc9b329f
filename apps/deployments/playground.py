"""Talking to a deployed agent from its page, as any caller would: through a gateway, with a key.

Studio keeps only hashes of caller keys, so a conversation mints one of its own: for the one registration, for a quarter
of an hour. Its clear text lives in the memory of the socket that opened it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from apps.deployments.models import Deployment, Playground
from apps.gateways.commands.keys import revoke_ephemeral_key
from apps.gateways.models import Gateway, Placement
from apps.gateways.placements import lock_environment
from contract.kinds import API_KEY, TOMBSTONE_DIGEST, WORKFLOW
from contract.release import Release as ReleaseDocument

if TYPE_CHECKING:
    from uuid import UUID

MESSAGE_MAX_LENGTH = 20_000


@dataclass(frozen=True, slots=True)
class Opening:
    """What a socket needs of the playground that was opened for it.

    Attributes:
        inputs: the input schema of the release at that moment.
    """

    playground: UUID
    deployment: UUID
    registration: str
    key_id: str
    key: str = field(repr=False)
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Way:
    """Where the conversation can go, or what it waits for.

    Attributes:
        address: of a gateway that holds both the registration and the key; "" while there is none.
        waits_for: in words, while there is none.
    """

    address: str = ""
    waits_for: str = ""


def opening_of(playground: Playground, key_text: str) -> Opening:
    """What the socket keeps."""
    deployment = playground.deployment
    body = deployment.release.body if deployment.release else b"{}"
    return Opening(
        playground=playground.pk,
        deployment=deployment.pk,
        registration=deployment.registration,
        key_id=playground.key.public_id,
        key=key_text,
        inputs=_input_schema(bytes(body)),
    )


def way_to(opening: Opening) -> Way:
    """A gateway of the environment on which the conversation can take place now."""
    deployment = Deployment.objects.select_related("environment").get(pk=opening.deployment)
    if deployment.release_id is None:
        return Way(waits_for=f"{deployment} is not deployed any more.")
    gateways = list(Gateway.objects.serving().filter(environment=deployment.environment_id).order_by("name"))
    if not gateways:
        return Way(waits_for=f"Waiting for a gateway in {deployment.environment.slug}.")
    holding = _holding(opening)
    able = [gateway for gateway in gateways if holding.get(gateway.pk, set()) >= {WORKFLOW.name, API_KEY.name}]
    for gateway in able:
        if gateway.reachable and gateway.status != Gateway.Status.DRAINING:
            return Way(address=gateway.address)
    return Way(waits_for=_waits_for(gateways, holding))


def _holding(opening: Opening) -> dict[UUID, set[str]]:
    """What each gateway was seen to hold of the two things that a call needs: the registration and the key.

    An older release will do for talking: the conversation need not wait for the end of a rollout.
    """
    needed = Q(kind=WORKFLOW.name, name=opening.registration) | Q(kind=API_KEY.name, name=opening.key_id)
    seen = Placement.objects.filter(needed).exclude(observed_digest__in=["", TOMBSTONE_DIGEST])
    holding: dict[UUID, set[str]] = {}
    for gateway, kind in seen.values_list("gateway_id", "kind"):
        holding.setdefault(gateway, set()).add(kind)
    return holding


def _waits_for(gateways: list[Gateway], holding: dict[UUID, set[str]]) -> str:
    """The reason that is nearest to its end: a key on its way, a release on its way, a gateway that does not answer."""
    reachable = [gateway for gateway in gateways if gateway.reachable]
    if not reachable:
        first = gateways[0]
        return f"Waiting for {first.name}, which is {first.status}: {first.status_reason}."
    for gateway in reachable:
        if WORKFLOW.name in holding.get(gateway.pk, set()):
            return f"Waiting until {gateway.name} has the key of this conversation."
    return f"Waiting until {reachable[0].name} has the agent."


def is_open(opening: Opening) -> bool:
    """Whether the conversation's key still lives."""
    return Playground.objects.filter(
        pk=opening.playground, closed_at=None, key__revoked_at=None, key__expires_at__gt=Now()
    ).exists()


def inputs_of(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The inputs that a message stands for: the `message`, or for an agent with other fields a JSON object."""
    if set(schema.get("properties", {})) - {"message"}:
        try:
            given = json.loads(text)
        except ValueError:
            given = None
        if isinstance(given, dict):
            return given
    return {"message": text}


def close_ended() -> None:
    """End the keys of conversations whose time is over, of which no socket is left to do so."""
    over = Playground.objects.filter(closed_at=None, key__expires_at__lte=Now()).select_related("key", "environment")
    for playground in over:
        end(playground)


def end(playground: Playground) -> None:
    """Take the key off the gateways and write down that the conversation is over. Safe to repeat."""
    with transaction.atomic():
        lock_environment(playground.environment)
        revoke_ephemeral_key(playground.key)
        Playground.objects.filter(pk=playground.pk, closed_at=None).update(closed_at=timezone.now())


def _input_schema(body: bytes) -> dict[str, Any]:
    return ReleaseDocument.parse(body).interface.inputs if body != b"{}" else {}
