"""Receipts: what a gateway signs when it holds something, checked against the key that it was registered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contract.envelope import Receipt, public_key_from_text
from contract.errors import ContractError

if TYPE_CHECKING:
    from apps.gateways.models import Gateway
    from contract.admin_api import Acknowledgement, Item


def genuine(gateway: Gateway, told: Acknowledgement | Item) -> bool:
    """Whether the gateway's pinned key signed that it holds this. No receipt is no genuine one."""
    if not told.receipt or not told.applied_at:
        return False
    receipt = Receipt(gateway.gateway_id, told.kind, told.name, told.generation, told.digest, told.applied_at)
    try:
        return receipt.verify(public_key_from_text(gateway.public_key), told.receipt)
    except ContractError:
        return False
