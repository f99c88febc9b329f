"""The slow sweep over all tenants: a net under the due-work table, and the pruning of what is old."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.db.models import Exists, OuterRef
from django.utils import timezone

from apps.core.errors import NotFound
from apps.core.tenancy import public, tenant
from apps.gateways import due
from apps.gateways.models import Payload, Placement
from apps.gateways.readings import prune_readings
from apps.tenants.models import DueWork
from apps.tenants.queries import reconciled_organizations

log = structlog.get_logger(__name__)
# A payload is written a moment before the placements that need it, in the same transaction.
_UNUSED_FOR = timedelta(days=1)


def rebuild() -> int:
    """Lower every tenant's due work to what its rows say, and drop rows of tenants that are gone.

    Returns:
        How many tenants were looked at.
    """
    organizations = reconciled_organizations()
    schemas = {organization.schema_name for organization in organizations}
    for schema in sorted(schemas):
        try:
            with tenant(schema):
                moment = due.earliest()
                if moment is not None:
                    due.lower(moment)
                prune_readings()
                delete_unused_payloads()
        except NotFound:
            log.warning("schema_missing", schema=schema)
    with public():
        DueWork.objects.exclude(schema_name__in=schemas).delete()
    return len(organizations)


def delete_unused_payloads() -> int:
    """Delete payloads that no placement wants any more. They are only kept for pushing; releases keep their own bytes.

    Returns:
        How many.
    """
    used = Placement.objects.filter(desired_digest=OuterRef("digest"))
    deleted, _ = Payload.objects.filter(~Exists(used), created_at__lt=timezone.now() - _UNUSED_FOR).delete()
    return deleted
