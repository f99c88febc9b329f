"""What this app itself wants on every gateway of an environment: its living caller keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.gateways.kinds import API_KEY
from apps.gateways.models import CallerKey, Gateway
from apps.gateways.placements import Wanted
from contract.caller_keys import CallerKey as CallerKeyDocument

if TYPE_CHECKING:
    from collections.abc import Iterable


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
