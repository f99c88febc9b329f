"""Which of its two releases a call of a registration goes to."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from contract.routes import WHOLE, bucket_of
from gateway_service.kinds import Routes, Stops, Workflows

if TYPE_CHECKING:
    from gateway_service.live_state import Snapshot
    from gateway_service.registrations import Registration


def routed(snapshot: Snapshot, registration: Registration, key_id: str, sticky: str | None) -> Registration:
    """The registration's canary, if its route takes this call; else the registration itself.

    A canary that a stop covers is treated as one that is not there: its callers go back to the release.

    Args:
        snapshot: what the request is answered from.
        registration: what the caller named.
        key_id: the caller's key.
        sticky: what the calls of one session have in common; None lets chance decide about each call.
    """
    route = snapshot.view(Routes).get(registration.name)
    canary = snapshot.view(Workflows).canaries.get(registration.name)
    if route is None or canary is None or canary.release.digest != route.canary:
        return registration
    if snapshot.view(Stops).covers(canary):
        return registration
    bucket = secrets.randbelow(WHOLE) if sticky is None else bucket_of(registration.name, key_id, sticky)
    return canary if route.takes(bucket) else registration
