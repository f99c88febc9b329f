"""The kinds of things Studio places on gateways: what each means for the reconciler.

How a kind travels stands in `contract.kinds`. Adding one takes a class in the file of whoever wants such things, and
`register` when Django starts. Nothing else of this app names a kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from apps.core.errors import Invalid
from contract.canonical import canonical_json
from contract.errors import ContractError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from apps.gateways.models import Placement
    from contract.envelope import Envelope
    from contract.kinds import Kind as ContractKind


class Kind:
    """A kind of placement.

    Attributes:
        contract: its names and payload model, shared with the gateways.
        overtakes: it goes ahead of all other work, without back-off, and as long as a gateway has not confirmed one,
            nothing ordinary is pushed there. It also goes to gateways that are leaving.
        priority_removal: removing one never waits behind other work and is retried without back-off.
        outlasts_leaving: a gateway that is emptied keeps it.
        tombstone_wins: a tombstone that a gateway has and Studio's older rows do not know is adopted: what was ended
            stays ended, even if Studio was restored from a backup of before.
        found_wins: a live one that Studio has no row for is adopted too, instead of being removed.
    """

    contract: ClassVar[ContractKind]
    overtakes: ClassVar[bool] = False
    priority_removal: ClassVar[bool] = False
    outlasts_leaving: ClassVar[bool] = False
    tombstone_wins: ClassVar[bool] = False
    found_wins: ClassVar[bool] = False

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

    def put_body(self, envelope: Envelope, payload: bytes, key: Ed25519PrivateKey) -> bytes:
        """The signed body of a PUT.

        The payload was checked when it was wanted; its bytes are sent as they are stored, since reading and writing it
        anew for each gateway would cost more than sending it.
        """
        members = {"generation": envelope.generation, "digest": envelope.digest, "signature": envelope.sign(key)}
        return b'%s,"%s":%s}' % (canonical_json(members)[:-1], self.contract.payload_field.encode(), payload)

    def urgent(self, *, removal: bool) -> bool:
        """Whether placing one, or removing it, goes into the lane of what does not wait."""
        return self.overtakes or (removal and self.priority_removal)

    def adopt(self, placement: Placement) -> None:
        """Let Studio's own rows follow what a gateway knew better, in a transaction that has the environment locked.

        Called again if a process died before its commit. Kinds of which something can win over Studio define it.
        """
        raise NotImplementedError(f"{type(self).__name__} lets something win over Studio and does not say what follows")


KINDS: dict[str, Kind] = {}
"""All kinds by name, once Django has started."""


def register(kind: Kind) -> Kind:
    """Take a kind into the registry; an app does so when Django starts."""
    KINDS[kind.name] = kind
    return kind


def kind_of(name: str) -> Kind | None:
    """The kind of that name; None for one that only a newer Studio knows."""
    return KINDS.get(name)


def overtaking() -> list[str]:
    """Names of the kinds that nothing ordinary is pushed before."""
    return [kind.name for kind in KINDS.values() if kind.overtakes]
