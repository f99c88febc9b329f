"""The operators' admin site: Django's, with sign-ins that are limited and passwords whose change is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.core.internal import ratelimit  # the public module cannot take a failure back
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.db import transaction

from apps.accounts.models import User
from apps.accounts.signals import record_password_change
from apps.core.requests import client_address

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.template.response import TemplateResponse


class OperatorSignInForm(AdminAuthenticationForm):
    """Counts failures per address, and per account and address, with the same limits as members have."""

    def clean(self) -> dict[str, Any]:
        request = self.request
        assert request is not None, "the site's sign-in view passes its request"
        tried = str(self.cleaned_data.get("username", "")).lower()
        usage = ratelimit.consume(
            request,
            app="allauth.account",
            action="login_failed",
            key=f"operators:{tried}:{client_address(request)}",
        )
        if not usage:
            raise ValidationError("Too many failed attempts. Try again in a few minutes.")
        cleaned: dict[str, Any] = super().clean()
        # Only failures count.
        usage.rollback()
        return cleaned


class OperatorsSite(AdminSite):
    """Where the operators of an installation work, on the public host."""

    site_header = "Kaizen Studio operators"
    site_title = "Kaizen Studio"
    index_title = "This installation"
    login_form = OperatorSignInForm

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        with transaction.atomic():
            response = super().password_change(request, extra_context)
            if request.method == "POST" and response.status_code == 302:
                user = request.user
                assert isinstance(user, User), "only operators get past the site's gate"
                record_password_change(user, request)
        return response
