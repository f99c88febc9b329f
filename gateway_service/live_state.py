"""What the gateway serves right now: the store's contents, brought to life, behind one reference.

A request takes the snapshot once and works with it to its end. A push replaces the snapshot whole, so that no request
ever sees half of a change.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from contract.admin_api import Item, state_digest
from contract.caller_keys import CallerKey
from contract.envelope import Envelope
from contract.errors import ContractError
from contract.kinds import API_KEY, WORKFLOW
from gateway_service.registrations import Registration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from gateway_service.kinds import GatewayKind
    from gateway_service.store.placements import Placement, PlacementStore

_log = logging.getLogger(__name__)

Key = tuple[str, str]
"""(kind, name)"""


@dataclass(frozen=True)
class Snapshot:
    """The state at one revision.

    Attributes:
        items: what the gateway truly holds, tombstones included; a damaged placement is left out, so that Studio sees
            that it is missing and pushes it again.
        live: the live objects by (kind, name).
    """

    revision: int = 0
    items: Mapping[Key, Item] = field(default_factory=dict)
    live: Mapping[Key, Any] = field(default_factory=dict)

    def registration(self, name: str) -> Registration | None:
        """The registration of a name."""
        found = self.live.get((WORKFLOW.name, name))
        return found if isinstance(found, Registration) else None

    def caller_key(self, key_id: str) -> CallerKey | None:
        """The caller key of an id."""
        found = self.live.get((API_KEY.name, key_id))
        return found if isinstance(found, CallerKey) else None

    @cached_property
    def registrations(self) -> dict[str, Registration]:
        """All registrations by name, sorted."""
        found = {name: thing for (kind, name), thing in self.live.items() if kind == WORKFLOW.name}
        return dict(sorted(found.items()))

    @cached_property
    def digest(self) -> str:
        """The state digest of all items."""
        return state_digest(self.items.values())


class LiveState:
    """Keeps the snapshot at the store's revision. Used on the event loop only."""

    def __init__(
        self,
        store: PlacementStore,
        kinds: Mapping[str, GatewayKind],
        *,
        gateway_id: str,
        trusted_keys: Sequence[Ed25519PublicKey],
        retire: Callable[[Registration], None],
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._gateway_id = gateway_id
        self._trusted_keys = trusted_keys
        self._retire = retire
        self._snapshot = Snapshot()
        self._version: int | None = None

    def current(self) -> Snapshot:
        """The snapshot, after a look whether any process has changed the store."""
        version = self._store.version()
        if version != self._version:
            self._catch_up()
            self._version = version
        return self._snapshot

    def _catch_up(self) -> None:
        changed = self._store.changed_since(self._snapshot.revision)
        if not changed:
            return
        items, live = dict(self._snapshot.items), dict(self._snapshot.live)
        replaced: list[Registration] = []
        for placement in changed:
            key = (placement.kind, placement.name)
            before = live.pop(key, None)
            if isinstance(before, Registration):
                replaced.append(before)
            items.pop(key, None)
            self._bring_to_life(placement, key, items, live)
        self._snapshot = Snapshot(changed[-1].revision, items, live)
        for registration in replaced:
            self._retire(registration)

    def _bring_to_life(self, placement: Placement, key: Key, items: dict[Key, Item], live: dict[Key, Any]) -> None:
        problem = self._problem(placement)
        if problem is None and not placement.tombstone:
            try:
                live[key] = self._kinds[placement.kind].load(placement)
            except ContractError as error:
                problem = str(error)
        if problem is not None:
            _log.error("%s %s is not served: %s", placement.kind, placement.name, problem)
            return
        items[key] = Item(
            kind=placement.kind,
            name=placement.name,
            generation=placement.generation,
            digest=placement.digest,
            tombstone=placement.tombstone,
        )

    def _problem(self, placement: Placement) -> str | None:
        """Why a stored placement must not be trusted: the file may be damaged, or not be our own work."""
        if placement.kind not in self._kinds:
            return "this version of the gateway does not know its kind"
        if not placement.intact:
            return "its payload is damaged"
        envelope = Envelope(
            self._gateway_id, placement.kind, placement.name, placement.generation, placement.digest
        )  # fmt: skip
        if not any(envelope.verify(key, placement.signature) for key in self._trusted_keys):
            return "its signature is by nobody this gateway trusts"
        return None
