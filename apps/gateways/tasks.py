"""Background work of gateways. Everything here is also done by the scanner, without the broker."""

from __future__ import annotations

from celery import shared_task


@shared_task(name="gateways.reconcile")
def reconcile(schema: str) -> int:
    """Do what is due in one tenant. Sent on commit as a hint; the scanner finds the same work in the database.

    Returns:
        How many pushes and polls were done.
    """
    from apps.gateways.scanner import reconcile_tenant

    return reconcile_tenant(schema)


@shared_task(name="gateways.rebuild_due_work")
def rebuild_due_work() -> int:
    """Derive every tenant's due work from its rows anew, and prune old readings. Slow on purpose, and rare.

    Returns:
        How many tenants were looked at.
    """
    from apps.gateways.sweep import rebuild

    return rebuild()
