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
from apps.tenants.provisioning import provision, schema_name_of
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
    _check(slug, name, owner_email)
    schema = schema_name_of(slug)
    try:
        with transaction.atomic():
            organization: Organization = Organization.objects.create(
                schema_name=schema, slug=slug, name=name.strip(), owner_email=owner_email.strip().lower()
            )
            Domain.objects.create(domain=f"{slug}.{base_domain}", tenant=organization, is_primary=True)
    except IntegrityError:
        raise Conflict(f"The address “{slug}” is taken.") from None
    transaction.on_commit(forget_hosts)
    return organization


def found(organization: Organization, *, password: str | None = None) -> User:
    """Make the schema and the first owner of a reserved organization. Needs the owner role; safe to repeat.

    Each step is complete in itself: a crash in between is picked up by the next run.
    """
    with public():
        provision(organization)
    forget_hosts()
    with tenant(organization.schema_name):
        first = User.objects.filter(groups=Group.objects.get(name=OWNER)).order_by("date_joined").first()
        if first is None:
            first = create_user(
                actor=Actor.system("founding"), email=organization.owner_email, role=OWNER, password=password
            )
            log.info("organization_founded", organization=organization.slug)
        for step in founding_steps:
            step()
    return first


def _check(slug: str, name: str, owner_email: str) -> None:
    fields: dict[str, list[str]] = {}
    try:
        SLUG(slug)
    except ValidationError as error:
        fields["slug"] = list(error.messages)
    if slug in RESERVED:
        fields["slug"] = [f"“{slug}” is reserved."]
    if not name.strip():
        fields["name"] = ["Give the organization a name."]
    try:
        validate_email(owner_email.strip())
    except ValidationError as error:
        fields["owner_email"] = list(error.messages)
    if fields:
        raise Invalid(fields=fields)
