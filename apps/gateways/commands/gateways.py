"""Registering, changing and removing gateways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from apps.core.commands import command, note
from apps.core.errors import Conflict, Invalid
from apps.core.outgoing import check_origin, parse_origin
from apps.core.secrets import encrypt
from apps.gateways import due
from apps.gateways.hints import hint_reconciler
from apps.gateways.labels import check_labels
from apps.gateways.models import Condition, Environment, Gateway, Placement
from apps.gateways.models.gateways import NAME, NAME_MAX_LENGTH
from apps.gateways.placements import want_everything, want_nothing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from apps.core.actors import Actor

_TOKEN_LENGTHS = (16, 500)


@command("gateway.register", on="environment")
def register_gateway(
    *,
    actor: Actor,
    environment: Environment,
    name: str,
    address: str,
    deploy_token: str,
    labels: Mapping[str, str] | None = None,
) -> Gateway:
    """Take a gateway into an environment. It receives everything that runs there as soon as it answers.

    Args:
        address: `http(s)://host:port` of the gateway.
        deploy_token: what the gateway was started with; stored encrypted and shown never again.
        labels: what is true of it by name; waves of a rollout choose by them.

    Raises:
        Invalid: a value breaks its rule, or the address is in a range that this installation does not allow.
        Conflict: the name or the address is taken.
    """
    name = name.strip()
    _check_name(name)
    origin = _checked_address(address)
    _check_token(deploy_token)
    labels = check_labels(labels or {})
    _refuse_taken(name, origin)
    try:
        with transaction.atomic():
            gateway = Gateway.objects.create(
                environment=environment,
                name=name,
                address=origin,
                deploy_token=encrypt(deploy_token.strip()),
                labels=labels,
            )
    except IntegrityError:
        raise Conflict(f"A gateway with the name “{name}” or the address {origin} was registered just now.") from None
    want_everything(gateway)
    _poll_soon(gateway)
    return gateway


@command("gateway.edit", on="gateway")
def edit_gateway(
    *,
    actor: Actor,
    gateway: Gateway,
    address: str,
    deploy_token: str = "",
    labels: Mapping[str, str] | None = None,
) -> Gateway:
    """Change where a gateway is reached, the token that opens it, or its labels.

    Waves of a rollout that have begun keep their gateways, whatever labels they get.

    Args:
        deploy_token: "" keeps the present one.
        labels: None keeps the present ones.

    Raises:
        Invalid: a value breaks its rule, or the address is in a range that this installation does not allow.
        Conflict: another gateway has the address.
    """
    origin = _checked_address(address)
    if deploy_token:
        _check_token(deploy_token)
        gateway.deploy_token = encrypt(deploy_token.strip())
    if Gateway.objects.filter(address=origin).exclude(pk=gateway.pk).exists():
        raise Conflict(f"Another gateway has the address {origin}.")
    gateway.address = origin
    if labels is not None:
        gateway.labels = check_labels(labels)
    gateway.save(update_fields=["address", "deploy_token", "labels", "updated_at"])
    _poll_soon(gateway)
    return gateway


@command("gateway.accept-identity", on="gateway")
def accept_identity(*, actor: Actor, gateway: Gateway) -> Gateway:
    """Accept that another gateway answers at the address: its next answer is pinned as its identity.

    For a gateway that was reinstalled. Everything that its environment runs is pushed to it anew.
    """
    note(gateway_id=gateway.gateway_id, public_key=gateway.public_key)
    gateway.gateway_id = gateway.public_key = gateway.boot_id = gateway.state_digest = ""
    gateway.revision = 0
    gateway.status, gateway.status_since = Gateway.Status.PENDING, timezone.now()
    gateway.status_reason = "waits for the first answer of the newly accepted gateway"
    # How often the stranger failed says nothing about who is accepted now.
    gateway.consecutive_failures = gateway.circuit_failures = 0
    gateway.circuit_open_until = None
    gateway.save()
    Placement.objects.filter(gateway=gateway).update(
        observed_generation=0,
        observed_digest="",
        conditions=Condition.placed("waiting", "waits for its turn").written_over([]),
        attempts=0,
        lease_until=None,
        next_attempt_at=timezone.now(),
        receipt="",
        receipt_at="",
        receipt_verified_at=None,
    )
    _poll_soon(gateway)
    return gateway


@command("gateway.retry", on="gateway")
def retry_gateway(*, actor: Actor, gateway: Gateway) -> Gateway:
    """Try everything that waits for the gateway again now, instead of when its back-off ends."""
    retry_now(gateway)
    _poll_soon(gateway)
    return gateway


@command("gateway.remove", on="gateway")
def remove_gateway(*, actor: Actor, gateway: Gateway) -> Gateway:
    """Let a gateway leave: it finishes what runs, is emptied, and is forgotten once it has confirmed.

    Raises:
        Conflict: it is leaving already, or has never answered (then it can only be forgotten).
    """
    if gateway.leaving_at is not None:
        raise Conflict(f"{gateway} is being removed already; forget it if it does not answer any more.")
    if not gateway.pinned:
        raise Conflict(f"{gateway} has never answered, so there is nothing to empty; forget it instead.")
    gateway.leaving_at = timezone.now()
    gateway.save(update_fields=["leaving_at", "updated_at"])
    want_nothing(gateway)
    _poll_soon(gateway)
    return gateway


@command("gateway.forget", on="gateway")
def forget_gateway(*, actor: Actor, gateway: Gateway) -> Gateway:
    """Forget a gateway without emptying it: for one that is dead. What it still holds, it may go on serving."""
    held = Placement.objects.filter(gateway=gateway, observed_generation__gt=0)
    note(still_holds=[f"{kind} {name}" for kind, name in held.values_list("kind", "name")[:100]])
    gateway.delete()
    return gateway


def retry_now(gateway: Gateway) -> None:
    """Close the circuit and end every back-off of a gateway."""
    now = timezone.now()
    Gateway.objects.filter(pk=gateway.pk).update(circuit_failures=0, circuit_open_until=None)
    Placement.objects.unsettled().filter(gateway=gateway, next_attempt_at__gt=now).update(next_attempt_at=now)
    due.lower()
    hint_reconciler()


def _poll_soon(gateway: Gateway) -> None:
    due.poll_now(Gateway.objects.filter(pk=gateway.pk))
    hint_reconciler()


def _check_name(name: str) -> None:
    try:
        NAME(name)
    except ValidationError as error:
        raise Invalid(fields={"name": list(error.messages)}) from None
    if len(name) > NAME_MAX_LENGTH:
        raise Invalid(fields={"name": [f"Use at most {NAME_MAX_LENGTH} characters."]})


def _checked_address(address: str) -> str:
    try:
        origin = parse_origin(address)
        check_origin(origin)
    except Invalid as error:
        raise Invalid(fields={"address": [error.message]}) from None
    return str(origin)


def _check_token(token: str) -> None:
    shortest, longest = _TOKEN_LENGTHS
    text = token.strip()
    if not shortest <= len(text) <= longest or not text.isascii() or not text.isprintable() or " " in text:
        raise Invalid(
            fields={"deploy_token": [f"A deploy token has {shortest} to {longest} visible ASCII characters."]}
        )


def _refuse_taken(name: str, address: str) -> None:
    fields: dict[str, list[str]] = {}
    taken = Gateway.objects.filter(name=name).first()
    if taken is not None:
        fields["name"] = [f"There is a gateway “{name}” already, in {taken.environment}."]
    other = Gateway.objects.filter(address=address).first()
    if other is not None:
        fields["address"] = [f"The gateway {other} has this address already."]
    if fields:
        raise Invalid(fields=fields)
