"""A gateway in acme's production, and its log."""

from __future__ import annotations

import pytest

from apps.core.actors import Actor
from apps.gateways.commands import register_gateway
from apps.gateways.models import Environment, Gateway
from tests.harness.world import Inhabited
from tests.telemetry.logs import Log


@pytest.fixture
def production(acme: Inhabited) -> Environment:
    return Environment.objects.get(slug="production")


@pytest.fixture
def eu_1(production: Environment) -> Gateway:
    """A registered gateway, which nobody polls in the test."""
    return add_gateway(production, "eu-1", 18_001)


@pytest.fixture
def log() -> Log:
    return Log()


def add_gateway(environment: Environment, name: str, port: int) -> Gateway:
    return register_gateway(
        actor=Actor.system("tests"),
        environment=environment,
        name=name,
        address=f"http://127.0.0.1:{port}",
        deploy_token="a-token-of-a-gateway",
    )
