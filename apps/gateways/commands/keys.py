"""Caller keys: made once, shown once, revoked at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from apps.core.commands import command
from apps.core.errors import Conflict, Invalid
from apps.gateways.caller_keys import API_KEY, key_body
from apps.gateways.limits import checked_limits
from apps.gateways.models import CallerKey, Environment
from apps.gateways.models.keys import EPHEMERAL_LIMIT_MIN, KEY_NAME_MAX_LENGTH
from apps.gateways.placements import want_on_environment
from contract.caller_keys import EVERYTHING, KeyText
from contract.errors import ContractError
from contract.names import split_registration_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from apps.core.actors import Actor

_HINT_LENGTH = 4
_SCOPES_MAX = 100


@command("caller-key.create", on="environment")
def create_key(
    *,
    actor: Actor,
    environment: Environment,
    name: str,
    scopes: Sequence[str] = (EVERYTHING,),
    expires_at: datetime | None = None,
    limits: Mapping[str, Any] | None = None,
) -> tuple[CallerKey, KeyText]:
    """Make a key for an application. Its text is returned this once and kept nowhere.

    Args:
        scopes: names of registrations in the environment, or `*` alone for all, also future ones.
        limits: as `contract.caller_keys.KeyLimits` has them; none unless given.

    Raises:
        Invalid: a value breaks its rule.
    """
    name = name.strip()
    fields: dict[str, list[str]] = {}
    if not 0 < len(name) <= KEY_NAME_MAX_LENGTH:
        fields["name"] = [f"Say in at most {KEY_NAME_MAX_LENGTH} characters what will use the key."]
    if expires_at is not None and expires_at <= timezone.now():
        fields["expires_at"] = ["That is in the past."]
    if problem := _scopes_problem(scopes, environment):
        fields["scopes"] = [problem]
    if fields:
        raise Invalid(fields=fields)
    return _make(environment, actor, name, scopes, expires_at, limits=checked_limits(limits or {}))


@command("caller-key.limit", on="key")
def limit_key(*, actor: Actor, key: CallerKey, limits: Mapping[str, Any]) -> CallerKey:
    """Replace the limits of a key, on every gateway of its environment. What it has spent stays counted.

    Args:
        limits: as `contract.caller_keys.KeyLimits` has them; those that are left out end.

    Raises:
        Conflict: the key has ended.
        Invalid: a limit breaks its rule.
    """
    if key.state in ("revoked", "expired"):
        raise Conflict(f"The key “{key}” has ended; limits of it would change nothing.")
    key.limits = checked_limits(limits)
    key.save(update_fields=["limits", "updated_at"])
    want_on_environment(key.environment, API_KEY.name, key.public_id, key_body(key))
    return key


@command("caller-key.revoke", on="key")
def revoke_key(*, actor: Actor, key: CallerKey) -> CallerKey:
    """End a key on every gateway of its environment, ahead of all other work.

    Raises:
        Conflict: it was revoked before.
    """
    if key.revoked_at is not None:
        raise Conflict(f"The key “{key}” was revoked already.")
    return _revoke(key)


def create_ephemeral_key(
    *, actor: Actor, environment: Environment, registration: str, minutes: int = EPHEMERAL_LIMIT_MIN
) -> tuple[CallerKey, KeyText]:
    """Make a key with which Studio itself calls one registration for the acting person. For the body of a command.

    Raises:
        Invalid: it would live longer than 15 minutes, or the registration is none of the environment.
    """
    if not 0 < minutes <= EPHEMERAL_LIMIT_MIN:
        raise Invalid(f"A key of the playground lives at most {EPHEMERAL_LIMIT_MIN} minutes.")
    if problem := _scopes_problem([registration], environment):
        raise Invalid(problem)
    end = timezone.now() + timedelta(minutes=minutes)
    name = f"Playground of {actor.label}"[:KEY_NAME_MAX_LENGTH]
    return _make(environment, actor, name, [registration], end, ephemeral=True)


def revoke_ephemeral_key(key: CallerKey) -> None:
    """End a key that `create_ephemeral_key` made; one that ended already stays so."""
    if not key.ephemeral:
        raise Conflict("Only the playground's own keys end without a command.")
    fresh = CallerKey.objects.select_for_update(of=("self",), no_key=True).filter(pk=key.pk, revoked_at=None).first()
    if fresh is not None:
        _revoke(fresh)


def record_key_use(uses: Mapping[str, datetime]) -> None:
    """Note when keys were last used, by public id; an older moment than the known one changes nothing."""
    for public_id, moment in uses.items():
        keys = CallerKey.objects.filter(public_id=public_id)
        keys.filter(last_used_at=None).update(last_used_at=moment)
        keys.filter(last_used_at__lt=moment).update(last_used_at=moment)


def _make(
    environment: Environment,
    actor: Actor,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
    **fields: Any,
) -> tuple[CallerKey, KeyText]:
    text = KeyText.generate()
    key = CallerKey.objects.create(
        environment=environment,
        name=name,
        public_id=text.id,
        secret_hash=text.hash,
        hint=text.text[-_HINT_LENGTH:],
        scopes=list(dict.fromkeys(scopes)),
        expires_at=expires_at,
        created_by=actor.label,
        **fields,
    )
    want_on_environment(environment, API_KEY.name, key.public_id, key_body(key), priority=key.ephemeral)
    return key, text


def _revoke(key: CallerKey) -> CallerKey:
    key.revoked_at = timezone.now()
    key.save(update_fields=["revoked_at", "updated_at"])
    want_on_environment(key.environment, API_KEY.name, key.public_id, None, priority=True)
    return key


def _scopes_problem(scopes: Sequence[str], environment: Environment) -> str:
    """What is wrong with scopes, or ""."""
    if list(scopes) == [EVERYTHING]:
        return ""
    if not scopes:
        return "Name at least one registration, or * for all."
    if len(scopes) > _SCOPES_MAX:
        return f"Name at most {_SCOPES_MAX} registrations, or * for all."
    if EVERYTHING in scopes:
        return "Write * alone: it covers every registration."
    for scope in scopes:
        try:
            parts = split_registration_name(scope)
        except ContractError as error:
            return f"{error.reason[:1].upper()}{error.reason[1:]}."
        if parts.environment != environment.slug:
            return f"“{scope}” is no registration of {environment}: its name ends with -{environment.slug}."
    return ""
