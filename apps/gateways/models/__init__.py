"""Environments, gateways, caller keys, and what should be and is on each gateway."""

from apps.gateways.models.environments import Environment, SigningKey
from apps.gateways.models.gateways import Gateway, GatewayReading
from apps.gateways.models.keys import CallerKey
from apps.gateways.models.placements import Condition, Payload, Placement

__all__ = [
    "CallerKey",
    "Condition",
    "Environment",
    "Gateway",
    "GatewayReading",
    "Payload",
    "Placement",
    "SigningKey",
]
