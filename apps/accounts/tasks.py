"""Background work of accounts."""

from __future__ import annotations

import structlog
from celery import shared_task
from kombu.exceptions import OperationalError

from apps.accounts.commands import found
from apps.core.tenancy import public
from apps.tenants.models import Organization

log = structlog.get_logger(__name__)


@shared_task(name="accounts.found_pending")
def found_pending() -> int:
    """Found every organization that waits for its schema. Sent on commit, and by beat in case that hint was lost.

    Runs on the `owner` queue, whose workers have the owner's database role.
    """
    with public():
        pending = list(Organization.objects.filter(status=Organization.Status.PROVISIONING))
    for organization in pending:
        found(organization)
    return len(pending)


def request_founding() -> None:
    """Hint the owner's worker; a lost hint is made up for by beat within ten seconds."""
    try:
        found_pending.apply_async(retry=False, ignore_result=True)
    except (OSError, OperationalError) as error:
        log.warning("founding_hint_lost", reason=type(error).__name__)
