"""Reads of the public schema."""

from __future__ import annotations

import threading
import time

from apps.core.errors import NotFound, Suspended
from apps.core.tenancy import public
from apps.tenants.models import Domain, Organization

# A suspension must be felt at once by the process that serves the admin, and within this time by all others.
_CACHE_S = 2.0
_cache: dict[str, tuple[float, Organization]] = {}
_lock = threading.Lock()


def organization_at(hostname: str) -> Organization:
    """The organization at a host name.

    Raises:
        NotFound: no domain has that name.
    """
    now = time.monotonic()
    cached = _cache.get(hostname)
    if cached is not None and cached[0] > now:
        return cached[1]
    with public():
        domain = Domain.objects.select_related("tenant").filter(domain=hostname).first()
    if domain is None:
        raise NotFound("There is no organization at this address.")
    with _lock:
        if len(_cache) > 10_000:
            _cache.clear()
        _cache[hostname] = (now + _CACHE_S, domain.tenant)
    organization: Organization = domain.tenant
    return organization


def require_active(schema: str) -> None:
    """Refuse what members do while their organization is closed; read from the row, for what lives long.

    Raises:
        Suspended: with the reason.
        NotFound: the organization is gone.
    """
    with public():
        organization = Organization.objects.filter(schema_name=schema).first()
    if organization is None:
        raise NotFound("There is no organization at this address.")
    if organization.status != Organization.Status.ACTIVE:
        raise Suspended(f"This organization is {organization.status}. {organization.reason}")


def forget_hosts() -> None:
    """Drop the cached answers of this process, after an organization changed."""
    with _lock:
        _cache.clear()


def reconciled_organizations() -> list[Organization]:
    """Organizations with a schema. Suspended ones are among them: their gateways keep serving and being reconciled."""
    with public():
        return list(Organization.objects.exclude(schema_name="public").exclude(status=Organization.Status.PROVISIONING))
