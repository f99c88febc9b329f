"""Scenarios of the commands in `gateways`. They want and write; no gateway needs to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.core.actors import Actor
from apps.gateways import commands
from apps.gateways.commands.environments import make_signing_key
from apps.gateways.models import CallerKey, Environment, Gateway, SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.world import Inhabited
    from tests.scenarios import Scenario

SYSTEM = Actor.system("scenario")


def _development() -> Environment:
    return Environment.objects.get(slug="development")


def _gateway(*, pinned: bool = True) -> Gateway:
    gateway = commands.register_gateway(
        actor=SYSTEM,
        environment=_development(),
        name="eu-1",
        address="http://127.0.0.1:9",
        deploy_token="a-token-of-some-length",
    )
    if pinned:
        gateway.gateway_id, gateway.public_key = "gateway-of-the-scenario", "its-key"
        gateway.save()
    return gateway


def _key() -> CallerKey:
    key, _ = commands.create_key(actor=SYSTEM, environment=_development(), name="shop")
    return key


def _create_environment(world: Inhabited) -> Callable[[Actor], object]:
    return lambda actor: commands.create_environment(actor=actor, slug="qa", name="Quality")


def _edit_environment(world: Inhabited) -> Callable[[Actor], object]:
    environment = _development()
    return lambda actor: commands.edit_environment(
        actor=actor, environment=environment, name="Dev", order=1, poll_interval_s=2
    )


def _make_signing_key(world: Inhabited) -> Callable[[Actor], object]:
    SigningKey.objects.all().delete()
    return lambda actor: make_signing_key(actor=actor)


def _register(world: Inhabited) -> Callable[[Actor], object]:
    environment = _development()
    return lambda actor: commands.register_gateway(
        actor=actor,
        environment=environment,
        name="eu-1",
        address="http://127.0.0.1:9",
        deploy_token="a-token-of-some-length",
    )


def _edit(world: Inhabited) -> Callable[[Actor], object]:
    gateway = _gateway()
    return lambda actor: commands.edit_gateway(actor=actor, gateway=gateway, address="http://127.0.0.1:10")


def _accept_identity(world: Inhabited) -> Callable[[Actor], object]:
    gateway = _gateway()
    return lambda actor: commands.accept_identity(actor=actor, gateway=gateway)


def _retry(world: Inhabited) -> Callable[[Actor], object]:
    gateway = _gateway()
    return lambda actor: commands.retry_gateway(actor=actor, gateway=gateway)


def _remove(world: Inhabited) -> Callable[[Actor], object]:
    gateway = _gateway()
    return lambda actor: commands.remove_gateway(actor=actor, gateway=gateway)


def _forget(world: Inhabited) -> Callable[[Actor], object]:
    gateway = _gateway()
    return lambda actor: commands.forget_gateway(actor=actor, gateway=gateway)


def _create_key(world: Inhabited) -> Callable[[Actor], object]:
    environment = _development()
    return lambda actor: commands.create_key(actor=actor, environment=environment, name="shop")


def _revoke_key(world: Inhabited) -> Callable[[Actor], object]:
    key = _key()
    return lambda actor: commands.revoke_key(actor=actor, key=key)


def _limit_key(world: Inhabited) -> Callable[[Actor], object]:
    key = _key()
    return lambda actor: commands.limit_key(actor=actor, key=key, limits={"requests_per_minute": 60})


SCENARIOS: dict[str, Scenario] = {
    "environment.create": _create_environment,
    "environment.edit": _edit_environment,
    "signing-key.create": _make_signing_key,
    "gateway.register": _register,
    "gateway.edit": _edit,
    "gateway.accept-identity": _accept_identity,
    "gateway.retry": _retry,
    "gateway.remove": _remove,
    "gateway.forget": _forget,
    "caller-key.create": _create_key,
    "caller-key.limit": _limit_key,
    "caller-key.revoke": _revoke_key,
}
