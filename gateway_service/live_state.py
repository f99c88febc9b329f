"""What the gateway serves right now: the store's contents, brought to life, behind one reference.

A request takes the snapshot once and works with it to its end. A push replaces the snapshot whole, so that no request
ever sees half of a change. Nothing here knows what the kinds mean; that is theirs to say.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from contract.admin_api import Item, state_digest
from contract.canonical import strict_loads
from contract.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway_service.identity import Identity
    from gateway_service.kinds import GatewayKind, View
    from gateway_service.store.placements import Placement, PlacementStore
    from gateway_service.trust import Trust

_log = logging.getLogger(__name__)

Key = tuple[str, str]
"""(kind, name)"""


@dataclass(frozen=True)
class Snapshot:
    """The state at one revision.

    Attributes:
        items: what the gateway truly holds, tombstones included; a damaged placement is left out, so that Studio sees
            that it is missing and pushes it again.
        live: the live objects, by kind and by name.
        views: what each kind makes of all its live objects, by kind.
        unreadable: what was left out, and why.
        blocked: whether something vital was left out, so that nothing may run.
    """

    revision: int = 0
    items: Mapping[Key, Item] = field(default_factory=dict)
    live: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    views: Mapping[str, Any] = field(default_factory=dict)
    unreadable: Mapping[Key, str] = field(default_factory=dict)
    blocked: bool = False

    def view(self, kind: type[GatewayKind[Any, View]]) -> View:
        """All live objects of a kind, as the kind shows them."""
        return cast("View", self.views[kind.kind.name])

    @cached_property
    def digest(self) -> str:
        """The state digest of all items."""
        return state_digest(self.items.values())


class LiveState:
    """Keeps the snapshot at the store's revision. Used on the event loop only."""

    def __init__(
        self, store: PlacementStore, kinds: Mapping[str, GatewayKind[Any, Any]], *, identity: Identity, trust: Trust
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._identity = identity
        self._trust = trust
        self._rung: int | None = None
        self._version: int | None = None
        self._snapshot = Snapshot(
            live={name: {} for name in kinds}, views={name: kind.view({}) for name, kind in kinds.items()}
        )

    def current(self) -> Snapshot:
        """The snapshot, after a look whether any process has changed the store."""
        rung = self._store.rung()
        if rung != self._rung:
            self._catch_up()
            self._rung = rung
        return self._snapshot

    def look(self) -> None:
        """Look into the store itself, for what was committed by a process that did not live on to say so."""
        version = self._store.version()
        if version != self._version:
            self._catch_up()
            self._version = version

    def _catch_up(self) -> None:
        changed = self._store.changed_since(self._snapshot.revision)
        if not changed:
            return
        before = self._snapshot
        # The kinds hear of it when it holds already: what a stop cancels must not find the way back in.
        self._snapshot = self._with(before, changed)
        known = [placement for placement in changed if placement.kind in self._kinds]
        for placement in sorted(known, key=lambda each: not self._kinds[each.kind].vital):
            self._tell(placement, before)

    def _tell(self, placement: Placement, before: Snapshot) -> None:
        """Let a kind know what became of one of its names.

        Every kind is told, whatever another one does: nobody hears of this change a second time, and a stop must
        cancel what runs.
        """
        was, now = (state.live[placement.kind].get(placement.name) for state in (before, self._snapshot))
        try:
            self._kinds[placement.kind].replaced(was, now)
        except Exception:  # noqa: BLE001 (whatever one kind fails with, the others are told)
            _log.exception("%s %s is served, but what should follow from it failed", placement.kind, placement.name)

    def _with(self, before: Snapshot, changed: Sequence[Placement]) -> Snapshot:
        """The snapshot with changes on top."""
        items, unreadable = dict(before.items), dict(before.unreadable)
        touched = {placement.kind for placement in changed} & self._kinds.keys()
        fresh = {kind: dict(before.live[kind]) for kind in touched}
        for placement in changed:
            key = (placement.kind, placement.name)
            items.pop(key, None)
            unreadable.pop(key, None)
            fresh.get(placement.kind, {}).pop(placement.name, None)
            try:
                self._check(placement)
                if not placement.tombstone:
                    fresh[placement.kind][placement.name] = self._kinds[placement.kind].load(placement)
                items[key] = self._item(placement)
            except ContractError as error:
                _log.error("%s %s is not served: %s", placement.kind, placement.name, error)
                unreadable[key] = str(error)
        live = {**before.live, **fresh}
        views = {**before.views, **{kind: self._kinds[kind].view(things) for kind, things in fresh.items()}}
        blocked = any(kind in self._kinds and self._kinds[kind].vital for kind, _ in unreadable)
        return Snapshot(changed[-1].revision, items, live, views, unreadable, blocked)

    def _check(self, placement: Placement) -> None:
        """Look whether a stored placement can be trusted: the file may be damaged, or not be our own work.

        Raises:
            ContractError: it cannot.
        """
        if placement.kind not in self._kinds:
            raise ContractError("this version of the gateway does not know its kind")
        if not placement.intact:
            raise ContractError("its payload is damaged")
        if not self._trust.vouches_for(placement):
            raise ContractError("its signature is by nobody this gateway trusts")

    def _item(self, placement: Placement) -> Item:
        item = Item(
            kind=placement.kind,
            name=placement.name,
            generation=placement.generation,
            digest=placement.digest,
            tombstone=placement.tombstone,
        )
        if not self._kinds[placement.kind].kind.attested:
            return item
        attested = {
            "applied_at": placement.applied_at,
            "receipt": self._identity.attest(placement),
            "payload": None if placement.payload is None else strict_loads(placement.payload),
        }
        return item.model_copy(update=attested)
