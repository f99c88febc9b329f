"""From the host of a request to its organization."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.db import connection
from django_tenants.utils import get_public_schema_name

from apps.core.errors import NotFound, StudioError
from apps.core.middleware import problem_or_page
from apps.core.tenancy import require_schema
from apps.tenants.models import Organization
from apps.tenants.queries import organization_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse, HttpResponseBase


class TenantMiddleware:
    """Select the schema by host name. An unknown host is a plain 404, a suspended organization a 403 with its reason.

    django-tenants' own middleware is replaced because it queries the domain on every request (0.7 ms) and knows
    nothing of suspension.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        connection.set_schema_to_public()  # type: ignore[attr-defined]  # django-tenants' wrapper
        if request.path == settings.KAIZEN_HEALTH_PATH:
            # A load balancer asks by address, and asks most when the table of host names cannot be read.
            request.urlconf = settings.PUBLIC_SCHEMA_URLCONF
            return self.get_response(request)
        try:
            organization = organization_at(_hostname(request))
        except (NotFound, DisallowedHost):
            request.urlconf = settings.PUBLIC_SCHEMA_URLCONF
            return problem_or_page(request, 404, "unknown-host", "There is no organization at this address.")
        structlog.contextvars.bind_contextvars(schema=organization.schema_name)
        request.tenant = organization  # type: ignore[attr-defined]
        try:
            return self._answer(request, organization)
        finally:
            structlog.contextvars.unbind_contextvars("schema")

    def _answer(self, request: HttpRequest, organization: Organization) -> HttpResponseBase:
        if organization.schema_name == get_public_schema_name():
            request.urlconf = settings.PUBLIC_SCHEMA_URLCONF
            return self.get_response(request)
        request.urlconf = settings.ROOT_URLCONF
        if organization.status == Organization.Status.SUSPENDED:
            reason = f"This organization is suspended: {organization.reason}"
            return problem_or_page(request, 403, "organization-suspended", reason)
        if organization.status == Organization.Status.PROVISIONING:
            return _retry_later(problem_or_page(request, 503, "provisioning", "This organization is being set up."))
        try:
            require_schema(organization.schema_name)
        except StudioError as error:
            return _retry_later(problem_or_page(request, 503, "not-ready", error.message))
        connection.set_tenant(organization)  # type: ignore[attr-defined]
        return self.get_response(request)


def _hostname(request: HttpRequest) -> str:
    return request.get_host().rsplit(":", 1)[0].lower().rstrip(".")


def _retry_later(response: HttpResponse) -> HttpResponse:
    response["Retry-After"] = "2"
    return response
