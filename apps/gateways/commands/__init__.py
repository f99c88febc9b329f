"""Changes to environments, gateways and caller keys."""

from apps.gateways.commands.environments import create_environment, edit_environment, found_delivery
from apps.gateways.commands.gateways import (
    accept_identity,
    edit_gateway,
    forget_gateway,
    register_gateway,
    remove_gateway,
    retry_gateway,
)
from apps.gateways.commands.keys import create_key, limit_key, revoke_key

__all__ = [
    "accept_identity",
    "create_environment",
    "create_key",
    "edit_environment",
    "edit_gateway",
    "forget_gateway",
    "found_delivery",
    "limit_key",
    "register_gateway",
    "remove_gateway",
    "retry_gateway",
    "revoke_key",
]
