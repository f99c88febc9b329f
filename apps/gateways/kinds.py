"""The kinds of things Studio places on gateways: what each means for the reconciler, one small class per kind.

How a kind travels stands in `contract.kinds`. Adding one takes a class here and a line in `KINDS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from apps.core.errors import Invalid
from contract import kinds as contract_kinds
from contract.admin_api import Item, PutRequest
from contract.canonical import strict_loads
from contract.errors import ContractError
from contract.kinds import TOMBSTONE_DIGEST
from contract.kinds import Kind as ContractKind

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from contract.envelope import Envelope


class Kind:
    """A kind of placement.

    Attributes:
        contract: its names and payload model, shared with the gateways.
        tombstone_wins: a tombstone that a gateway has and Studio's older rows do not know is adopted: what was ended
            stays ended, even if Studio was restored from a backup of before.
        priority_removal: removing one never waits behind other work and is retried without back-off.
    """

    contract: ClassVar[ContractKind]
    tombstone_wins: ClassVar[bool] = False
    priority_removal: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return self.contract.name

    @property
    def segment(self) -> str:
        """Where it stands in the admin API's paths."""
        return self.contract.segment

    def check(self, name: str, body: bytes | None) -> None:
        """Refuse what no gateway would accept, before it is wanted.

        Raises:
            Invalid: the name or the payload breaks the contract.
        """
        try:
            self.contract.check_name(name)
            if body is not None:
                self.contract.payload.parse(body)
        except ContractError as error:
            raise Invalid(f"The {self.name} “{name}” cannot be placed on gateways: {error}.") from None

    def put_body(self, envelope: Envelope, payload: bytes, key: Ed25519PrivateKey) -> dict[str, Any]:
        """The signed body of a PUT. The payload was checked when it was wanted and is sent as it was."""
        request = PutRequest(
            generation=envelope.generation,
            digest=envelope.digest,
            signature=envelope.sign(key),
            payload=strict_loads(payload),
        )
        return request.body(self.contract)

    def adopts(self, item: Item) -> bool:
        """Whether what a gateway that is ahead has becomes what Studio wants."""
        return self.tombstone_wins and item.digest == TOMBSTONE_DIGEST


class Workflow(Kind):
    """A release under a registration's name."""

    contract = contract_kinds.WORKFLOW


class ApiKey(Kind):
    """The hash, scopes and limits of a caller key, under its public id."""

    contract = contract_kinds.API_KEY
    tombstone_wins = True
    priority_removal = True


WORKFLOW = Workflow()
API_KEY = ApiKey()
KINDS: dict[str, Kind] = {kind.name: kind for kind in (WORKFLOW, API_KEY)}


def kind_of(name: str) -> Kind | None:
    """The kind of that name; None for one that only a newer Studio knows."""
    return KINDS.get(name)
