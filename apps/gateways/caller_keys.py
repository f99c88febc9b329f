"""The kind `api-key`: the hash, scopes and limits of a caller key, under its public id, on every gateway of its
environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone

from apps.core.commands import record_system_event
from apps.gateways.kinds import Kind
from apps.gateways.models import CallerKey, Gateway
from apps.gateways.placements import Wanted, want_on_environment
from contract import kinds as contract_kinds
from contract.caller_keys import CallerKey as CallerKeyDocument

if TYPE_CHECKING:
    from collections.abc import Iterable

    from apps.gateways.models import Placement


class ApiKey(Kind):
    """A caller key. Once revoked, it stays so, whatever backup Studio was restored from."""

    contract = contract_kinds.API_KEY
    priority_removal = True
    tombstone_wins = True

    def adopt(self, placement: Placement) -> None:
        """A gateway knows that a key was revoked: revoke it everywhere."""
        key = CallerKey.objects.filter(public_id=placement.name, revoked_at=None).select_related("environment").first()
        if key is None:
            return
        want_on_environment(key.environment, self.name, key.public_id, None, priority=True)
        CallerKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())
        record_system_event("caller-key.adopt-revocation", key, reason="a gateway had it revoked already")


API_KEY = ApiKey()


def caller_keys(gateway: Gateway) -> Iterable[Wanted]:
    """The keys that a joining gateway has to accept."""
    for key in CallerKey.objects.living().filter(environment=gateway.environment_id):
        yield Wanted(API_KEY.name, key.public_id, key_body(key))


def key_body(key: CallerKey) -> bytes:
    """The canonical payload of a key."""
    document = CallerKeyDocument.model_validate({
        "hash": key.secret_hash, "scopes": list(key.scopes), "expires_at": key.expires_at, "limits": key.limits,
    })  # fmt: skip
    return document.canonical
