"""Scenarios of the commands in `accounts` and `tenants`."""

from __future__ import annotations

from collections.abc import Callable

from apps.accounts import commands
from apps.core.actors import Actor
from apps.tenants import commands as tenants
from tests.harness.world import Inhabited
from tests.scenarios import Scenario


def _create_organization(world: Inhabited) -> Callable[[Actor], object]:
    return lambda actor: commands.create_organization(
        actor=actor, slug="initech", name="Initech", owner_email="bill@initech.example", base_domain="localhost"
    )


def _suspend(world: Inhabited) -> Callable[[Actor], object]:
    return lambda actor: tenants.suspend(actor=actor, organization=world.organization, reason="unpaid")


def _restore(world: Inhabited) -> Callable[[Actor], object]:
    tenants.suspend(actor=Actor.system(), organization=world.organization, reason="unpaid")
    return lambda actor: tenants.restore(actor=actor, organization=world.organization)


def _create_user(world: Inhabited) -> Callable[[Actor], object]:
    return lambda actor: commands.create_user(actor=actor, email="new@acme.example", role="viewer")


def _change_role(world: Inhabited) -> Callable[[Actor], object]:
    return lambda actor: commands.change_role(actor=actor, user=world.users["viewer"], role="builder")


def _grant_ownership(world: Inhabited) -> Callable[[Actor], object]:
    return lambda actor: commands.grant_ownership(actor=actor, user=world.users["admin"])


def _deactivate(world: Inhabited) -> Callable[[Actor], object]:
    return lambda actor: commands.deactivate(actor=actor, user=world.users["viewer"])


def _reactivate(world: Inhabited) -> Callable[[Actor], object]:
    commands.deactivate(actor=Actor.system(), user=world.users["viewer"])
    return lambda actor: commands.reactivate(actor=actor, user=world.users["viewer"])


def _update_profile(world: Inhabited) -> Callable[[Actor], object]:
    return lambda actor: commands.update_profile(actor=actor, user=world.users["owner"], name="Olga")


def _create_token(world: Inhabited) -> Callable[[Actor], object]:
    return lambda actor: commands.create_token(actor=actor, user=world.users["owner"], name="ci")


def _revoke_token(world: Inhabited) -> Callable[[Actor], object]:
    token, _ = commands.create_token(actor=world.actor("owner"), user=world.users["owner"], name="ci")
    return lambda actor: commands.revoke_token(actor=actor, token=token)


SCENARIOS: dict[str, Scenario] = {
    "organization.create": _create_organization,
    "organization.suspend": _suspend,
    "organization.restore": _restore,
    "user.create": _create_user,
    "user.change-role": _change_role,
    "user.grant-ownership": _grant_ownership,
    "user.deactivate": _deactivate,
    "user.reactivate": _reactivate,
    "user.update-profile": _update_profile,
    "api-token.create": _create_token,
    "api-token.revoke": _revoke_token,
}
