"""Changes to organizations, made by operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from apps.core.commands import command
from apps.core.errors import Conflict, Invalid
from apps.core.live import recheck_access
from apps.tenants.models import Organization
from apps.tenants.queries import forget_hosts

if TYPE_CHECKING:
    from apps.core.actors import Actor


@command("organization.suspend", on="organization")
def suspend(*, actor: Actor, organization: Organization, reason: str) -> Organization:
    """Close an organization's pages and API, with a reason its members read.

    Its gateways keep serving, and reconciliation goes on.

    Raises:
        Invalid: no reason is given.
        Conflict: it is not active.
    """
    if not reason.strip():
        raise Invalid(fields={"reason": ["Say why; the members will read it."]})
    if organization.status != Organization.Status.ACTIVE or organization.schema_name == "public":
        raise Conflict(f"{organization} is {organization.status} and cannot be suspended.")
    organization.status, organization.reason = Organization.Status.SUSPENDED, reason.strip()[:300]
    organization.save(update_fields=["status", "reason"])
    transaction.on_commit(forget_hosts)
    recheck_access(organization.schema_name)
    return organization


@command("organization.restore", on="organization")
def restore(*, actor: Actor, organization: Organization) -> Organization:
    """Open a suspended organization again.

    Raises:
        Conflict: it is not suspended.
    """
    if organization.status != Organization.Status.SUSPENDED:
        raise Conflict(f"{organization} is {organization.status}, not suspended.")
    organization.status, organization.reason = Organization.Status.ACTIVE, ""
    organization.save(update_fields=["status", "reason"])
    transaction.on_commit(forget_hosts)
    return organization
