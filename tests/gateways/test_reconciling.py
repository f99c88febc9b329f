"""From a wish to a fact: registering, pushing, acknowledging, with a real gateway process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.audit.models import Event
from apps.gateways.commands import create_key, revoke_key
from apps.gateways.models import Gateway, Placement

if TYPE_CHECKING:
    from collections.abc import Callable

    from apps.gateways.models import Environment
    from tests.harness.gateway import GatewayProcess
    from tests.harness.world import Inhabited


def call(process: GatewayProcess, key: str) -> int:
    """The status with which a gateway answers a caller with this key."""
    import httpx

    return httpx.get(f"{process.address}/workflows", headers={"Authorization": f"Bearer {key}"}).status_code


def test_a_registered_gateway_becomes_healthy(
    spawn: Callable[..., GatewayProcess], register: Callable[..., Gateway], reconcile: Callable[..., int]
) -> None:
    process = spawn()
    gateway = register(process)
    assert (gateway.status, gateway.status_reason) == ("pending", "has not been polled yet")

    reconcile()

    gateway.refresh_from_db()
    assert (gateway.status, gateway.status_reason) == ("healthy", "answers as agreed")
    assert gateway.gateway_id == process.admin().gateway_id
    assert gateway.max_concurrent > 0
    assert gateway.version
    assert Event.objects.filter(action="gateway.identify", resource_id=str(gateway.pk)).count() == 1


def test_a_key_works_once_acknowledged_and_not_after_its_revocation(
    acme: Inhabited,
    development: Environment,
    spawn: Callable[..., GatewayProcess],
    register: Callable[..., Gateway],
    reconcile: Callable[..., int],
) -> None:
    process = spawn()
    register(process)
    key, text = create_key(actor=acme.actor("owner"), environment=development, name="shop")
    assert call(process, text.text) == 401

    reconcile()
    placement = Placement.objects.get(kind="api-key", name=key.public_id)
    assert placement.settled
    assert placement.condition is not None
    assert placement.condition.reason == "acknowledged"
    assert call(process, text.text) == 200

    revoke_key(actor=acme.actor("owner"), key=key)
    placement.refresh_from_db()
    assert (placement.status, placement.priority) == ("removing", True)
    reconcile()
    placement.refresh_from_db()
    assert placement.status == "removed"
    assert call(process, text.text) == 401
