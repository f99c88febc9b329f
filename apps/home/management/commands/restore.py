"""`manage.py restore FILE`: an installation from its backup."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from apps.audit.chain import verify
from apps.audit.models import Event
from apps.core.errors import Conflict, StudioError
from apps.core.secrets import decrypt
from apps.core.tenancy import forget_schema, public, tenant
from apps.gateways.models import Gateway, SigningKey
from apps.tenants.backup import is_empty, read_manifest, restore
from apps.tenants.owner import become_owner
from apps.tenants.provisioning import grant
from apps.tenants.queries import reconciled_organizations

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Checks the file first, replaces the database in one transaction, migrates it, and verifies every log."""

    help = "Restore the whole installation from FILE. Stop Studio's processes first. Needs DATABASE_OWNER_URL."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--replace", action="store_true", help="replace what the database holds")

    def handle(self, *args: Any, **options: Any) -> None:
        become_owner()
        try:
            manifest = read_manifest(options["file"])
            if not is_empty() and not options["replace"]:
                raise CommandError(
                    "The database is not empty. Restore into an empty one, or replace it with --replace."
                )
            connection.close()
            restore(options["file"])
        except StudioError as error:
            raise CommandError(error.message) from error
        # A backup of an older version is brought up to date. Grants are not in it: roles are the cluster's.
        for schema in _schemas():
            with connection.cursor() as cursor:
                grant(cursor, schema)
        call_command("migrate_installation", stdout=self.stdout)
        for schema in _schemas():
            self._verify(schema, *manifest["organizations"].get(schema, (0, "")))
        self._tell_unreadable()
        organizations, moment = len(_schemas()) - 1, manifest["created_at"]
        self.stdout.write(f"restored {organizations} organizations and the public site as of {moment}.")
        self.stdout.write("Gateways may be ahead: the reconciler brings them back and keeps revoked keys revoked.")

    def _verify(self, schema: str, sequence: int, digest: str) -> None:
        """The log of a schema is whole and holds the end that the manifest names."""
        forget_schema(schema)
        with public() if schema == "public" else tenant(schema):
            result = verify()
            if result.broken_at is not None:
                raise CommandError(f"The log of {schema} is broken at event {result.broken_at}: {result.problem}.")
            if sequence and not Event.objects.filter(sequence=sequence, hash=digest).exists():
                raise CommandError(f"The log of {schema} lacks event {sequence} as the manifest names it.")

    def _tell_unreadable(self) -> None:
        """Say which secrets the encryption keys of this process do not open."""
        for organization in reconciled_organizations():
            with tenant(organization.schema_name):
                tokens = [str(row) for row in Gateway.objects.all() if not _opens(row.deploy_token)]
                keys = [row for row in SigningKey.objects.all() if not _opens(row.private_key)]
            lost = [f"the deploy token of {name}" for name in tokens] + ["the signing key"] * bool(keys)
            if lost:
                self.stderr.write(
                    f"{organization.slug}: KAIZEN_ENCRYPTION_KEYS does not open {', '.join(lost)}. Add the key with "
                    "which the backed up installation ran; until then nothing can be pushed there."
                )


def _schemas() -> list[str]:
    """Every schema of ours that the backup held, also of organizations whose founding it interrupted."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT schema_name FROM public.tenants_organization WHERE to_regnamespace(schema_name) IS NOT NULL"
            " ORDER BY schema_name"
        )
        return [schema for (schema,) in cursor.fetchall()]


def _opens(secret: str) -> bool:
    try:
        decrypt(secret)
    except Conflict:
        return False
    return True
