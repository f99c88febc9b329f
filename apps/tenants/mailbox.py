"""The embedded mailbox: a mail backend that keeps messages in the public schema, for the operator to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.mail.backends.base import BaseEmailBackend

from apps.core.tenancy import current_schema, public
from apps.tenants.models import MailboxMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.core.mail import EmailMessage


class MailboxBackend(BaseEmailBackend):
    """Used where `EMAIL_URL` is not set. A message is a row like any other: it commits with what caused it."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        origin = current_schema()
        with public():
            MailboxMessage.objects.bulk_create(
                MailboxMessage(
                    organization=origin,
                    sender=message.from_email,
                    recipients=", ".join(message.recipients()),
                    subject=str(message.subject)[:500],
                    body=str(message.body),
                )
                for message in email_messages
            )
        return len(email_messages)
