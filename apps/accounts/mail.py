"""Mails that Studio itself sends to people, besides allauth's."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse

from apps.core.tenancy import current_schema, public
from apps.tenants.models import Domain, Organization

if TYPE_CHECKING:
    from apps.accounts.models import User


def organization_url(organization: Organization, path: str = "/") -> str:
    """The address of a page of an organization, with the scheme and port of `KAIZEN_PUBLIC_URL`."""
    with public():
        domain = Domain.objects.filter(tenant=organization).order_by("-is_primary").first()
    site = urlsplit(settings.KAIZEN_PUBLIC_URL)
    host: str = domain.domain if domain else settings.KAIZEN_BASE_DOMAIN
    return f"{site.scheme}://{host}{f':{site.port}' if site.port else ''}{path}"


def send_welcome(user: User) -> None:
    """Tell a new member where the organization is, with a link to set a password (valid as long as a reset link)."""
    organization = Organization.objects.get(schema_name=current_schema())
    key = f"{user_pk_to_url_str(user)}-{default_token_generator.make_token(user)}"
    uid, _, token = key.partition("-")
    path = reverse(
        "account_reset_password_from_key", urlconf=settings.ROOT_URLCONF, kwargs={"uidb36": uid, "key": token}
    )
    values = {
        "user": user,
        "organization": organization,
        "sign_in": organization_url(organization),
        "set_password": organization_url(organization, path),
    }
    send_mail(
        f"Welcome to {organization.name} on Kaizen Studio",
        render_to_string("account/email/welcome.txt", values),
        settings.DEFAULT_FROM_EMAIL,
        [user.email],
    )
