"""Environments, and what a new organization starts with."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import IntegrityError, transaction

from apps.access.sync import grant_on_environment
from apps.core.actors import Actor
from apps.core.commands import command
from apps.core.errors import Conflict, Invalid
from apps.core.tenancy import in_public
from apps.gateways import due
from apps.gateways.models import Environment, Gateway, SigningKey
from apps.gateways.models.environments import DEFAULT_POLL_INTERVAL_S
from apps.gateways.signing import new_signing_key
from contract.errors import ContractError
from contract.names import check_environment

STARTING_ENVIRONMENTS = (("development", "Development"), ("staging", "Staging"), ("production", "Production"))
NAME_MAX_LENGTH = 60


@command("environment.create")
def create_environment(
    *,
    actor: Actor,
    slug: str,
    name: str,
    order: int | None = None,
    poll_interval_s: int = DEFAULT_POLL_INTERVAL_S,
    caller_url: str = "",
) -> Environment:
    """Make an environment.

    Args:
        slug: the last part of the names that callers use in it; it cannot be changed.
        order: where it stands among the others; None puts it last.

    Raises:
        Invalid: a value breaks its rule.
        Conflict: the slug is taken.
    """
    slug = slug.strip()
    _check(name, poll_interval_s, caller_url, order or 0, slug=slug)
    if order is None:
        last = Environment.objects.order_by("-order").values_list("order", flat=True).first()
        order = 0 if last is None else last + 10
    try:
        with transaction.atomic():
            environment = Environment.objects.create(
                slug=slug,
                name=name.strip(),
                order=order,
                poll_interval_s=poll_interval_s,
                caller_url=caller_url.strip().rstrip("/"),
            )
    except IntegrityError:
        raise Conflict(f"There is an environment “{slug}” already.") from None
    grant_on_environment(environment, slug)
    return environment


@command("environment.edit", on="environment")
def edit_environment(
    *, actor: Actor, environment: Environment, name: str, order: int, poll_interval_s: int, caller_url: str = ""
) -> Environment:
    """Change how an environment is called, ordered, watched and reached.

    Raises:
        Invalid: a value breaks its rule.
    """
    _check(name, poll_interval_s, caller_url, order)
    sooner = poll_interval_s < environment.poll_interval_s
    environment.name, environment.order = name.strip(), order
    environment.poll_interval_s, environment.caller_url = poll_interval_s, caller_url.strip().rstrip("/")
    environment.save()
    if sooner and Gateway.objects.filter(environment=environment).exists():
        due.poll_now(Gateway.objects.filter(environment=environment))
    return environment


def found_delivery() -> None:
    """Give a new organization its signing key and its three environments. Safe to repeat."""
    if not SigningKey.objects.filter(active=True).exists():
        make_signing_key(actor=Actor.system("founding"))
    if Environment.objects.exists():
        return
    for slug, name in STARTING_ENVIRONMENTS:
        create_environment(actor=Actor.system("founding"), slug=slug, name=name)


def grant_on_environments() -> None:
    """Bring the built-in roles' grants on the present schema's environments up to date, when roles have changed."""
    if in_public():
        return
    for environment in Environment.objects.all():
        grant_on_environment(environment, environment.slug)


@command("signing-key.create")
def make_signing_key(*, actor: Actor) -> SigningKey:
    """Make the key that signs everything the organization puts on its gateways.

    Raises:
        Conflict: there is one already.
    """
    if SigningKey.objects.filter(active=True).exists():
        raise Conflict("There is a signing key already.")
    return new_signing_key()


def _check(name: str, poll_interval_s: int, caller_url: str, order: int, *, slug: str | None = None) -> None:
    fields: dict[str, list[str]] = {}
    if slug is not None:
        try:
            check_environment(slug)
        except ContractError as error:
            fields["slug"] = [f"{error.reason[:1].upper()}{error.reason[1:]}."]
    if not 0 < len(name.strip()) <= NAME_MAX_LENGTH:
        fields["name"] = [f"Give it a name of at most {NAME_MAX_LENGTH} characters."]
    if not 1 <= poll_interval_s <= 3600:
        fields["poll_interval_s"] = ["Choose from 1 to 3600 seconds."]
    if not 0 <= order <= 32_000:
        fields["order"] = ["Choose from 0 to 32000."]
    if caller_url.strip():
        try:
            URLValidator(schemes=["http", "https"])(caller_url.strip())
        except ValidationError:
            fields["caller_url"] = ["Write an address such as https://agents.example.com."]
    if fields:
        raise Invalid(fields=fields)
