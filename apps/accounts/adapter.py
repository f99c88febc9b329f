"""allauth's hooks: nobody signs up by himself, and mail names the organization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.account.adapter import DefaultAccountAdapter
from django.db import transaction

from apps.accounts.signals import record_password_change
from apps.core.live import recheck_access
from apps.core.requests import client_address

if TYPE_CHECKING:
    from django.http import HttpRequest

    from apps.accounts.models import User


class AccountAdapter(DefaultAccountAdapter):
    """Members are made by a command of an administrator; an open sign-up form would be a door around it."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def set_password(self, user: User, password: str) -> None:
        """Change a password and tell the log, both or neither."""
        with transaction.atomic():
            super().set_password(user, password)
            record_password_change(user, self.request)

    def logout(self, request: HttpRequest) -> None:
        """End the session, and with it the live pages that it opened."""
        super().logout(request)
        recheck_access()

    def get_client_ip(self, request: HttpRequest) -> str:
        """The same address that stands in the log."""
        return client_address(request)

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        # allauth counts failures per account alone: whoever knows a colleague's address could lock him out for good.
        # Counted per account and address, guessing is as slow, and only the one who guesses waits.
        key = super()._get_login_attempts_cache_key(request, **credentials)
        return f"{key}:{client_address(request)}"

    def format_email_subject(self, subject: str) -> str:
        return subject.strip()

    def get_from_email(self) -> str:
        from django.conf import settings

        return str(settings.DEFAULT_FROM_EMAIL)

    def render_mail(
        self, template_prefix: str, email: str, context: dict[str, Any], headers: dict[str, str] | None = None
    ) -> Any:
        organization = getattr(self.request, "tenant", None)
        return super().render_mail(template_prefix, email, {**context, "organization": organization}, headers)
