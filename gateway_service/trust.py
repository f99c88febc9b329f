"""Whose word this gateway takes: the organization's, for this gateway and no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from contract.envelope import Envelope

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from gateway_service.store.placements import Incoming, Placement


@dataclass(frozen=True)
class Trust:
    """Checks Studio's signatures over envelopes.

    Attributes:
        gateway_id: the gateway that they must name.
        keys: the organization's public keys; more than one while a key is being replaced.
    """

    gateway_id: str
    keys: tuple[Ed25519PublicKey, ...]

    def vouches_for(self, placement: Placement | Incoming) -> bool:
        """Whether the organization signed that this gateway holds this digest under this name and generation."""
        envelope = Envelope(
            self.gateway_id, placement.kind, placement.name, placement.generation, placement.digest
        )  # fmt: skip
        return any(envelope.verify(key, placement.signature) for key in self.keys)
