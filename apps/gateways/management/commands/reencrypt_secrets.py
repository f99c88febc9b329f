"""`manage.py reencrypt_secrets`: after a new first key in KAIZEN_ENCRYPTION_KEYS, before the old one is dropped."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from apps.core.secrets import rotate
from apps.core.tenancy import tenant
from apps.gateways.models import Gateway, SigningKey
from apps.tenants.queries import reconciled_organizations


class Command(BaseCommand):
    """Safe to repeat, and to interrupt: each organization is one transaction."""

    help = "Encrypt every deploy token and signing key anew with the first of KAIZEN_ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        total = 0
        for organization in reconciled_organizations():
            with tenant(organization.schema_name), transaction.atomic():
                total += _rotate(Gateway, "deploy_token") + _rotate(SigningKey, "private_key")
        self.stdout.write(f"encrypted {total} secrets with the first key")


def _rotate(model: type[Gateway] | type[SigningKey], field: str) -> int:
    rows = model._base_manager.select_for_update().order_by("pk")
    count = 0
    for row in rows:
        model._base_manager.filter(pk=row.pk).update(**{field: rotate(getattr(row, field))})
        count += 1
    return count
