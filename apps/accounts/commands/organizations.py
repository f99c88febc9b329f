"""Founding an organization: its row in public, its schema, its first owner."""

from __future__ import annotations

import structlog
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from apps.accounts.commands.users import OWNER, create_user
from apps.accounts.models import User
from apps.core.actors import Actor
from apps.core.commands import command
from apps.core.errors import Conflict, Invalid
from apps.core.ports import founding_steps
from apps.core.tenancy import public, tenant
from apps.tenants.models import SLUG, Domain, Organization
from apps.tenants.provisioning import founding, provision, schema_name_of
from apps.tenants.queries import forget_hosts

log = structlog.get_logger(__name__)
RESERVED = frozenset({"public", "www", "admin", "api", "static", "mail", "studio", "template", "kaizen"})


@command("organization.create")
def create_organization(*, actor: Actor, slug: str, name: str, owner_email: str, base_domain: str) -> Organization:
    """Reserve an address for a new organization. Its schema follows, made by the owner role (`found`).

    Raises:
        Invalid: the address, name or email is not acceptable.
        Conflict: the address is taken.
    """
    slug = slug.strip().lower()
    check_new_organization(slug, name, owner_email)
    schema = schema_name_of(slug)
    try:
        with transaction.atomic():
            organization: Organization = Organization.objects.create(
                schema_name=schema, slug=slug, name=name.strip(), owner_email=owner_email.strip().lower()
            )
            Domain.objects.create(domain=f"{slug}.{base_domain}", tenant=organization, is_primary=True)
    except (IntegrityError, ValidationError):
        # django-tenants looks for the schema's name before PostgreSQL refuses it.
        raise Conflict(f"The address “{slug}” is taken.") from None
    transaction.on_commit(forget_hosts)
    return organization


def found(organization: Organization, *, password: str | None = None) -> User:
    """Make the schema and the first owner of a reserved organization. Needs the owner role; safe to repeat.

    It opens last, so that a crash in between leaves an organization that waits, which the next run takes up.
    """
    schema = organization.schema_name
    with founding(organization):
        with public():
            provision(organization)
        with tenant(schema):
            first = User.objects.filter(groups=Group.objects.get(name=OWNER)).order_by("date_joined").first()
            if first is None:
                first = create_user(
                    actor=Actor.system("founding"), email=organization.owner_email, role=OWNER, password=password
                )
            for step in founding_steps:
                step()
        with public():
            Organization.objects.filter(pk=organization.pk, status=Organization.Status.PROVISIONING).update(
                status=Organization.Status.ACTIVE, reason=""
            )
            organization.refresh_from_db()
    forget_hosts()
    log.info("organization_founded", organization=organization.slug)
    return first


def check_new_organization(slug: str, name: str, owner_email: str) -> None:
    """Whether an organization may be called so.

    Raises:
        Invalid: with a message for each field that is not acceptable.
    """
    fields: dict[str, list[str]] = {}
    try:
        SLUG(slug)
    except ValidationError as error:
        fields["slug"] = list(error.messages)
    if slug in RESERVED:
        fields["slug"] = [f"“{slug}” is reserved."]
    if not 0 < len(name.strip()) <= _longest("name"):
        fields["name"] = [f"Give the organization a name of at most {_longest('name')} characters."]
    try:
        validate_email(owner_email.strip())
    except ValidationError as error:
        fields["owner_email"] = list(error.messages)
    if len(owner_email.strip()) > _longest("owner_email"):
        fields["owner_email"] = [f"An email address has at most {_longest('owner_email')} characters."]
    if fields:
        raise Invalid(fields=fields)


def _longest(field: str) -> int:
    return int(Organization._meta.get_field(field).max_length or 0)
