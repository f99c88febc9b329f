"""What was on its way to a gateway, and may arrive again at any time: after a crash, from a queue, from an attacker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from apps.gateways.client import GatewayClient
from apps.gateways.kinds import KINDS
from apps.gateways.models import Payload
from apps.gateways.signing import private_key
from contract.envelope import Envelope
from contract.kinds import TOMBSTONE_DIGEST

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from apps.gateways.models import Gateway
    from apps.gateways.reconcile import Claim
    from contract.admin_api import Acknowledgement, GatewayState


@dataclass(frozen=True)
class OnTheWire:
    """A signed push as it left Studio. It can be sent also when Studio's database knows nothing of it any more."""

    client: GatewayClient
    envelope: Envelope
    payload: bytes | None
    key: Ed25519PrivateKey

    @classmethod
    def of(cls, gateway: Gateway, claimed: Claim) -> Self:
        """What a worker with this claim sends."""
        envelope = Envelope(gateway.gateway_id, claimed.kind, claimed.name, claimed.generation, claimed.digest)
        gone = claimed.digest == TOMBSTONE_DIGEST
        payload = None if gone else bytes(Payload.objects.get(digest=claimed.digest).body)
        return cls(GatewayClient.of(gateway), envelope, payload, private_key())

    def send(self) -> Acknowledgement:
        """Let it arrive.

        Raises:
            GatewayProblem: the gateway is away, or does not take it.
        """
        kind = KINDS[self.envelope.kind]
        if self.payload is None:
            return self.client.delete(kind, self.envelope, self.key)
        return self.client.put(kind, self.envelope, self.payload, self.key)


@dataclass(frozen=True, slots=True)
class SlowClient(GatewayClient):
    """The client, on a line so slow that something happens between each answer and its arrival."""

    meanwhile: Callable[[], None] = lambda: None

    def state(self, *, items: bool = False) -> GatewayState:
        # A dataclass with slots is a new class, which super() without arguments does not know.
        answer = GatewayClient.state(self, items=items)
        self.meanwhile()
        return answer
