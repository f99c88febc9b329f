"""Background work of gateways. Everything here is also done by the scanner, without the broker."""

from __future__ import annotations

from functools import cache

import structlog
from celery import shared_task
from django.db import InterfaceError, OperationalError, connection

from apps.core.database import use_pool
from apps.core.errors import NotFound
from apps.gateways.scanner import Scanner
from apps.gateways.sweep import rebuild

log = structlog.get_logger(__name__)
_CONNECTIONS = 8


@shared_task(name="gateways.reconcile")
def reconcile(schema: str) -> int:
    """Do what is due in one tenant. Sent on commit as a hint; the scanner finds the same work in the database.

    Returns:
        How many pushes and polls were started.
    """
    try:
        return _scanner().reconcile(schema)
    except NotFound:
        return 0
    except (OperationalError, InterfaceError) as error:
        # No error of ours, and nothing is lost: only this hint.
        log.warning("database_unavailable", reason=type(error).__name__)
        connection.close()
        return 0


@shared_task(name="gateways.rebuild_due_work")
def rebuild_due_work() -> int:
    """Derive every tenant's due work from its rows anew, and prune old readings. Slow on purpose, and rare.

    Returns:
        How many tenants were looked at.
    """
    return rebuild()


@cache
def _scanner() -> Scanner:
    """The threads of this worker process, kept from task to task. One that hangs outlives its task."""
    use_pool(_CONNECTIONS)
    return Scanner()
