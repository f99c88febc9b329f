"""Real gateway processes that trust acme, and the reconciler run step by step in the test's own transaction."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from apps.core.actors import Actor
from tests.harness.gateway import GatewayProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from apps.gateways.models import Environment, Gateway
    from tests.harness.world import Inhabited

_numbers = itertools.count(1)
# No test of this folder executes anything, so no model needs to answer.
NO_MODEL = "http://127.0.0.1:9/v1"

Spawn = "Callable[..., GatewayProcess]"


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """Start gateway processes that trust the organization in whose schema the test is."""
    started: list[GatewayProcess] = []

    def start(**options: Any) -> GatewayProcess:
        from apps.gateways.signing import private_key

        options.setdefault("organization_key", private_key())
        process = GatewayProcess(tmp_path / f"gateway-{next(_numbers)}", NO_MODEL, **options)
        started.append(process)
        return process.start()

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def development(acme: Inhabited) -> Environment:
    """Acme's development environment."""
    from apps.gateways.models import Environment

    return Environment.objects.get(slug="development")


@pytest.fixture
def register(acme: Inhabited, development: Environment) -> Callable[..., Gateway]:
    """Register a process as a gateway, by default in development, as the owner."""
    from apps.gateways.commands import register_gateway

    def call(process: GatewayProcess, **options: Any) -> Gateway:
        arguments: dict[str, Any] = {
            "actor": acme.actor("owner"),
            "environment": development,
            "name": f"dev-{next(_numbers)}",
            "address": process.address,
            "deploy_token": process.token,
            **options,
        }
        return register_gateway(**arguments)

    return call


@pytest.fixture
def reconcile(acme: Inhabited) -> Callable[..., int]:
    """Do everything that is due in acme, in this thread and transaction."""
    from apps.gateways.scanner import reconcile_tenant

    def call(**options: Any) -> int:
        return reconcile_tenant(acme.schema, **options)

    return call


@pytest.fixture
def system() -> Actor:
    return Actor.system("tests")
