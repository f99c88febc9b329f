"""The hint that the reconciler has work. Only a hint: the scanner finds the work in the database without it."""

from __future__ import annotations

import time

import structlog
from django.db import transaction
from kombu.exceptions import KombuError, OperationalError

from apps.core.commands import at_close
from apps.core.tenancy import current_schema, in_public

log = structlog.get_logger(__name__)

# After a failure no hint is tried for a while: with a broker that hangs, each try would hold up a request.
_PAUSE_S = 5.0
_quiet: dict[str, float] = {"until": 0.0}


def hint_reconciler() -> None:
    """Send the hint for the present tenant once the transaction has committed."""
    if in_public():
        return
    schema = current_schema()
    at_close(lambda: transaction.on_commit(lambda: send(schema), robust=True), key=f"reconcile {schema}")


def send(schema: str) -> bool:
    """Send the hint now. A broker that cannot be reached costs a moment once, and then nothing for a while.

    Returns:
        Whether it was sent.
    """
    from apps.gateways.tasks import reconcile

    if time.monotonic() < _quiet["until"]:
        return False
    try:
        reconcile.apply_async(args=(schema,), retry=False, expires=30)
    except (OperationalError, KombuError, OSError) as error:
        _quiet["until"] = time.monotonic() + _PAUSE_S
        log.warning("reconcile_hint_lost", reason=type(error).__name__)
        return False
    return True
