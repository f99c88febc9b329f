"""Commands to copy, with the organization's own addresses and names in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.gateways.models import Gateway
from apps.gateways.queries import registrations_in
from contract.caller_keys import EVERYTHING

if TYPE_CHECKING:
    from apps.gateways.models import CallerKey, Environment


def caller_address(environment: Environment) -> str:
    """Where callers reach an environment: its load balancer, else a gateway that answers; "" without any."""
    if environment.caller_url:
        return str(environment.caller_url)
    gateways = Gateway.objects.serving().filter(environment=environment)
    answering = gateways.filter(status=Gateway.Status.HEALTHY).first() or gateways.first()
    return answering.address if answering else ""


def curl_with(key: CallerKey, text: str) -> str:
    """A complete command line that calls an agent, or lists what the key may call while nothing runs."""
    address = caller_address(key.environment) or "https://YOUR-GATEWAY"
    running = registrations_in(key.environment)
    callable_names = running if key.scopes == [EVERYTHING] else [name for name in key.scopes if name in running]
    if not callable_names:
        return f'curl {address}/workflows -H "Authorization: Bearer {text}"'
    return (
        f"curl {address}/workflows/{callable_names[0]}/execute \\\n"
        f'  -H "Authorization: Bearer {text}" -H "Content-Type: application/json" \\\n'
        f"""  -d '{{"inputs": {{"message": "Hello"}}}}'"""
    )


def install_commands(public_key: str) -> str:
    """How a gateway of this organization is started, as far as Studio knows."""
    return (
        "export GATEWAY_ADDRESS=0.0.0.0:8443\n"
        "export GATEWAY_DATA_DIR=/var/lib/kaizen-gateway\n"
        f"export GATEWAY_TRUSTED_KEY={public_key}\n"
        "export GATEWAY_DEPLOY_TOKEN=$(openssl rand -hex 32)\n"
        "python -m gateway_service"
    )
