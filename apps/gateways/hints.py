"""The hint that the reconciler has work. Only a hint: the scanner finds the work in the database without it."""

from __future__ import annotations

from django.db import transaction

from apps.core.commands import at_close
from apps.core.courier import Courier
from apps.core.tenancy import current_schema, in_public


def hint_reconciler() -> None:
    """Send the hint for the present tenant once the transaction has committed. Nobody waits for the broker."""
    if in_public():
        return
    schema = current_schema()
    at_close(lambda: transaction.on_commit(lambda: _courier.offer(schema), robust=True), key=f"reconcile {schema}")


def _send(schema: str) -> None:
    from apps.gateways.tasks import reconcile

    reconcile.apply_async(args=(schema,), retry=False, expires=30)


_courier = Courier("reconcile", _send)
