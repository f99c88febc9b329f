"""Background work on executions. Collecting is not among it: that hangs on the scanner and needs no broker."""

from __future__ import annotations

import structlog
from celery import shared_task

from apps.core.tenancy import tenant
from apps.telemetry.retention import prune
from apps.tenants.queries import reconciled_organizations

log = structlog.get_logger(__name__)


@shared_task(name="telemetry.prune")
def prune_executions() -> int:
    """Remove in every organization what is older than it is kept. Returns the number of rows."""
    removed = 0
    for organization in reconciled_organizations():
        with tenant(organization.schema_name):
            removed += prune()
    log.info("executions_pruned", rows=removed)
    return removed
