"""`manage.py restore FILE`: an installation from its backup."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from apps.audit.chain import verify
from apps.audit.models import Event
from apps.core.errors import StudioError
from apps.core.tenancy import forget_schema, public, tenant
from apps.tenants.backup import is_empty, read_manifest, restore
from apps.tenants.owner import become_owner
from apps.tenants.provisioning import grant

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
        call_command("migrate_installation", stdout=self.stdout)
        for schema, (sequence, digest) in manifest["organizations"].items():
            forget_schema(schema)
            with connection.cursor() as cursor:
                grant(cursor, schema)
            self._verify(schema, sequence, digest)
        self.stdout.write(
            f"restored {len(manifest['organizations']) - 1} organizations and the public site as of "
            f"{manifest['created_at']}. Gateways may be ahead of it: the reconciler brings them back and keeps revoked "
            "keys revoked."
        )

    def _verify(self, schema: str, sequence: int, digest: str) -> None:
        """The log of a schema is whole and holds the end that the manifest names."""
        with public() if schema == "public" else tenant(schema):
            result = verify()
            if result.broken_at is not None:
                raise CommandError(f"The log of {schema} is broken at event {result.broken_at}: {result.problem}.")
            if sequence and not Event.objects.filter(sequence=sequence, hash=digest).exists():
                raise CommandError(f"The log of {schema} lacks event {sequence} as the manifest names it.")
