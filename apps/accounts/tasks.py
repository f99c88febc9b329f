"""Background work of accounts."""

from __future__ import annotations

import structlog
from celery import shared_task
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from kombu.exceptions import OperationalError

from apps.accounts.commands import found
from apps.core.errors import StudioError
from apps.core.tenancy import public
from apps.tenants.models import Organization

log = structlog.get_logger(__name__)


@shared_task(name="accounts.found_pending")
def found_pending() -> int:
    """Found every organization that waits for its schema. Sent on commit, and by beat in case that hint was lost.

    Runs on the `owner` queue, whose workers have the owner's database role. One that cannot be founded says why, is
    tried again at the next beat, and keeps no other waiting.

    Returns:
        How many were founded.
    """
    with public():
        pending = list(Organization.objects.filter(status=Organization.Status.PROVISIONING))
    return sum(_try(organization) for organization in pending)


def _try(organization: Organization) -> bool:
    try:
        found(organization)
    except (StudioError, DatabaseError, OSError, ImproperlyConfigured) as error:
        log.exception("founding_failed", organization=organization.slug)
        reason = f"Not set up yet: {error}"[:300]
        with public():
            Organization.objects.filter(pk=organization.pk).update(reason=reason)
        return False
    return True


def request_founding() -> None:
    """Hint the owner's worker; a lost hint is made up for by beat within ten seconds."""
    try:
        found_pending.apply_async(retry=False, ignore_result=True)
    except (OSError, OperationalError) as error:
        log.warning("founding_hint_lost", reason=type(error).__name__)
